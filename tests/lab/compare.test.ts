/** Comparisons: who takes part, in which order, and what is said of those that fail or are not possible. Moves are simulated. */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { EXIT_STATUS } from '../../base/exit-status.js';
import {
  type CompareOptions,
  type CompareProgress,
  compare,
  compareStatus,
} from '../../lab/compare/compare.js';
import { contestants } from '../../lab/compare/contestants.js';
import { type CompareEntry, goalsOf, spreadsOf } from '../../lab/compare/figures.js';
import { compareText, goalRows, progressLine } from '../../lab/compare/text.js';
import { labErrors } from '../../lab/errors.js';
import type { MigrateResult } from '../../lab/move/move.js';
import { type MigrateOptions, scenarioOf } from '../../lab/move/scenario.js';
import { EFFORTS } from '../../migration/approach.js';
import { builtIn } from '../../migration/registry.js';
import type { StopDescriptor } from '../../migration/stop/stop.js';
import { simulate } from '../migration/simulate.js';
import { withDevice } from '../migration/test-approaches.js';

const MODULE = `module:${fileURLToPath(new URL('../../docs/examples/scan-late.mjs', import.meta.url))}`;

/** A move in virtual time, of what `migrate` is asked for. */
async function move(options: MigrateOptions): Promise<MigrateResult> {
  const { tracking = 'auto', stop = 'auto', start = 'auto' } = options;
  const { source } = await simulate({ shape: withDevice, parameters: { tracking, stop, start } });
  const held = source.status === 'completed';
  return {
    verdict: {
      outcome: held ? 'verified' : 'failed',
      checks: [{ name: 'it moved', outcome: held ? 'held' : 'failed', seen: source.status }],
    },
    record: source,
    network: undefined,
    cpu: { before: undefined, move: { durationNs: 1e9, guestNs: 1e8, hostNs: 2e8 } },
    console: [],
    scenario: scenarioOf(options),
    bootMs: 1,
    unwritten: [],
  };
}

async function compared(options: CompareOptions, run = move) {
  const asked: MigrateOptions[] = [];
  const told: CompareProgress[] = [];
  const comparison = await compare(
    options,
    (progress) => told.push(progress),
    (one) => {
      asked.push(one);
      return run(one);
    },
  );
  return { comparison, asked, told, text: compareText(comparison), status: compareStatus(comparison) };
}

const TRACKING = { axis: 'tracking', approaches: { tracking: ['iommu-dirty', 'pinned'] } } as const;

describe('contestants', () => {
  it('are all that serve a machine with a device, along each effort, as the registry has them', async () => {
    const { contestants: all } = await contestants('all', {});
    expect(all.map(({ effort, name }) => [effort, name])).toEqual(
      EFFORTS.flatMap((effort) =>
        builtIn[effort].filter(({ serves }) => serves === 'device').map(({ name }) => [effort, name]),
      ),
    );
    for (const { effort, name, asked } of all) {
      expect(asked).toEqual({ tracking: 'auto', stop: 'auto', start: 'auto', [effort]: name });
    }
  });

  it('are those that are named, modules among them, beside what is to be used', async () => {
    const { contestants: named, registry } = await contestants('tracking', {
      tracking: ['pinned', MODULE],
      stop: ['device-state'],
    });
    expect(named.map(({ name, asked }) => [name, asked.tracking, asked.stop])).toEqual([
      ['pinned', 'pinned', 'device-state'],
      ['scan-late', MODULE, 'device-state'],
    ]);
    expect(registry.tracking.at(-1)!.name).toBe('scan-late');
  });

  it('are refused where a name is none, or several are to be used at once', async () => {
    await expect(contestants('all', { stop: ['nope'] })).rejects.toThrow(
      /--stop: there is no nope; known are/,
    );
    await expect(contestants('tracking', { stop: ['a', 'b'] })).rejects.toThrow(/--stop takes one approach/);
  });
});

describe('a comparison', () => {
  it('takes them in turn, with one seed, and tells medians with the least and the most', async () => {
    const { comparison, asked, told, text, status } = await compared({ ...TRACKING, runs: 3 });
    expect(asked.map(({ tracking }) => tracking)).toEqual([
      'iommu-dirty',
      'pinned',
      'iommu-dirty',
      'pinned',
      'iommu-dirty',
      'pinned',
    ]);
    expect(new Set(asked.map(({ seed }) => seed))).toEqual(new Set([comparison.scenario.seed]));
    for (const { outcome, runs, figures, detail } of comparison.entries) {
      expect([outcome, runs.length]).toEqual(['verified', 3]);
      const blackouts = runs.map(({ blackoutNs }) => blackoutNs!).sort((a, b) => a - b);
      expect(figures.blackoutNs).toEqual({ median: blackouts[1], min: blackouts[0], max: blackouts[2] });
      expect(detail!.blackout!.totalNs).toBe(blackouts[1]);
    }
    expect(told.map(({ done, all }) => [done, all])).toEqual([1, 2, 3, 4, 5, 6].map((done) => [done, 6]));
    expect(text).toMatch(/tracking iommu-dirty +\d.* verified /);
    expect(text).toMatch(/tracking pinned +\d.* verified /);
    expect(status).toBe(0);
  });

  it('shows a run that fails as failed, with its reason and a failing status, and goes on', async () => {
    let runs = 0;
    const { comparison, text, status, told } = await compared({ ...TRACKING, runs: 2 }, async (options) => {
      if (++runs !== 3) return move(options);
      throw labErrors.error('process-silent', { what: 'VMM', pid: 7, waitedMs: 1 });
    });
    const [first, second] = comparison.entries;
    expect([first!.outcome, second!.outcome]).toEqual(['failed', 'verified']);
    expect(first!.reason).toMatch(/process 7 did not open its monitor/);
    expect(text).toMatch(/tracking iommu-dirty: 1 of 2 runs failed: .*process 7/);
    expect(told.map(progressLine)[2]).toMatch(/tracking iommu-dirty: failed: .*process 7/);
    expect(runs).toBe(4);
    expect(status).toBe(EXIT_STATUS['not-verified']);
  });

  it('lists what the machine does not allow with the reason, once, and is none if nothing is possible', async () => {
    const impossible = {
      axis: 'tracking',
      runs: 2,
      approaches: { tracking: ['pinned', 'cpu-log'] },
    } as const;
    const { comparison, asked, text, status } = await compared(impossible);
    expect(asked.map(({ tracking }) => tracking)).toEqual(['pinned', 'cpu-log', 'pinned']);
    expect(comparison.entries[1]).toMatchObject({ outcome: 'impossible', runs: [] });
    expect(text).toMatch(/tracking cpu-log is not possible here: .*does not see what vf0 writes/);
    expect(status).toBe(0);
    const none = await compared({ axis: 'tracking', approaches: { tracking: ['cpu-log'] } });
    expect(none.status).toBe(EXIT_STATUS.refused);
  });

  it('gives each approach the device that it needs, and says so; what was said of the NIC stays', async () => {
    const stops = { axis: 'stop', runs: 1, approaches: { stop: ['device-state', 'failover'] } } as const;
    // The simulated machine has no standby.
    const anyhow = (options: MigrateOptions) => move({ ...options, stop: 'device-state' });
    const { asked, text, comparison } = await compared(stops, anyhow);
    expect(asked.map(({ nic }) => nic)).toEqual(['vf', 'vf,failover=on']);
    expect(comparison.entries.map(({ nic }) => nic)).toEqual(['vf', 'vf,failover=on']);
    expect(text).toMatch(/failover: .*--nic vf,failover=on/);
    const off = await compared({ ...stops, nic: 'vf,failover=off' });
    expect(off.asked.map(({ nic }) => nic)).toEqual(['vf,failover=off', 'vf,failover=off']);
  });

  it('measures what comes to the same choice once', async () => {
    const { comparison, asked } = await compared({
      runs: 2,
      approaches: { tracking: ['iommu-dirty', 'pinned'] },
    });
    const same = comparison.entries.filter(({ outcome }) => outcome === 'same');
    expect(same.length).toBeGreaterThan(0);
    for (const { reason } of same) expect(reason).toBe('tracking iommu-dirty');
    const turns = comparison.entries.map(({ outcome }) => (/same|impossible/.test(outcome) ? 1 : 2));
    expect(asked).toHaveLength(turns.reduce<number>((sum, count) => sum + count, 0));
  });

  it('compares on demand only approaches with goals, and sets what they reached beside each', async () => {
    const goals = { axis: 'stop', runs: 1, goals: true } as const;
    const { asked, comparison } = await compared(goals);
    const own = builtIn.stop.filter((one) => one.goals !== undefined).map(({ name }) => name);
    expect(new Set(asked.map(({ stop }) => stop))).toEqual(new Set(own));
    const [entry] = comparison.entries as [CompareEntry];
    const with_ = (blackout: number, request: number): CompareEntry => ({
      ...entry,
      goals: { blackoutMs: 10, requestMs: 6000 },
      figures: {
        ...entry.figures,
        blackoutNs: { median: blackout, min: blackout, max: blackout },
        requestNs: { median: request, min: request, max: request },
      },
    });
    const reached = (one: CompareEntry) =>
      goalRows({ ...comparison, entries: [one] }).map((row) => row.at(-1));
    expect(reached(with_(9e6, 6.1e9))).toEqual(['✔ reached', '✔ reached']);
    expect(reached(with_(11e6, 5.9e9))).toEqual(['✘ not reached', '✘ not reached']);
    // What was not possible has reached nothing.
    expect(reached({ ...entry, outcome: 'impossible', figures: spreadsOf([]) })).toEqual(['✘ not reached']);
  });

  it('tells how long a comparison of all took, beside what it may take', async () => {
    const { comparison } = await compared({ ...TRACKING, runs: 3 });
    const [entry] = comparison.entries as [CompareEntry];
    const entries = EFFORTS.map((effort) => ({ ...entry, effort, ownGoals: false }));
    const last = (tookNs: number) => goalRows({ ...comparison, entries, tookNs }).at(-1);
    expect(last(599e9)).toEqual(['this comparison', 'in all', 'at most 600.0 s', '599.0 s', '✔ reached']);
    expect(last(601e9)!.at(-1)).toBe('✘ not reached');
    expect(goalRows({ ...comparison, tookNs: 1 }), 'not of all').toEqual([]);
  });

  it('does not hold an approach to goals with a device that does not suit it', async () => {
    const asked = { axis: 'stop', runs: 1, approaches: { stop: ['hot-unplug-quick'] } } as const;
    const anyhow = async (options: MigrateOptions): Promise<MigrateResult> => {
      const result = await move({ ...options, stop: 'device-state' });
      const approaches = { ...result.record!.approaches!, stop: options.stop! };
      return { ...result, record: { ...result.record!, approaches } };
    };
    expect((await compared(asked, anyhow)).comparison.entries[0]!.goals.gapMs).toBe(300);
    const ordinary = await compared({ ...asked, nic: 'vf,slot=ordinary' }, anyhow);
    expect(ordinary.comparison.entries[0]!.goals.gapMs).toBeUndefined();
  });

  it('holds medians against the goals of what was chosen, and says which are reached', async () => {
    const { comparison, text } = await compared({ ...TRACKING, runs: 1 });
    const [entry] = comparison.entries as [CompareEntry];
    const [{ goals: wanted }] = builtIn.stop.filter(({ name }) => name === entry.approaches!.stop) as [
      StopDescriptor,
    ];
    expect(wanted).toBeDefined();
    expect(entry.goals).toEqual(wanted);
    const ns = wanted!.blackoutMs! * 1e6;
    const at = (median: number) =>
      goalsOf({ ...entry, figures: { ...entry.figures, blackoutNs: { median, min: 0, max: ns * 9 } } });
    expect(at(ns)).toEqual([{ of: 'blackoutNs', ns, atLeast: false, reached: true }]);
    expect(at(ns + 1)).toEqual([{ of: 'blackoutNs', ns, atLeast: false, reached: false }]);
    expect(goalsOf({ ...entry, goals: {} })).toEqual([]);
    const [reached] = goalsOf(entry);
    expect(text).toContain(`${reached!.reached ? '✔' : '✘'} blackout 10.0 ms`);
  });
});
