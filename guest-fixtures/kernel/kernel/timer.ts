// Timers in nanoseconds, one list a CPU sorted by expiry. A guest of this size has a few dozen at most, so insertion
// walks the list; only its head programs the hardware. Handlers run as soft interrupts with interrupts enabled.
import { ferry_timer_program } from '../asm/ferry';
import { local_irq_restore, local_irq_save } from '../asm/irqflags';
import { TIMER_VECTOR } from '../generated/abi';
import { INIT_LIST_HEAD, ListHead, list_add, list_del_init, list_empty } from '../lib/list';
import { str } from '../lib/string';
import { request_irq } from './irq';
import { CpuData, per_cpu, this_cpu } from './percpu';
import { TIMER_SOFTIRQ, open_softirq, raise_softirq } from './softirq';
import { spin_lock_irqsave, spin_unlock_irqrestore } from './spinlock';
import { ktime_get } from './time';

/** At most 64 bytes: kernel/sched keeps some in the per-CPU area. */
// @ts-ignore: decorator
@unmanaged export class TimerList extends ListHead {
  expires: u64;
  function: (timer: TimerList) => void;
  /** For the handler's use. */
  data: usize;
  /** CPU on whose list the timer is. */
  cpu: u32;
}

// @ts-ignore: decorator
@inline function base_lock(base: CpuData): usize { return changetype<usize>(base) + offsetof<CpuData>('timer_lock'); }

export function timer_setup(timer: TimerList, handler: (timer: TimerList) => void, data: usize): void {
  INIT_LIST_HEAD(timer);
  timer.function = handler;
  timer.data = data;
  timer.cpu = this_cpu().cpu;
  timer.expires = 0;
}

export function timer_pending(timer: TimerList): bool {
  return !list_empty(timer);
}

/** Timers of `cpu` that are armed. */
export function timers_armed(cpu: u32): u32 {
  const base = per_cpu(cpu);
  const flags = spin_lock_irqsave(base_lock(base));
  let count: u32 = 0;
  for (let entry = base.timer_head.next; entry != base.timer_head; entry = entry.next) count++;
  spin_unlock_irqrestore(base_lock(base), flags);
  return count;
}

/** Arms this CPU's hardware timer for the head of its list. Its lock is held. */
function reprogram(base: CpuData): void {
  const first = base.timer_head.next;
  const deadline = first == base.timer_head ? u64.MAX_VALUE : changetype<TimerList>(first).expires;
  if (deadline == base.timer_armed) return;
  base.timer_armed = deadline;
  ferry_timer_program(deadline == u64.MAX_VALUE ? -1.0 : <f64>deadline);
}

/** Takes `timer` off its list; true if it was on one. A handler that is already running is not waited for. */
export function timer_delete(timer: TimerList): bool {
  const base = per_cpu(timer.cpu);
  const flags = spin_lock_irqsave(base_lock(base));
  const pending = timer_pending(timer);
  if (pending) list_del_init(timer);
  spin_unlock_irqrestore(base_lock(base), flags);
  return pending;
}

/** (Re)arms `timer` on this CPU for the time `expires`; one that has passed fires at once. */
export function mod_timer(timer: TimerList, expires: u64): void {
  timer_delete(timer);
  const flags = local_irq_save();
  const base = this_cpu();
  const lock = base_lock(base);
  spin_lock_irqsave(lock);
  timer.cpu = base.cpu;
  timer.expires = expires;
  let after = base.timer_head.prev;
  while (after != base.timer_head && changetype<TimerList>(after).expires > expires) after = after.prev;
  list_add(timer, after);
  reprogram(base);
  spin_unlock_irqrestore(lock, flags);
}

/** Soft interrupt: runs the handlers of all timers that have expired, then arms the hardware for the next. */
function run_timer_softirq(): void {
  const base = this_cpu();
  const lock = base_lock(base);
  for (;;) {
    const flags = spin_lock_irqsave(lock);
    const first = base.timer_head.next;
    const due = first != base.timer_head && changetype<TimerList>(first).expires <= ktime_get();
    if (due) list_del_init(first);
    else reprogram(base);
    spin_unlock_irqrestore(lock, flags);
    if (!due) return;
    const timer = changetype<TimerList>(first);
    timer.function(timer);
  }
}

function timer_interrupt(_data: usize): void {
  // The one-shot is spent: whatever comes next has to arm it again.
  this_cpu().timer_armed = u64.MAX_VALUE;
  raise_softirq(TIMER_SOFTIRQ);
}

/** Boot CPU, once. */
export function init_timers(): void {
  open_softirq(TIMER_SOFTIRQ, run_timer_softirq);
  request_irq(TIMER_VECTOR, timer_interrupt, str('timer'), 0);
}
