/**
 * A driver that takes its device down when it is asked, on whole moves of a guest under traffic in both directions; guests
 * that do not do what they were asked; and guests that are taken back.
 */
import { describe, expect, it } from 'vitest';
import { FaultPlan } from '../../base/fault.js';
import { milliseconds } from '../../base/units.js';
import { moveUnderTraffic, RATE, type TrafficResult } from './passthrough-world.js';

const nothingWrong = { duplicated: 0, reordered: 0, corrupt: 0 };
/** What the driver takes to reset its device twice, and a wait for the mailbox each time; with the rounds between. */
const GAP_MS_MAX = 150;

const scene = (
  more: Parameters<typeof moveUnderTraffic>[0] = {},
): Parameters<typeof moveUnderTraffic>[0] => ({
  ...more,
  // `auto` comes to it by itself, as the device's state can't be read out.
  nic: { vfioMigration: false },
});

/** Nothing is lost but what came while the device was away, and it is at work again, for good. */
function expectWorks({ flow, nic, console }: TrafficResult): void {
  expect(flow.arrived).toMatchObject(nothingWrong);
  expect(flow.arrived!.longestGapNs).toBeLessThan(milliseconds(GAP_MS_MAX));
  expect(flow.arrived!.lost).toBeLessThanOrEqual((flow.arrived!.longestGapNs / 1e9) * RATE + 2);
  expect(flow.arrived!.received).toBeGreaterThan(1000);
  expect(nic).toMatchObject({ state: 'RUNNING', link: true, faults: { count: 0 } });
  expect(console.filter((line) => /DMA-API: ixgbevf|BUG|Failed|can not/.test(line))).toEqual([]);
}

describe('capability: a driver that is asked to take its device down', () => {
  it('moves its guest under traffic, sets the device up at the destination, and the interface never goes', async () => {
    const result = await moveUnderTraffic(scene());
    const { source, console, announcedAt } = result;
    expect(source.error).toBeUndefined();
    expect(source.status).toBe('completed');
    expect(source.approaches).toMatchObject({ stop: 'capability', start: 'capability' });
    expect(source.devices[0]).toMatchObject({ problem: undefined, startedAfterNs: expect.any(Number) });
    const said = console.filter((line) => / ferry: (suspended|resumed)/.test(line));
    expect(said.map((line) => line.replace(/.*ferry: /, ''))).toEqual(['suspended', 'resumed']);
    expect(console.filter((line) => /NIC Link is Up/.test(line))).toHaveLength(2);
    expect([...new Set(announcedAt)]).toEqual(['destination']);
    expectWorks(result);
  });

  it('works again at the source when the guest is taken back after the stop', async () => {
    const faults = new FaultPlan([{ site: 'migration/last-pass-skipped' }]);
    const result = await moveUnderTraffic(scene({ faults }));
    expect(result.source).toMatchObject({ status: 'failed', guest: 'here' });
    expect(result.source.error?.code).toMatch(/integrity-mismatch|verification-failed/);
    expect(result.source.devices[0]?.takenBack).toBeUndefined();
    expect(result.console.filter((line) => / ferry: resumed/.test(line))).toHaveLength(1);
    expectWorks(result);
  });

  it('that says so and goes on using its device is found out, and kept from memory meanwhile', async () => {
    const result = await moveUnderTraffic(scene({ commandLine: 'behaviour=lying' }));
    expect(result.source.error?.code).toBe('migration/guest-broke-word');
    expect(result.source).toMatchObject({ status: 'failed', guest: 'here' });
    expectWorks(result);
  });

  it('that never answers is not waited for longer than it may take, and its network goes on', async () => {
    const parameters = { requestTimeoutMs: 100 };
    const result = await moveUnderTraffic(scene({ commandLine: 'behaviour=silent', parameters }));
    expect(result.source.error?.code).toBe('migration/guest-silent');
    // Nor when it is taken back: it has its device.
    expect(result.source.totalNs).toBeLessThan(milliseconds(1000));
    expect(result.source.devices[0]?.takenBack).toBeUndefined();
    expectWorks(result);
  });

  it('is not asked where nobody offers to follow: that is told before anything starts', async () => {
    const parameters = { stop: 'capability' };
    const result = await moveUnderTraffic(scene({ commandLine: 'pcie_ports=compat', parameters }));
    expect(result.source.error?.message).toMatch(/vf0: its driver does not offer susp, rsme/);
    expect(result.source.rounds).toEqual([]);
    expectWorks(result);
  });
});
