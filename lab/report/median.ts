import { invariant } from '../../base/errors.js';

/** The middle value, or the mean of the two in the middle; of at least one value. */
export function median(values: readonly number[]): number {
  invariant(values.length > 0, 'the median of nothing');
  const sorted = [...values].sort((a, b) => a - b);
  const low = sorted[(sorted.length - 1) >>> 1]!;
  const high = sorted[sorted.length >>> 1]!;
  return (low + high) / 2;
}

/** What several measurements of one thing came to. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Of at least one value. */
export const spreadOf = (values: readonly number[]): Spread => ({
  median: median(values),
  min: Math.min(...values),
  max: Math.max(...values),
});
