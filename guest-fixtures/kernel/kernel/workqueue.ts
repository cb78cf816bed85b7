// Work items: functions that run in task context, where sleeping is allowed, on the CPU they were queued on. A CPU has
// one stack: the idle loop runs its items one after the other, and an item that sleeps lets the others run above it.
import { smp_processor_id } from '../asm/processor';
import { INIT_LIST_HEAD, ListHead, list_add_tail, list_del_init } from '../lib/list';
import { BUG_ON } from './panic';
import { CpuData, per_cpu, this_cpu } from './percpu';
import { smp_send_reschedule } from './smp';
import { spin_lock_irqsave, spin_unlock_irqrestore } from './spinlock';
import { TimerList, mod_timer, timer_delete, timer_setup } from './timer';
import { ktime_get } from './time';

const WORK_PENDING: u32 = 1;
const WORK_RUNNING: u32 = 2;

// @ts-ignore: decorator
@unmanaged export class WorkStruct extends ListHead {
  func: (work: WorkStruct) => void;
  /** For the function's use. */
  data: usize;
  /** WORK_PENDING and WORK_RUNNING; changed only under the lock of the CPU that holds the item. */
  state: u32;
  /** Address of a word that is 1 while the item runs, and 0 before it is begun; 0 for an item that may always run. */
  lock: usize;
}

/** Work that starts after a delay. */
// @ts-ignore: decorator
@unmanaged export class DelayedWork extends WorkStruct {
  timer: TimerList;
  cpu: u32;
}

// @ts-ignore: decorator
@inline function pool_lock(pool: CpuData): usize { return changetype<usize>(pool) + offsetof<CpuData>('work_lock'); }

/** Items with the same `lock`, which all run on one CPU, never run on top of one another: see kernel/hotplug. */
export function INIT_WORK(work: WorkStruct, func: (work: WorkStruct) => void, data: usize, lock: usize = 0): void {
  INIT_LIST_HEAD(work);
  work.func = func;
  work.data = data;
  work.state = 0;
  work.lock = lock;
}

function delayed_work_timer_fn(timer: TimerList): void {
  const work = changetype<DelayedWork>(timer.data);
  queue_work_on(work.cpu, work);
}

/** `timer` is memory for the work's timer, which belongs to it from now on. */
export function INIT_DELAYED_WORK(
  work: DelayedWork, timer: TimerList, func: (work: WorkStruct) => void, data: usize,
): void {
  INIT_WORK(work, func, data);
  work.timer = timer;
  timer_setup(work.timer, delayed_work_timer_fn, changetype<usize>(work));
}

/** Queues `work` on `cpu` unless it is queued already; false if it was. May be called from anywhere. */
export function queue_work_on(cpu: u32, work: WorkStruct): bool {
  const pool = per_cpu(cpu);
  const flags = spin_lock_irqsave(pool_lock(pool));
  const queued = (work.state & WORK_PENDING) == 0;
  if (queued) {
    work.state |= WORK_PENDING;
    list_add_tail(work, pool.work_head);
    atomic.store<u32>(changetype<usize>(pool) + offsetof<CpuData>('need_resched'), 1);
  }
  spin_unlock_irqrestore(pool_lock(pool), flags);
  if (queued && cpu != smp_processor_id()) smp_send_reschedule(cpu);
  return queued;
}

export function schedule_work(work: WorkStruct): bool {
  return queue_work_on(smp_processor_id(), work);
}

/** Queues `work` on this CPU at the time `expires`. */
export function schedule_delayed_work_at(work: DelayedWork, expires: u64): void {
  work.cpu = smp_processor_id();
  mod_timer(work.timer, expires);
}

/** Queues `work` on this CPU after `delay` nanoseconds. */
export function schedule_delayed_work(work: DelayedWork, delay: u64): void {
  schedule_delayed_work_at(work, ktime_get() + delay);
}

/** Takes `work` off the list of `cpu`; true if it was on it. */
function dequeue_work(cpu: u32, work: WorkStruct): bool {
  const pool = per_cpu(cpu);
  const flags = spin_lock_irqsave(pool_lock(pool));
  const queued = (work.state & WORK_PENDING) != 0;
  if (queued) {
    work.state &= ~WORK_PENDING;
    list_del_init(work);
  }
  spin_unlock_irqrestore(pool_lock(pool), flags);
  return queued;
}

/** Takes `work` back if it has not begun; true if so. */
export function cancel_delayed_work(work: DelayedWork): bool {
  const armed = timer_delete(work.timer);
  return dequeue_work(work.cpu, work) || armed;
}

/** Takes back `work`, which is queued on this CPU or nowhere and does not run: its memory may be freed afterwards. */
export function cancel_work_sync(work: WorkStruct): void {
  BUG_ON((work.state & WORK_RUNNING) != 0, 'cancel_work_sync: runs further down the stack');
  dequeue_work(smp_processor_id(), work);
}

/** Whether `work` has to wait: it, or one that has its lock, runs further down the stack. */
function is_blocked(work: WorkStruct): bool {
  return (work.state & WORK_RUNNING) != 0 || (work.lock != 0 && load<u32>(work.lock) != 0);
}

/**
 * Runs the first item of this CPU that nothing further down the stack keeps from running; false if there is none.
 * Items that were queued again while they ran stay on the list until their run ends, as in Linux.
 */
export function run_one_work(): bool {
  const pool = this_cpu();
  const flags = spin_lock_irqsave(pool_lock(pool));
  let entry = pool.work_head.next;
  while (entry != pool.work_head && is_blocked(changetype<WorkStruct>(entry))) entry = entry.next;
  const found = entry != pool.work_head;
  const work = changetype<WorkStruct>(entry);
  if (found) {
    list_del_init(work);
    work.state = WORK_RUNNING;
  }
  spin_unlock_irqrestore(pool_lock(pool), flags);
  if (!found) return false;
  const lock = work.lock;
  if (lock != 0) store<u32>(lock, 1);
  work.func(work);
  if (lock != 0) store<u32>(lock, 0);
  BUG_ON(pool.hardirq_count != 0 || pool.softirq_count != 0, 'work item leaked interrupt context');
  const again = spin_lock_irqsave(pool_lock(pool));
  work.state &= ~WORK_RUNNING;
  if (pool.work_head.next != pool.work_head) pool.need_resched = 1;
  spin_unlock_irqrestore(pool_lock(pool), again);
  return true;
}
