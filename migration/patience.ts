/**
 * How long an approach may take for something that is not in its hands: what the guest does, or a device that comes up.
 * The flow has the clock; the approach is told when the time is over and decides what comes then. One that does not come to
 * an end even so (a user's own may never) is not waited for any longer.
 */
import type { Scheduler } from '../base/clock.js';
import { type Duration, nanoseconds, toMilliseconds } from '../base/units.js';
import { migrationErrors } from './errors.js';

export interface Patience {
  readonly duration: Duration;
  /** Resolves when that is over. */
  readonly over: Promise<void>;
}

/** What a request to the guest may wait for. */
export interface RequestLimits {
  /** How long the guest may take to answer. When that is over, the approach rejects, or goes on without the guest. */
  readonly patience: Patience;
  /** Resolves when nobody waits for the answer any more. */
  readonly givenUp: Promise<void>;
}

/** For whom somebody always waits. */
export const NEVER = new Promise<void>(() => undefined);

export interface Wait {
  /** The approach, by effort and name, and its device. */
  readonly effort: string;
  readonly approach: string;
  readonly device: string;
  readonly duration: Duration;
  /** What an approach may take to come to an end when its time is over. */
  readonly grace: Duration;
}

/** Runs `work` with so much patience. Rejects as it does, or with `migration/approach-overdue`. */
export async function withPatience<T>(
  scheduler: Scheduler,
  { effort, approach, device, duration, grace }: Wait,
  work: (patience: Patience) => Promise<T>,
): Promise<T> {
  const cancels: (() => void)[] = [];
  const after = (delay: Duration): Promise<void> =>
    new Promise((resolve) => {
      cancels.push(scheduler.after(delay, resolve));
    });
  const longest = nanoseconds(duration + grace);
  const overdue = after(longest).then((): never => {
    const waitedMs = Math.round(toMilliseconds(longest));
    throw migrationErrors.error('approach-overdue', { effort, approach, device, waitedMs });
  });
  try {
    return await Promise.race([work({ duration, over: after(duration) }), overdue]);
  } finally {
    for (const cancel of cancels) cancel();
  }
}
