// Which workload the command line asks for, and what all of them share.
import { boot_params } from '../arch/setup';
import { panic } from '../kernel/panic';
import { param_flag, param_is, param_u64 } from '../kernel/params';
import { pr_info } from '../kernel/printk';
import { NSEC_PER_MSEC, NSEC_PER_USEC } from '../kernel/time';
import { str } from '../lib/string';
import { start_idle } from './idle';
import { start_ledger } from './ledger/ledger';
import { start_udp_echo } from './net/udp_echo';
import { start_udp_stream } from './net/udp_stream';
import { netdev_count } from '../net/core/dev';
import { start_stress } from './stress';

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

/** Name of the workload that the command line asks for; `idle` without one, 0 for one that does not exist. */
function workload_name(): usize {
  if (!param_flag('workload') || param_is('workload', 'idle')) return str('idle');
  if (param_is('workload', 'ledger')) return str('ledger');
  if (param_is('workload', 'stress')) return str('stress');
  if (param_is('workload', 'mixed')) return str('mixed');
  if (param_is('workload', 'udp-echo')) return str('udp-echo');
  return param_is('workload', 'udp-stream') ? str('udp-stream') : 0;
}

/** Starts what `workload=` names. */
export function run_init_workload(): void {
  const name = workload_name();
  if (name == 0) {
    panic(
      'No working workload found. Pass workload=idle, stress, ledger, udp-echo, udp-stream or mixed to the kernel.',
    );
  }
  pr_info('Run %s as workload', name);
  const mixed = name == str('mixed');
  // In company of memory workloads there is traffic if there is a network.
  const traffic = mixed && netdev_count() != 0;
  if (mixed || name == str('ledger')) start_ledger(mixed);
  if (mixed || name == str('stress')) start_stress();
  if (traffic || name == str('udp-stream')) start_udp_stream();
  if (traffic || name == str('udp-stream') || name == str('udp-echo')) start_udp_echo();
  if (name == str('idle')) start_idle();
}
