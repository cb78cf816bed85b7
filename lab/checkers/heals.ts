/**
 * When faults are over a migration works: whatever became of the first, one that is asked for then completes.
 *
 * It does not check where both processes no longer live, nor a guest that stands still.
 */
import type { Checker } from './happened.js';

export const heals: Checker = {
  name: 'heals',
  check: ({ second }) => {
    if (second === undefined) return [];
    const { source, destination } = second;
    return Object.entries({ source, destination }).flatMap(([side, { status = 'none', error }]) =>
      status === 'completed' && error === undefined
        ? []
        : [
            `without any fault, the ${side} of another migration ended as ${status}: ${error?.message ?? 'it says no why'}`,
          ],
    );
  },
};
