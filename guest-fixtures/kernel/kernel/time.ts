// Time: one clock, in nanoseconds since boot. It goes on where it was after the machine has moved.
import { ferry_clock_ns } from '../asm/ferry';
import { boot_params } from '../asm/setup';

export const NSEC_PER_USEC: u64 = 1_000;
export const NSEC_PER_MSEC: u64 = 1_000_000;
export const NSEC_PER_SEC: u64 = 1_000_000_000;

/** Nanoseconds since boot. */
// @ts-ignore: decorator
@inline export function ktime_get(): u64 { return <u64>ferry_clock_ns(); }

/** Nanoseconds since 1970, from the wall clock that firmware read at boot. */
export function ktime_get_real(): u64 {
  return boot_params().wall_clock_ns + ktime_get();
}

/** What `count` events in `elapsed` nanoseconds make in a second. */
export function per_second(count: u64, elapsed: u64): u64 {
  if (elapsed == 0) return 0;
  return <u64>((<f64>count * <f64>NSEC_PER_SEC) / <f64>elapsed + 0.5);
}
