// What workloads are made of: a step that runs on one CPU at a fixed period, as delayed work that rearms itself.
import { kmalloc } from '../mm/slab';
import {
  DelayedWork,
  INIT_DELAYED_WORK,
  WorkStruct,
  queue_work_on,
  schedule_delayed_work_at,
  schedule_work,
} from '../kernel/workqueue';
import { ktime_get } from '../kernel/time';
import { TimerList } from '../kernel/timer';

/** Runs once a period; true asks for another step at once (a rate of "as fast as possible"). */
export type PeriodicStep = (context: usize) => bool;

// @ts-ignore: decorator
@unmanaged class Periodic extends DelayedWork {
  step: PeriodicStep;
  context: usize;
  period: u64;
  deadline: u64;
}

function periodic_fn(work: WorkStruct): void {
  const periodic = changetype<Periodic>(work);
  const now = ktime_get();
  if (periodic.deadline <= now) {
    if (periodic.step(periodic.context)) {
      schedule_work(periodic);
      return;
    }
    // The beat is kept unless it was missed, by a pause or by a step that took longer.
    periodic.deadline += periodic.period;
    if (periodic.deadline <= now) periodic.deadline = now + periodic.period;
  }
  schedule_delayed_work_at(periodic, periodic.deadline);
}

/** Starts `step(context)` on `cpu`, every `period` nanoseconds, the first time after `delay`. */
export function start_periodic(cpu: u32, delay: u64, period: u64, step: PeriodicStep, context: usize): void {
  const periodic = changetype<Periodic>(kmalloc(offsetof<Periodic>()));
  INIT_DELAYED_WORK(periodic, changetype<TimerList>(kmalloc(offsetof<TimerList>())), periodic_fn, 0);
  periodic.step = step;
  periodic.context = context;
  periodic.period = period;
  periodic.deadline = ktime_get() + delay;
  queue_work_on(cpu, periodic);
}
