/**
 * A device that was never saved by VFIO, put back from what its host had read out: with its registers it goes on at once, as
 * after a reset its driver finds it, and sets it up by itself.
 */
import { describe, expect, it } from 'vitest';
import { FaultPlan } from '../../base/fault.js';
import { milliseconds } from '../../base/units.js';
import { booted, WORLDS } from './machine-worlds.js';
import { moveUnderTraffic, RATE } from './passthrough-world.js';

const move = (start: string, scene: Parameters<typeof moveUnderTraffic>[0] = {}) =>
  moveUnderTraffic({ ...scene, parameters: { stop: 'surprise', start, ...scene.parameters } });

const LAST_PASS_SKIPPED = [{ site: 'migration/last-pass-skipped' }] as const;

describe('registers that are written into another device', () => {
  it('have it go on at once: no packet twice, those lost are as many as came while it was away', async () => {
    const { source, destination, flow, nic, console } = await move('state-replay');
    expect([source.error, destination.afterwards, source.afterwards]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(source.devices[0]).toMatchObject({ preCopyBytes: 0, problem: undefined });
    expect(source.devices[0]!.blackoutBytes).toBeGreaterThan(0);
    const { arrived } = flow;
    expect(arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
    expect(arrived!.longestGapNs).toBeLessThan(milliseconds(25));
    expect(arrived!.lost).toBeLessThanOrEqual((arrived!.longestGapNs / 1e9) * RATE + 40);
    expect(nic).toMatchObject({ state: 'RUNNING', link: true, faults: { count: 0 } });
    // The driver has noticed nothing: its link never went.
    expect(console.filter((line) => /NIC Link is/.test(line))).toHaveLength(1);
    expect(console.filter((line) => /Adapter removed|Reset adapter|AER: Unc/.test(line))).toEqual([]);
  });

  it('have it go on at the source, too, when the move comes to nothing', async () => {
    const { source, flow, nic, console } = await move('state-replay', {
      faults: new FaultPlan(LAST_PASS_SKIPPED),
    });
    expect(source).toMatchObject({ status: 'failed', guest: 'here' });
    expect(flow.arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
    expect(flow.sent - flow.arrived!.received).toBeLessThan(40 * (RATE / 1000));
    expect(nic).toMatchObject({ state: 'RUNNING', link: true, faults: { count: 0 } });
    expect(console.filter((line) => /NIC Link is/.test(line))).toHaveLength(1);
  });
});

describe('what another host has read out', () => {
  const nic = { macs: [[0x52, 0x54, 0, 0x12, 0x34, 0x56]] } as const;

  it('is refused by name when it is not whole, or of another version, and taken when it is', () =>
    WORLDS[1]!.run(async (world) => {
      const { machine } = await booted(world, 'hello', 0, { nic });
      const { replay, fn } = machine.devices[0]!;
      await fn!.isolate();
      await fn!.restore();
      const record = await replay!.readOut();
      const putBack = async (bytes: Uint8Array): Promise<void> => {
        await replay!.take(bytes);
        await replay!.putBack('registers');
      };
      const other = Uint8Array.of(9, ...record.subarray(1));
      await expect(putBack(other)).rejects.toMatchObject({ code: 'devices/recordVersion' });
      for (const length of [0, 1, 2, 100, record.length - 1]) {
        const code = length === 0 ? 'devices/recordVersion' : 'devices/recordRefused';
        await expect(putBack(record.subarray(0, length)), `${length} bytes`).rejects.toMatchObject({ code });
      }
      await putBack(record);
      await replay!.release();
    }));
});

describe('a device at its place, as after reset', () => {
  it('is found so by its driver, which sets it up again: the same interface and address', async () => {
    const { source, destination, flow, nic, console } = await move('reset', {
      rate: 100,
      afterwardsMs: 10_500,
    });
    expect([source.error, destination.afterwards, source.afterwards]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(source.devices[0]).toMatchObject({ preCopyBytes: 0, problem: undefined });
    expect(flow.arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
    expect(nic).toMatchObject({ state: 'RUNNING', link: true, faults: { count: 0 } });
    expect(console.filter((line) => /NIC Link is|Reset adapter|Adapter removed|AER: Unc/.test(line))).toEqual(
      [
        expect.stringMatching(/eth0: NIC Link is Up 10 Gbps$/),
        expect.stringMatching(/eth0: NIC Link is Down$/),
        expect.stringMatching(/Reset adapter$/),
        expect.stringMatching(/eth0: NIC Link is Up 10 Gbps$/),
      ],
    );
    // And flows to the end.
    expect(flow.arrived!.longestGapNs).toBeLessThan(milliseconds(10_100));
  });
});
