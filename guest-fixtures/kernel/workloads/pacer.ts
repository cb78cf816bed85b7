// Pacing: how many events of a set rate are due now. After a pause (the machine stood still, or the CPU was slow) at
// most a burst is made up for; the rest is forgone, so that the guest does not come back with a storm.
import { NSEC_PER_MSEC, NSEC_PER_SEC } from '../kernel/time';

export const CATCH_UP_MAX: u64 = 100 * NSEC_PER_MSEC;

// @ts-ignore: decorator
@unmanaged export class Pacer {
  /** Events a second. */
  rate: f64;
  /** The count began at this time. */
  start: u64;
  done: u64;
}

export function pacer_init(pacer: Pacer, rate: f64, now: u64): void {
  pacer.rate = rate;
  pacer.start = now;
  pacer.done = 0;
}

/** Events due at `now` and not yet counted. */
export function pacer_due(pacer: Pacer, now: u64): u64 {
  if (now - pacer.start > NSEC_PER_SEC * 3600) {
    // Keeps the product exact; what is lost is less than one event an hour.
    pacer_init(pacer, pacer.rate, now);
    return 0;
  }
  const target = <u64>((<f64>(now - pacer.start) * pacer.rate) / <f64>NSEC_PER_SEC);
  const due = target - pacer.done;
  const most = <u64>max((<f64>CATCH_UP_MAX * pacer.rate) / <f64>NSEC_PER_SEC, 1.0);
  if (due <= most) return due;
  pacer.done = target - most;
  return most;
}

export function pacer_account(pacer: Pacer, events: u64): void {
  pacer.done += events;
}
