/** `npm run bench:quick`: what it holds against the committed figures, and its yardstick of a blackout. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { bareExchangeMs } from '../../dist/lab/bench/quick/exchange.js';
import {
  ALLOWANCE,
  type Committed,
  committedFrom,
  fallenOut,
  judged,
  parseCommitted,
  quickText,
} from '../../lab/bench/quick/committed.js';
import { AT_MOST, RATIO_NAMES, type Ratios } from '../../lab/bench/quick/ratios.js';
import { recoveryRatio } from '../../lab/bench/quick/recovery.js';

const all = (value: number): Ratios => Object.fromEntries(RATIO_NAMES.map((name) => [name, value])) as Ratios;
const machine = { cpu: 'a CPU', cores: 2, node: 'v20' };
const committed = committedFrom([all(1), all(0.8), all(1.2)], machine);

describe('a ratio', () => {
  it('is within its range up to the allowance beyond either end, and out of it further on', () => {
    const range = { median: 1, min: 0.8, max: 1.2 };
    expect(judged(0.8 * (1 - ALLOWANCE) + 0.001, range)).toBe('within');
    expect(judged(0.8 * (1 - ALLOWANCE) - 0.001, range)).toBe('below');
    expect(judged(1.2 * (1 + ALLOWANCE) - 0.001, range)).toBe('within');
    expect(judged(1.2 * (1 + ALLOWANCE) + 0.001, range)).toBe('above');
    expect(judged(Number.NaN, range)).not.toBe('within');
  });

  it('that fell out is named, alone', () => {
    expect(fallenOut(all(1), committed)).toEqual([]);
    for (const [value, word] of [
      [0.5, 'below its range: better'],
      [2, 'above its range: worse'],
    ] as const) {
      const measured = { ...all(1), blackout: value };
      expect(fallenOut(measured, committed)).toEqual(['blackout']);
      const lines = quickText(measured, committed).split('\n');
      expect(lines.filter((line) => line.includes(word))).toHaveLength(1);
      expect(lines.filter((line) => line.startsWith('out of their ranges: blackout;'))).toHaveLength(1);
    }
    expect(quickText({ ...all(1), transfer: 0.5 }, committed)).toContain('below its range: worse');
    expect(quickText(all(1), committed)).toContain('all are within their ranges');
  });
});

describe('committed figures', () => {
  it('are medians with the least and the most of the passes', () => {
    expect(committed.passes).toBe(3);
    const ranged = RATIO_NAMES.filter((name) => AT_MOST[name] === undefined);
    expect(Object.keys(committed.ratios)).toEqual(ranged);
    for (const name of ranged) expect(committed.ratios[name]).toEqual({ median: 1, min: 0.8, max: 1.2 });
    expect(parseCommitted(JSON.stringify(committed))).toEqual(committed);
  });

  it('are none where a ratio is missing, a range is turned round, or the layout is another', () => {
    const { transfer: _left, ...others } = committed.ratios;
    const turned = { ...committed.ratios, transfer: { median: 1, min: 1.2, max: 0.8 } };
    const wrong: unknown[] = [
      { ...committed, ratios: others },
      { ...committed, ratios: turned },
      { ...committed, version: committed.version + 1 },
      null,
    ];
    for (const one of wrong) expect(parseCommitted(JSON.stringify(one))).toBeUndefined();
    expect(parseCommitted('{')).toBeUndefined();
  });

  it('are there', () => {
    const text = readFileSync(new URL('../../docs/bench-quick.json', import.meta.url), 'utf8');
    const found = parseCommitted(text) as Committed;
    expect(fallenOut(all(1), found)).toBeDefined();
    for (const { median, min, max } of Object.values(found.ratios)) {
      expect(median).toBeGreaterThanOrEqual(min);
      expect(median).toBeLessThanOrEqual(max);
    }
  });
});

describe('the ratio of recovery', () => {
  /** Moves whose gaps are given, of recoveries and of others; the second flow's is shorter. */
  function mover(recovery: readonly number[], state: readonly number[], outcome = 'verified') {
    const [left, others] = [[...recovery], [...state]];
    const asked: string[] = [];
    const move = async ({ start }: { readonly start?: string }) => {
      asked.push(start!);
      const gapMs = start === 'device-state' ? others.shift()! : left.shift()!;
      const flows = [gapMs, gapMs / 2].map((ms) => ({ arrived: { longestGapNs: ms * 1e6 } }));
      return { verdict: { outcome, checks: [] }, network: { move: { flows } } };
    };
    return { asked, move: move as unknown as Parameters<typeof recoveryRatio>[1] };
  }

  it('is that of the medians of moves that take turns', async () => {
    const { asked, move } = mover([60, 300, 90], [20, 30, 100]);
    expect(await recoveryRatio(3, move)).toBe(3);
    expect(asked).toEqual(
      Array.from({ length: 3 }, () => ['device-state', 'error-recovery-nonfatal']).flat(),
    );
  });

  it('is too much when a recovery takes as long as with a driver that sets its device up while packets come', async () => {
    const measured = async (gapMs: number) => ({
      ...all(1),
      recovery: await recoveryRatio(1, mover([gapMs], [30]).move),
    });
    const most = AT_MOST.recovery!;
    expect(fallenOut(await measured(most * 30), committed)).toEqual([]);
    expect(fallenOut(await measured(227), committed)).toEqual(['recovery']);
    expect(quickText(await measured(227), committed)).toContain('above its range: worse');
    expect(fallenOut({ ...all(1), recovery: Number.NaN }, committed)).toEqual(['recovery']);
  });

  it('is none of moves that were not verified', async () => {
    const { move } = mover([60], [20], 'unverified');
    await expect(recoveryRatio(1, move)).rejects.toMatchObject({ code: 'bench/move-failed' });
  });
});

describe('a bare exchange', () => {
  it('goes to and fro between two processes', async () => {
    expect(await bareExchangeMs(5)).toBeGreaterThan(0);
  });
});
