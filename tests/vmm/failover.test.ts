/**
 * A guest that is moved without its device, and goes on by a standby meanwhile. All of it real but time: the kernel's hot-plug
 * driver and its net_failover, both devices, both flows of the migration, the network.
 */
import { describe, expect, it } from 'vitest';
import { moveUnderTraffic, type TrafficScene } from './passthrough-world.js';

const RATE = 2000;
/** No gap is longer: two devices carry in turn, and the guest stands for a few milliseconds. */
const GAP_MS = 20;

const move = (scene: TrafficScene = {}): ReturnType<typeof moveUnderTraffic> =>
  moveUnderTraffic({
    virtio: 'standby',
    nic: { slot: 'quick' },
    rate: RATE,
    afterwardsMs: 600,
    commandLine: 'status_ms=1000',
    ...scene,
    parameters: { stop: 'failover', start: 'hot-plug', ...scene.parameters },
  });

const roles = (console: readonly string[]): string[] =>
  console.flatMap((line) => /failover (primary slave:\S+ \S+)/.exec(line)?.[1] ?? []);

describe('a guest whose device is unplugged beside a standby', () => {
  it('is moved, verified, and has its device again, without a gap in its traffic or a new address', async () => {
    const { source, destination, flow, console, nics } = await move();
    expect(source.error).toBeUndefined();
    expect([source.status, destination.status]).toEqual(['completed', 'completed']);
    expect([source.fallbacks, destination.afterwards]).toEqual([[], undefined]);
    expect(source.verification).toMatchObject({ established: true, differences: [] });
    expect(roles(console)).toEqual([
      'primary slave:eth2 registered',
      'primary slave:eth2 unregistered',
      'primary slave:eth2 registered',
    ]);
    const [vf, standby] = nics;
    expect(standby!.counters['frames-sent']).toBeGreaterThan(0);
    expect(vf!.counters['frames-sent']).toBeGreaterThan(0);
    const { longestGapNs, received, lost } = flow.arrived!;
    expect(flow.arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
    expect(longestGapNs / 1e6).toBeLessThan(GAP_MS);
    expect(lost).toBeLessThan((RATE * GAP_MS) / 1000);
    expect(received).toBeGreaterThan(500);
    expect(console.filter((line) => /device=eth/.test(line))).toHaveLength(1);
    expect(console.filter((line) => /DMA-API: (ixgbevf|virtio)|BUG|needs a reset/.test(line))).toEqual([]);
    const told = source.timeline.filter(({ what }) => what === 'unplug-primary');
    expect(told.map(({ who }) => who)).toEqual(['vf0']);
  });

  it('has it back, and uses it, when the migration is cancelled while the standby carries', async () => {
    const { source, flow, console, nics } = await move({
      // The driver has let the device go, and the guest waits a second before it says so.
      nic: { slot: 'ordinary' },
      cancelAfterMs: 800,
    });
    expect(source.status).toBe('cancelled');
    expect(nics.map(({ name, state }) => `${name} ${state}`)).toEqual(['vf0 RUNNING', 'virtio-net0 RUNNING']);
    expect(roles(console)).toEqual([
      'primary slave:eth2 registered',
      'primary slave:eth2 unregistered',
      'primary slave:eth2 registered',
    ]);
    expect(flow.arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
    expect(flow.arrived!.longestGapNs / 1e6).toBeLessThan(GAP_MS);
  });

  it('is asked by ACPI where that handles its slot, and goes on by the standby likewise', async () => {
    const { source, destination, flow, console } = await move({ nic: { slot: 'acpi' } });
    expect([source.error, source.afterwards, destination.afterwards]).toEqual(Array(3).fill(undefined));
    expect(source.approaches).toMatchObject({ stop: 'failover', start: 'hot-plug' });
    expect(source.fallbacks).toEqual([]);
    expect(roles(console)).toHaveLength(3);
    expect(flow.arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
    expect(flow.arrived!.longestGapNs / 1e6).toBeLessThan(GAP_MS);
  });

  it('is refused before anything is sent where there is none', async () => {
    const { source } = await moveUnderTraffic({
      nic: { slot: 'quick' },
      parameters: { stop: 'failover', start: 'hot-plug' },
    });
    expect(source.status).toBe('failed');
    expect(source.error).toMatchObject({ code: 'migration/approach' });
    expect(source.error!.message).toMatch(/no standby with its address is beside it/);
  });

  it('is refused before anything is sent where its driver has not agreed to be one', async () => {
    const { source, flow } = await move({ commandLine: 'module_blacklist=virtio-pci status_ms=1000' });
    expect(source.error).toMatchObject({
      code: 'migration/approach',
      message: expect.stringMatching(/vf0: the guest has not agreed to use virtio-net0 as a standby/),
    });
    expect([source.guest, source.transferred.pages]).toEqual(['here', 0]);
    expect(flow.arrived).toMatchObject({ lost: 0, corrupt: 0 });
  });
});
