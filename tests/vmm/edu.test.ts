/**
 * A second, quite different assigned device: the generic ways to track, stop and start were made for no NIC. Its driver in the
 * guest uses the DMA API, and has not a line of any of them.
 */
import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { MIB } from '../../base/units.js';
import { Trace } from '../../lab/simulator/trace.js';
import { VirtualTime } from '../../lab/simulator/virtual-time.js';
import { blockersOf } from '../../migration/approaches.js';
import { askGuest } from '../../migration/ask-guest.js';
import { builtIn } from '../../migration/registry.js';
import type { TrackingDescriptor } from '../../migration/tracking/tracking.js';
import { createDeterministicMachine } from '../../vmm/deterministic/create.js';
import { moveWithEdu } from './edu-world.js';

const unmapTouch = builtIn.tracking.find(({ name }) => name === 'unmap-touch')!;

const STATUS = /edu: (\d+) copies\/s, (\d+) made, (\d+) given up, clean/;
const complaints = (console: readonly string[]): string[] =>
  console.filter((line) => /CORRUPT|BUG|DMA-API: edu|panic/.test(line));
const made = (lines: readonly string[]): number =>
  Math.max(0, ...lines.map((line) => Number(STATUS.exec(line)?.[2] ?? 0)));

describe('a guest that copies by a DMA engine', () => {
  it.each(['iommu-dirty', 'unmap-touch'])(
    'is moved byte for byte with its device, tracked by %s, and goes on copying',
    async (tracking) => {
      const { source, destination, console, before } = await moveWithEdu({ parameters: { tracking } });
      expect(source.error).toBeUndefined();
      expect([source.status, destination.status]).toEqual(['completed', 'completed']);
      expect(source.approaches).toMatchObject({ tracking, stop: 'device-state', start: 'device-state' });
      expect(source.verification).toMatchObject({ established: true, differences: [] });
      expect(source.rounds.length).toBeGreaterThan(2);
      expect(complaints(console)).toEqual([]);
      expect(made(console)).toBeGreaterThan(made(console.slice(0, before)) + 50);
    },
  );

  it('whose pages nobody touched arrives wrong: the comparison says so, and so does the guest', async () => {
    /** The guest agrees to touch and counts what is mapped, and then touches nothing. */
    const untouched: TrackingDescriptor = {
      ...unmapTouch,
      name: 'untouched',
      make: (machine, devices) => {
        const tracking = unmapTouch.make(machine, devices);
        return {
          start: async (limits) => {
            await tracking.start(limits);
            for (const device of devices) await askGuest(device, 'umap', [0], limits);
          },
          harvest: (into, last) => tracking.harvest(into, last),
          stop: (limits) => tracking.stop(limits),
        };
      },
    };
    const { source, console } = await moveWithEdu({
      registry: { ...builtIn, tracking: [untouched] },
      parameters: { tracking: 'untouched', verify: 'after' },
    });
    expect(source.status).toBe('completed');
    expect(source.verification?.differences.join()).toMatch(/pages? \d/);
    expect(complaints(console)[0]).toMatch(/edu: CORRUPT page 0x/);
  });

  it('is not tracked by what asks for more than its device has', async () => {
    const time = new VirtualTime(seededRandom(1), new Trace());
    const machine = createDeterministicMachine(
      { ramBytes: 64 * MIB, vcpus: 1, nic: { macs: [], edus: 1 } },
      { scheduler: time, random: seededRandom(1) },
    );
    const refused = (tracking: string): Promise<readonly string[]> =>
      blockersOf({ tracking, stop: 'auto', start: 'auto' }, machine.devices, builtIn);
    expect((await refused('device-log'))[0]).toContain('edu0: it keeps no log of what it writes');
    expect((await refused('ring-snoop'))[0]).toContain(
      'edu0: its rings are of no kind that the hypervisor can read; this machine could do with tracking = iommu-dirty, hybrid, pinned',
    );
    expect(await refused('iommu-dirty')).toEqual([]);
    await machine.destroy();
  });

  it('is not tracked by the touches of a driver that has another kind of device', async () => {
    const { source, console } = await moveWithEdu({ parameters: { tracking: 'driver-touch' } });
    expect(source.error).toMatchObject({ code: 'migration/approach' });
    expect(source.error?.message).toContain('edu0: its driver does not offer rxwb');
    expect(source.guest).toBe('here');
    expect(complaints(console)).toEqual([]);
  });

  it('loses its device by the slot, and gets another at the destination', async () => {
    const { source, destination, console } = await moveWithEdu({
      nic: { slot: 'quick' },
      parameters: { stop: 'hot-unplug-quick', start: 'hot-plug' },
      afterwardsMs: 300,
    });
    expect(source.error).toBeUndefined();
    expect([source.status, source.afterwards, destination.afterwards]).toEqual([
      'completed',
      undefined,
      undefined,
    ]);
    expect(complaints(console)).toEqual([]);
    expect(console.filter((line) => /edu 0000:\S+ version 1.0/.test(line))).toHaveLength(2);
    const at = console.findLastIndex((line) => /edu 0000:\S+ version 1.0/.test(line));
    expect(made(console.slice(at))).toBeGreaterThan(made(console.slice(0, at)));
  });

  it('is refused where there is no such device, before anything is sent', async () => {
    const { source } = await moveWithEdu({ destinationNic: { edus: 0, macs: [[0x52, 0x54, 0, 0, 0, 1]] } });
    expect(source.error?.message).toContain('edu devices: the source has 1, this machine 0');
    expect(source.guest).toBe('here');
  });
});
