/** `ferry bench migrate`: what is made of the turns. */
import { describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { movesFigures, type Turns } from '../../lab/bench/migrate/bench.js';
import type { Moved } from '../../lab/bench/migrate/contestants.js';
import { migrateText } from '../../lab/bench/migrate/text.js';

const moved = (totalMs: number, dataBytes: number): Moved => ({ totalMs, dataBytes, setupMs: 1 });

describe('ratios of whole moves', () => {
  const turns: Turns = new Map([
    ['with integrity', [moved(200, 1e8), moved(100, 1e8), moved(400, 1e8)]],
    ['without integrity', [moved(100, 1e8), moved(100, 1e8), moved(100, 1e8)]],
    ['bare Node', [moved(100, 2e8), moved(100, 2e8), moved(50, 2e8)]],
  ] as const);

  it('are taken turn by turn, of the rates where RAM has data', () => {
    const { ratios, figures } = movesFigures('random', turns);
    expect(ratios).toEqual([
      { ours: 'with integrity', other: 'bare Node', ratio: { median: 0.25, min: 0.0625, max: 0.5 } },
      { ours: 'without integrity', other: 'bare Node', ratio: { median: 0.5, min: 0.25, max: 0.5 } },
    ]);
    expect(figures[0]).toMatchObject({ totalMs: { median: 200 }, rate: { median: 0.5 }, wallMs: undefined });
  });

  it('are those of the times where it has none', () => {
    const { ratios, figures } = movesFigures('zero', turns);
    expect(ratios[0]!.ratio).toEqual({ median: 0.5, min: 0.125, max: 1 });
    expect(figures[0]!.rate).toBeUndefined();
  });

  it('stand beside what is not installed in words', () => {
    const none = migrateText({ memoryBytes: MIB, runs: 1, qemu: 'none', iperf3: 'none', cells: [] });
    expect(none).toMatch(/qemu-system-x86_64 is not installed here/);
    expect(none).toMatch(/iperf3 is not installed here/);
    expect(
      migrateText({ memoryBytes: MIB, runs: 1, qemu: undefined, iperf3: undefined, cells: [] }),
    ).not.toMatch(/installed/);
  });
});
