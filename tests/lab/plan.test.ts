/** `ferry plan`: the model against moves that were made, against arithmetic, and against what was published. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { GIB, KIB, MIB, PAGE_BYTES, TIB } from '../../base/units.js';
import { assumed, completed, contradiction, type PlanInputs } from '../../lab/plan/inputs.js';
import { planMigration } from '../../lab/plan/model.js';
import { remediesFor } from '../../lab/plan/remedies.js';
import { planReport } from '../../lab/plan/report.js';
import { assumedIn, type PlanResult, planText, UNKNOWN } from '../../lab/plan/text.js';
import { PUBLISHED } from './plan-published.js';

const planOf = (given: Partial<PlanInputs>) => planMigration(completed(given));

/** A guest that takes a few rounds over a link that it does not outrun. */
const steady: Partial<PlanInputs> = {
  memory: 64 * GIB,
  bandwidth: 2 * GIB,
  dirtyRate: GIB / 2,
  workingSet: 60 * GIB,
  downtimeLimit: 20e6,
  autoConverge: false,
};

/** The example of the command's help. */
const large: Partial<PlanInputs> = {
  memory: TIB,
  bandwidth: 12.5e9,
  dirtyRate: 4 * GIB,
  vfs: 4,
  deviceState: 500 * MIB,
  leaves: 2 * MIB,
};

const resultOf = (given: Partial<PlanInputs>): PlanResult => {
  const inputs = completed(given);
  return {
    inputs,
    assumed: assumedIn(given),
    plan: planMigration(inputs),
    remedies: remediesFor(inputs),
    unknown: UNKNOWN,
  };
};

interface RecordedMove {
  readonly what: string;
  readonly given: Partial<PlanInputs>;
  readonly seen: {
    readonly rounds: number;
    readonly preCopyMs: number;
    readonly bytes: number;
    readonly lastPages: number;
    readonly blackoutMs: number;
  };
}

const { moves } = JSON.parse(readFileSync(new URL('./plan-moves.json', import.meta.url), 'utf8')) as {
  moves: readonly RecordedMove[];
};
const planning = readFileSync(new URL('../../docs/planning.md', import.meta.url), 'utf8');

describe('a move that was made', () => {
  it.each(moves)('is planned within 20 %: $what', ({ what, given, seen }) => {
    const { rounds, bytes, lastPages, blackout } = planOf(given);
    const preCopyMs = rounds.reduce((sum, one) => sum + one.durationNs + one.harvestNs, 0) / 1e6;
    // Only where pages are most of it: what threads wait for each other on a busy machine is no figure of a plan's.
    const byPages = lastPages * PAGE_BYTES > 64 * MIB;
    const ratios = {
      preCopyMs: preCopyMs / seen.preCopyMs,
      bytes: bytes / seen.bytes,
      ...(byPages ? { blackoutMs: blackout.totalNs / 1e6 / seen.blackoutMs } : {}),
    };
    for (const [name, ratio] of Object.entries(ratios)) {
      expect(ratio, name).toBeGreaterThan(0.8);
      expect(ratio, name).toBeLessThan(1.2);
    }
    expect(Math.abs(rounds.length - seen.rounds)).toBeLessThanOrEqual(Math.max(1, seen.rounds * 0.2));
    const row = [
      what,
      seen.preCopyMs,
      Math.round(preCopyMs),
      ratios.preCopyMs.toFixed(2),
      ratios.bytes.toFixed(2),
    ].join(' | ');
    expect(planning).toContain(row);
  });
});

describe('a published figure', () => {
  it.each(PUBLISHED)('stands beside what the model says of it: $what', ({ what, publishedMs, modelMs }) => {
    const model = modelMs();
    expect(planning).toContain(
      `| ${what} | ${publishedMs} | ${model.toFixed(0)} | ${(model / publishedMs).toFixed(2)} |`,
    );
  });
});

describe('rounds', () => {
  it('shrink as the guest writes slower than the link sends, until the rest fits', () => {
    const { rounds, roundsEnd, meetsLimit } = planOf(steady);
    expect(roundsEnd).toBe('fits-downtime-limit');
    expect(meetsLimit).toBe(true);
    // Far below its working set a guest writes a new page each time: a quarter of the link's rate, less repetitions.
    for (const { pages, dirtied } of rounds.slice(1, 4)) {
      expect(dirtied.cpu / pages).toBeGreaterThan(0.2);
      expect(dirtied.cpu / pages).toBeLessThan(0.26);
    }
    const first = 64 * GIB;
    expect(rounds[0]!.durationNs / 1e9).toBeCloseTo(first / (2 * GIB), 0);
  });

  it('do not shrink below what a guest writes that outruns the link, unless it is slowed down', () => {
    const fast = { ...steady, dirtyRate: 4 * GIB };
    const alone = planOf(fast);
    expect(alone.roundsEnd).toBe('max-rounds');
    expect(alone.lastPages * PAGE_BYTES).toBeGreaterThan(30 * GIB);
    const slowed = planOf({ ...fast, autoConverge: true });
    expect(slowed.meetsLimit).toBe(true);
    expect(slowed.rounds.at(-1)!.throttlePercent).toBeGreaterThan(50);
    // A guest that needs a tenth of its CPU time goes on as fast until less is left.
    const idle = planOf({ ...fast, autoConverge: true, cpuLoad: 10 });
    expect(idle.rounds.at(-1)!.throttlePercent).toBeGreaterThan(slowed.rounds.at(-1)!.throttlePercent);
  });

  it('are over after one with a tracking that names everything, and all of it goes in the blackout', () => {
    const { rounds, roundsEnd, lastPages } = planOf({ ...steady, vfs: 1, tracking: 'pinned' });
    expect([rounds.length, roundsEnd, lastPages]).toEqual([1, 'same-pages', (64 * GIB) / PAGE_BYTES]);
  });

  it('carry no more than the pages that are not zero', () => {
    const { bytes } = planOf({ ...steady, used: GIB, workingSet: GIB, dirtyRate: 0 });
    expect(bytes).toBeLessThan(1.01 * GIB);
  });
});

describe('a dirty leaf', () => {
  const named = (given: Partial<PlanInputs>): number =>
    planOf({ ...large, dirtyRate: 0, ...given }).rounds[0]!.dirtied.device;
  const buffers = (4 * 16 * MIB) / PAGE_BYTES;

  it('names all of its pages: as many as were written at 4 KiB, 512 times as many scattered at 2 MiB', () => {
    expect(named({ leaves: 4 * KIB })).toBe(buffers);
    const scattered = named({ leaves: 2 * MIB });
    expect(scattered / buffers).toBeGreaterThan(480);
    expect(scattered / buffers).toBeLessThanOrEqual(512);
    expect(named({ leaves: 2 * MIB, buffers: 'together' })).toBe(buffers);
    expect(named({ leaves: 2 * MIB, tracking: 'device-log' })).toBe(buffers);
  });

  it('makes the blackout longer, and its scan shorter', () => {
    const [small, huge] = ([4 * KIB, 2 * MIB] as const).map((leaves) =>
      planOf({ ...large, dirtyRate: 0, leaves }),
    );
    expect(huge!.blackout.lastPagesNs).toBeGreaterThan(10 * small!.blackout.lastPagesNs);
    // 268 million entries against half a million; at 0.31 ns each that is 83 ms.
    expect(small!.rounds[0]!.harvestNs / 1e6).toBeCloseTo(83, -1);
    expect(huge!.rounds[0]!.harvestNs).toBeLessThan(small!.rounds[0]!.harvestNs / 20);
  });
});

describe('the blackout of a plan', () => {
  const still: Partial<PlanInputs> = {
    memory: 16 * GIB,
    dirtyRate: 0,
    deviceDirtyRate: 0,
    bandwidth: 1.25e9,
  };
  const totalMs = (given: Partial<PlanInputs>): number =>
    planOf({ ...still, ...given }).blackout.totalNs / 1e6;

  it('is longer by what each function takes, and by its state, at the slower of link and device', () => {
    expect(totalMs({ vfs: 5 }) - totalMs({ vfs: 1 })).toBeCloseTo(4 * 2.5, 0);
    const slowLink = { vfs: 4, deviceState: 125e6, stateRate: 100e9 };
    expect(totalMs(slowLink) - totalMs({ ...slowLink, deviceState: 4 * KIB })).toBeCloseTo(400, -1);
    const slowDevice = { ...slowLink, stateRate: 125e6 };
    expect(totalMs(slowDevice) - totalMs({ ...slowDevice, deviceState: 4 * KIB })).toBeCloseTo(1000, -1);
    expect(
      totalMs({ ...slowDevice, stateAhead: 75 }) - totalMs({ ...slowDevice, stateAhead: 100 }),
    ).toBeCloseTo(250, -1);
  });

  it('has all that no round shortens as its floor', () => {
    const { blackout, floorNs, lastPages } = planOf(large);
    expect(lastPages).toBeGreaterThan(0);
    expect(floorNs).toBeLessThan(blackout.totalNs);
    const nothing = planOf({ ...still, vfs: 1 });
    expect([nothing.lastPages, nothing.floorNs]).toEqual([0, nothing.blackout.totalNs]);
  });
});

describe('what would make it', () => {
  const fast = { ...steady, dirtyRate: 4 * GIB, downtimeLimit: 100e6 };

  it('is said of a migration that misses its limit, and does make it; a tenth less does not', () => {
    const amounts: Record<string, keyof PlanInputs> = {
      '--bandwidth': 'bandwidth',
      '--dirty-rate': 'dirtyRate',
      '--downtime-limit': 'downtimeLimit',
    };
    expect(remediesFor(completed(steady))).toEqual([]);
    const found = new Map(remediesFor(completed(fast)).map(([change]) => [change!.option, change!.words]));
    expect([...found.keys()].sort()).toEqual(['--auto-converge', ...Object.keys(amounts)].sort());
    const value = (option: string): number => {
      const [amount, unit] = found
        .get(option)!
        .match(/([\d.]+) ?(\S+)$/)!
        .slice(1);
      return Number(amount) * { 'GiB/s': GIB, 'MiB/s': MIB, s: 1e9, ms: 1e6 }[unit!]!;
    };
    for (const [option, name] of Object.entries(amounts)) {
      // Words have three figures.
      const enough = option === '--dirty-rate' ? 0.99 : 1.01;
      const short = option === '--dirty-rate' ? 1.1 : 0.9;
      expect(planOf({ ...fast, [name]: value(option) * enough }).meetsLimit, option).toBe(true);
      expect(planOf({ ...fast, [name]: value(option) * short }).meetsLimit, option).toBe(false);
    }
  });

  it('is two changes together where no one is enough', () => {
    const inputs = completed({ ...large, downtimeLimit: 500e6 });
    const remedies = remediesFor(inputs);
    expect(remedies.map((changes) => changes.map(({ option }) => option))).toContainEqual([
      '--leaves',
      '--state-ahead',
    ]);
    expect(planMigration({ ...inputs, leaves: 4 * KIB, stateAhead: 90 }).meetsLimit).toBe(true);
    for (const one of [{ leaves: 4 * KIB }, { stateAhead: 90 }] as const)
      expect(planMigration({ ...inputs, ...one }).meetsLimit).toBe(false);
  });
});

describe('figures', () => {
  it('that contradict each other are refused in words', () => {
    expect(contradiction(completed({}))).toBeUndefined();
    for (const [given, flag] of [
      [{ memory: GIB, used: 2 * GIB }, '--used'],
      [{ memory: GIB, used: MIB, workingSet: 2 * GIB }, '--working-set'],
      [{ memory: GIB, vfs: 100 }, '--device-memory'],
    ] as const)
      expect(contradiction(completed(given))).toContain(flag);
  });

  it('that were not given are named as taken, those of functions only where there are some', () => {
    expect(assumed({ memory: GIB }, 'guess')).not.toContain('memory');
    expect(assumed({ memory: GIB }, 'guess')).toContain('dirtyRate');
    expect(assumed({}, 'ours')).not.toContain('deviceLoad');
    expect(assumed({ vfs: 1 }, 'ours')).toContain('deviceLoad');
    expect(planText(resultOf({ vfs: 1 }))).toContain('--device-load 2.5ms');
  });
});

describe('the words and the pictures', () => {
  it('say whether it is met, what would do, and what is not known', () => {
    const text = planText(resultOf(large));
    expect(text).toContain('beyond the limit of 300 ms');
    expect(text).toContain('--downtime-limit at least');
    for (const words of UNKNOWN) expect(text).toContain(words);
    expect(planText(resultOf(steady))).toContain('within the limit of 20.0 ms');
  });

  it('of many rounds show the first and the last', () => {
    const lines = planText(resultOf(large)).split('\n');
    const rounds = lines.filter((line) => /^(\d+|\.\.\.) {2}/.test(line)).map((line) => line.split(' ')[0]);
    expect(rounds).toEqual([...Array.from({ length: 12 }, (_, i) => String(i + 1)), '...', '28', '29', '30']);
  });

  it('are one file without scripts, with every part in figures as well', () => {
    const html = planReport(resultOf(large));
    expect(html).not.toMatch(/<script|NaN|Infinity|undefined/);
    // Three pictures, each for a wide page and a narrow one.
    expect(html.match(/role="img"/g)).toHaveLength(6);
    expect(html).toContain('within the limit');
  });
});
