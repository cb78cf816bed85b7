// What all workloads are told by the command line.
import { boot_params } from '../asm/setup';
import { param_u64 } from '../kernel/params';
import { NSEC_PER_MSEC, NSEC_PER_USEC } from '../kernel/time';

/** Nanoseconds between two steps of a workload. */
export function tick_period(): u64 {
  return max<u64>(param_u64('tick_us', 4000), 100) * NSEC_PER_USEC;
}

/** Nanoseconds between two status lines. */
export function status_period(): u64 {
  return max<u64>(param_u64('status_ms', 1000), 1) * NSEC_PER_MSEC;
}

/** Seed of the workloads' random numbers. */
export function workload_seed(): u64 {
  return param_u64('seed', boot_params().seed);
}
