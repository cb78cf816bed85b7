/**
 * A migration ends within what its time-outs allow, whatever happens: it completes, fails, or is cancelled.
 *
 * It does not check that it ends as soon as it could, nor how long anything takes on a real machine.
 */
import type { Checker } from './happened.js';

export const boundedTime: Checker = {
  name: 'bounded-time',
  check: (first) =>
    [first, ...(first.second === undefined ? [] : [first.second])]
      .filter(({ tookNs, mayTakeNs }) => tookNs > mayTakeNs)
      .map(
        ({ tookNs, mayTakeNs }) => `it had not ended after ${tookNs} ns, which is more than ${mayTakeNs} ns`,
      ),
};
