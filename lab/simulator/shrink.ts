/** From a plan that makes a migration fail to the shortest and simplest one that still does. */
import type { Fault } from './fault.js';

/** Attempts after which the best plan so far is good enough. */
const ATTEMPTS_MAX = 80;

/**
 * `fails` says whether the migration still fails under a plan. Faults are left out one by one, and what is left is made simpler, as
 * long as it does.
 */
export async function shrinkPlan(
  plan: readonly Fault[],
  fails: (plan: readonly Fault[]) => Promise<boolean>,
): Promise<readonly Fault[]> {
  let best = plan;
  let attempts = 0;
  const better = async (candidate: readonly Fault[]): Promise<boolean> => {
    if (attempts++ >= ATTEMPTS_MAX || !(await fails(candidate))) return false;
    best = candidate;
    return true;
  };
  for (let at = 0; at < best.length; ) {
    const without = best.filter((_, i) => i !== at);
    if (!(await better(without))) at++;
  }
  for (let at = 0; at < best.length; at++) {
    for (let going = true; going; ) {
      going = false;
      for (const simpler of simplerThan(best[at]!)) {
        if (!(await better(best.map((fault, i) => (i === at ? simpler : fault))))) continue;
        going = true;
        break;
      }
    }
  }
  return best;
}

/** The same fault with a smaller number; the simplest first. */
function simplerThan(fault: Fault): readonly Fault[] {
  const { amount } = fault;
  return [...new Set([0, amount >>> 8, amount >>> 1])]
    .filter((less) => less < amount)
    .map((less) => ({ ...fault, amount: less }));
}
