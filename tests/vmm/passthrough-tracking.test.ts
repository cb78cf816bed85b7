/**
 * The ways to know what an assigned device wrote, each on a whole move of a guest under traffic in both directions, with
 * every byte compared after the stop; and beside each the defect that the comparison must find.
 */
import { describe, expect, it } from 'vitest';
import { moveUnderTraffic, RATE } from './passthrough-world.js';

const caught = /verification-failed|integrity-mismatch/;

/** A move by `tracking` that went well: no byte wrong, and nothing lost but what the blackout drops. */
async function moved(
  tracking: string,
  scene: Parameters<typeof moveUnderTraffic>[0] = {},
): ReturnType<typeof moveUnderTraffic> {
  const result = await moveUnderTraffic({ ...scene, parameters: { tracking } });
  const { source, flow, nic } = result;
  expect(source.error).toBeUndefined();
  expect(source.status).toBe('completed');
  expect(source.approaches?.tracking).toBe(tracking);
  expect(source.rounds.length).toBeGreaterThan(2);
  expect(flow.arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
  expect(flow.arrived!.lost).toBeLessThanOrEqual((flow.arrived!.longestGapNs / 1e9) * RATE + 2);
  expect(flow.arrived!.received).toBeGreaterThan(1000);
  expect(nic).toMatchObject({ state: 'RUNNING', link: true, faults: { count: 0 } });
  return result;
}

describe('device-log: the NIC logs what it writes', () => {
  it('moves a guest under traffic, and names pages that it wrote, not all that are mapped', async () => {
    const { source } = await moved('device-log');
    expect(source.dirtied.device).toBeGreaterThan(100);
    expect(source.rounds.at(-1)!.pages).toBeLessThan(source.migratedPages / 4);
  });

  it('moves it with writes on their way at any time, and with several functions, each with its log', async () => {
    await moved('device-log', { writesInFlight: 8 });
    const { source, flows } = await moveUnderTraffic({
      functions: 2,
      parameters: { tracking: 'device-log' },
    });
    expect(source.error).toBeUndefined();
    for (const { arrived } of flows) expect(arrived).toMatchObject({ corrupt: 0, duplicated: 0 });
    const reports = source.timeline.filter(({ what }) => what === 'report');
    expect(new Set(reports.map(({ who }) => who))).toEqual(new Set(['vf0', 'vf1']));
  });

  it('whose ranges miss what was mapped later is found out: verification names pages', async () => {
    const { source } = await moveUnderTraffic({
      parameters: { tracking: 'device-log' },
      nicFaults: { source: [{ site: 'nic/log-range-missed' }] },
    });
    expect(source.error?.code).toMatch(caught);
    expect(source.error?.message).toMatch(/pages? \d/);
  });
});
