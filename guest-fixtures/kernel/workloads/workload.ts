// Which workload the command line asks for, and what all of them share.
import { boot_params } from '../arch/setup';
import { panic } from '../kernel/panic';
import { param_flag, param_is, param_u64 } from '../kernel/params';
import { pr_info } from '../kernel/printk';
import { NSEC_PER_MSEC, NSEC_PER_USEC } from '../kernel/time';
import { str } from '../lib/string';
import { start_idle } from './idle';
import { start_ledger } from './ledger/ledger';
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

/** Starts what `workload=` names; `idle` without it. */
export function run_init_workload(): void {
  const mixed = param_is('workload', 'mixed');
  const ledger = mixed || param_is('workload', 'ledger');
  const stress = mixed || param_is('workload', 'stress');
  const idle = !param_flag('workload') || param_is('workload', 'idle');
  if (!ledger && !stress && !idle) {
    panic('No working workload found. Pass workload=idle, stress, ledger or mixed to the kernel.');
  }
  pr_info('Run %s as workload', mixed ? str('mixed') : ledger ? str('ledger') : stress ? str('stress') : str('idle'));
  if (ledger) start_ledger(mixed);
  if (stress) start_stress();
  if (idle) start_idle();
}
