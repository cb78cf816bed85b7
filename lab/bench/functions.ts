/**
 * How long a guest stands still by the number of its virtual functions: whole moves under the same traffic, which is
 * divided among them, in turn. Functions are stopped, read out, loaded and started beside each other, so that eight
 * should take little longer than one.
 */
import type { BlackoutRecord } from '../../migration/record.js';
import { migrate } from '../move/move.js';
import type { MigrateOptions } from '../move/scenario.js';
import { type Spread, spreadOf } from '../report/median.js';
import { type BlackoutPartsMs, medianParts } from './blackout-parts.js';
import { benchErrors } from './errors.js';

export interface BenchFunctionsOptions extends Pick<MigrateOptions, 'memoryBytes' | 'settleMs'> {
  /** Moves with each number. */
  readonly runs?: number;
  /** Numbers of functions. The first is what the others are compared with. */
  readonly counts?: readonly number[];
  /** Datagrams a second over all functions. */
  readonly rate?: number;
  /** Told before each turn, for people who wait. */
  readonly onPart?: (what: string) => void;
}

export interface FunctionsFigure {
  readonly functions: number;
  readonly blackoutMs: Spread;
  readonly partsMs: BlackoutPartsMs;
  /** Of the medians, to that of the first number. */
  readonly ratio: number;
}

export interface BenchFunctionsResult {
  readonly runs: number;
  readonly rate: number;
  /** What the last ratio should be at most. */
  readonly goal: number;
  readonly figures: readonly FunctionsFigure[];
}

export const FUNCTION_COUNTS: readonly number[] = [1, 2, 4, 8];
/** Flat is the aim. */
const RATIO_MAX = 1.5;
const RATE = 8000;

/** Takes some two minutes with the defaults. Rejects with the FerryErrors of the moves, and of one that was not verified. */
export async function benchFunctions(options: BenchFunctionsOptions = {}): Promise<BenchFunctionsResult> {
  const { runs = 5, counts = FUNCTION_COUNTS, rate = RATE, onPart = () => {}, ...rest } = options;
  const blackouts = counts.map((): BlackoutRecord[] => []);
  for (let run = 1; run <= runs; run++) {
    for (const [at, count] of counts.entries()) {
      onPart(`move ${run} of ${runs} with ${count} of them`);
      const { verdict, record } = await migrate({
        settleMs: 500,
        ...rest,
        nic: `vf=${count}`,
        rate: Math.max(1, Math.floor(rate / count)),
        seed: run,
      });
      const failed = verdict.checks.find(({ outcome }) => outcome === 'failed');
      if (verdict.outcome !== 'verified') {
        const what = `a move with ${count} functions`;
        throw benchErrors.error('move-failed', {
          what,
          problem: failed === undefined ? verdict.outcome : `${failed.name}: ${failed.seen}`,
        });
      }
      blackouts[at]!.push(record!.blackout!);
    }
  }
  return { runs, rate, goal: RATIO_MAX, figures: functionsFigures(counts, blackouts) };
}

/** `blackouts`: those of the moves with each number of functions; of the first the others are multiples. */
export function functionsFigures(
  counts: readonly number[],
  blackouts: readonly (readonly BlackoutRecord[])[],
): readonly FunctionsFigure[] {
  const totals = blackouts.map((ofCount) => spreadOf(ofCount.map(({ totalNs }) => totalNs / 1e6)));
  return counts.map((functions, at) => ({
    functions,
    blackoutMs: totals[at]!,
    partsMs: medianParts(blackouts[at]!),
    ratio: totals[at]!.median / totals[0]!.median,
  }));
}
