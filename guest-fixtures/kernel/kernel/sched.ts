// What a CPU does between interrupts. There is one stack a CPU and no threads: the idle loop runs soft interrupts and
// work items and halts when there are none; whoever has to wait runs the same step until what it waits for is there.
import { local_irq_disable, local_irq_enable, native_safe_halt } from '../asm/irqflags';
import { BUG_ON } from './panic';
import { CpuData, SLEEP_DEPTH_MAX, cpu_sleepers, this_cpu } from './percpu';
import { do_softirq, in_interrupt } from './softirq';
import { NSEC_PER_MSEC, ktime_get } from './time';
import { TimerList, mod_timer, timer_delete, timer_pending, timer_setup } from './timer';
import { run_one_work } from './workqueue';

/** One step of the loop: soft interrupts, then all work; halts if there was nothing to do. Task context only. */
export function schedule(): void {
  const cpu = this_cpu();
  do_softirq();
  atomic.store<u32>(changetype<usize>(cpu) + offsetof<CpuData>('need_resched'), 0);
  if (run_one_work()) return;
  local_irq_disable();
  if (cpu.softirq_pending != 0 || atomic.load<u32>(changetype<usize>(cpu) + offsetof<CpuData>('need_resched')) != 0) {
    local_irq_enable();
    return;
  }
  const start = ktime_get();
  native_safe_halt();
  cpu.idle_ns += ktime_get() - start;
}

/** Where every CPU ends up once it is started. */
export function cpu_startup_entry(): void {
  for (;;) schedule();
}

function wake(_timer: TimerList): void {}

/** A completion: `complete` ends the wait of one caller of wait_for_completion. A 32-bit word in memory. */
export function complete(done: usize): void {
  atomic.add<u32>(done, 1);
}

function try_wait(done: usize): bool {
  let count = atomic.load<u32>(done);
  while (count != 0) {
    const seen = atomic.cmpxchg<u32>(done, count, count - 1);
    if (seen == count) return true;
    count = seen;
  }
  return false;
}

/**
 * Waits at most `timeout` nanoseconds for `complete(done)`; false if the time ran out. Everything else on this CPU goes
 * on meanwhile. `complete` from another CPU must be followed by smp_send_reschedule.
 */
export function wait_for_completion_timeout(done: usize, timeout: u64): bool {
  BUG_ON(in_interrupt(), 'scheduling while atomic');
  const cpu = this_cpu();
  BUG_ON(cpu.sleep_depth == SLEEP_DEPTH_MAX, 'too many nested sleeps');
  const timer = changetype<TimerList>(cpu_sleepers(cpu) + cpu.sleep_depth * 64);
  cpu.sleep_depth++;
  const deadline = ktime_get() + timeout;
  timer_setup(timer, wake, 0);
  mod_timer(timer, deadline);
  let completed = try_wait(done);
  while (!completed && (timer_pending(timer) || ktime_get() < deadline)) {
    schedule();
    completed = try_wait(done);
  }
  timer_delete(timer);
  cpu.sleep_depth--;
  return completed;
}

const never = memory.data(4, 4);

/** Sleeps `milliseconds`; interrupts, soft interrupts and work items of this CPU go on. Task context only. */
export function msleep(milliseconds: u32): void {
  wait_for_completion_timeout(never, <u64>milliseconds * NSEC_PER_MSEC);
}
