// A guest that does nothing but say so.
import { NR_CPUS, per_cpu } from '../kernel/percpu';
import { tty_print } from '../kernel/printk';
import { NSEC_PER_SEC, ktime_get, per_second } from '../kernel/time';
import { kmalloc } from '../mm/slab';
import { start_periodic } from './periodic';
import { status_period } from './params';

// @ts-ignore: decorator
@unmanaged class IdleStatus {
  time: u64;
  interrupts: u64;
}

function interrupts_total(): u64 {
  let total: u64 = 0;
  for (let cpu: u32 = 0; cpu < NR_CPUS; cpu++) total += per_cpu(cpu).interrupts;
  return total;
}

function idle_status(context: usize): bool {
  const last = changetype<IdleStatus>(context);
  const now = ktime_get();
  const interrupts = interrupts_total();
  const rate = per_second(interrupts - last.interrupts, now - last.time);
  tty_print('idle: up %u s, %u interrupts/s', now / NSEC_PER_SEC, rate);
  last.time = now;
  last.interrupts = interrupts;
  return false;
}

export function start_idle(): void {
  const last = changetype<IdleStatus>(kmalloc(offsetof<IdleStatus>()));
  last.time = ktime_get();
  last.interrupts = interrupts_total();
  start_periodic(0, status_period(), status_period(), idle_status, changetype<usize>(last));
}
