/** A guest that abuses its PCI Express devices, on the whole machine: nothing it writes ends more than itself. */
import { describe, expect, test } from 'vitest';
import { booted, moved, WORLDS } from './machine-worlds.js';

const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56] as const;

describe.each(WORLDS)('a machine of $name with a NIC', ({ run }) => {
  test('answers a guest that writes configuration space and BARs at random, and stays usable', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'storm', 60_000, { nic: { macs: [MAC] } });
      await watch.line(/^s/);
      const before = (await machine.nicReports())[0]!;
      expect(before.faults.last.length).toBeLessThanOrEqual(16);
      await machine.pause();
      const [first, second] = [await machine.save(), await machine.save()];
      expect(first.devices).toEqual(second.devices);
      await machine.resume();
      expect(machine.state).toBe('running');
      expect(watch.events.filter(({ kind }) => kind === 'failed' || kind === 'crash')).toEqual([]);
    }));

  test.each([
    ['storm', 20_000],
    ['storm', 20_001],
    ['wipe', 0],
  ] as const)(
    'is moved with a guest that has written to its configuration spaces what it should not (%s %i)',
    (guest, argument) =>
      run(async (world) => {
        const nic = { macs: [MAC] };
        const { machine, watch } = await booted(world, guest, argument, { nic });
        await watch.line(/^s/);
        await machine.pause();
        const state = await machine.save();
        const next = await moved(world, machine, { nic });
        expect((await next.save()).devices).toEqual(state.devices);
      }),
  );

  test('has no device where the guest was given none', () =>
    run(async (world) => {
      const { machine } = await booted(world, 'storm', 100);
      expect(await machine.nicReports()).toEqual([]);
    }));
});
