import { complete, msleep, wait_for_completion_timeout } from '../kernel/sched';
import { raise_softirq, NET_RX_SOFTIRQ, open_softirq } from '../kernel/softirq';
import { NSEC_PER_MSEC, NSEC_PER_SEC, ktime_get, ktime_get_real, per_second } from '../kernel/time';
import { TimerList, mod_timer, timer_delete, timer_pending, timer_setup } from '../kernel/timer';
import {
  DelayedWork,
  INIT_DELAYED_WORK,
  INIT_WORK,
  WorkStruct,
  cancel_delayed_work,
  schedule_delayed_work,
  schedule_work,
} from '../kernel/workqueue';
import { kmalloc } from '../mm/slab';
import { Pacer, pacer_account, pacer_due, pacer_init } from '../workloads/pacer';
import { expect } from './test';

/** Digits of what happened, in order. */
const trace = memory.data(8, 8);
const done = memory.data(4, 4);

// @ts-ignore: decorator
@inline function traced(): u64 { return load<u64>(trace); }

function note(digit: usize): void {
  store<u64>(trace, traced() * 10 + digit);
}

function note_timer(timer: TimerList): void {
  note(timer.data);
}

function rearm_timer(timer: TimerList): void {
  note(timer.data);
  if (traced() < 7000) mod_timer(timer, timer.expires + NSEC_PER_MSEC);
}

function new_timer(handler: (timer: TimerList) => void, data: usize): TimerList {
  const timer = changetype<TimerList>(kmalloc(offsetof<TimerList>()));
  timer_setup(timer, handler, data);
  return timer;
}

function test_timers(): void {
  store<u64>(trace, 0);
  const start = ktime_get();
  const third = new_timer(note_timer, 3);
  const first = new_timer(note_timer, 1);
  const second = new_timer(note_timer, 2);
  mod_timer(third, start + 3 * NSEC_PER_MSEC);
  mod_timer(first, start + 1 * NSEC_PER_MSEC);
  mod_timer(second, start + 2 * NSEC_PER_MSEC);
  msleep(5);
  expect(traced() == 123, 'timers: fire in order of expiry');
  expect(!timer_pending(third), 'timers: are not pending after they fired');

  store<u64>(trace, 0);
  mod_timer(third, ktime_get() + NSEC_PER_MSEC);
  mod_timer(first, ktime_get() + NSEC_PER_MSEC);
  expect(timer_delete(third) && !timer_delete(third), 'timers: are deleted once');
  mod_timer(first, ktime_get() + 4 * NSEC_PER_MSEC);
  msleep(2);
  expect(traced() == 0, 'timers: deleted and postponed ones do not fire');
  msleep(4);
  expect(traced() == 1, 'timers: a postponed one fires once');

  store<u64>(trace, 0);
  mod_timer(second, 0);
  msleep(1);
  expect(traced() == 2, 'timers: one whose time has passed fires at once');

  store<u64>(trace, 0);
  mod_timer(new_timer(rearm_timer, 7), ktime_get() + NSEC_PER_MSEC);
  msleep(10);
  expect(traced() == 7777, 'timers: may rearm themselves');
}

function test_msleep(): void {
  const start = ktime_get();
  msleep(20);
  const slept = ktime_get() - start;
  expect(slept >= 20 * NSEC_PER_MSEC && slept < 21 * NSEC_PER_MSEC, 'msleep: sleeps as long as it is told');
  const real = ktime_get_real();
  msleep(1);
  expect(real > 1_000_000_000 * NSEC_PER_SEC, 'time: the wall clock is set');
  expect(ktime_get_real() - real >= NSEC_PER_MSEC, 'time: the wall clock goes on');
}

function note_softirq(): void {
  note(5);
}

/** Raised again while it runs. */
function note_softirq_again(): void {
  note(6);
  if (traced() < 66) raise_softirq(NET_RX_SOFTIRQ);
}

function note_work(work: WorkStruct): void {
  note(work.data);
}

function sleeping_work(work: WorkStruct): void {
  note(1);
  schedule_work(work);
  msleep(3);
  note(4);
  work.func = note_work;
}

function new_work(func: (work: WorkStruct) => void, data: usize): WorkStruct {
  const work = changetype<WorkStruct>(kmalloc(offsetof<WorkStruct>()));
  INIT_WORK(work, func, data);
  return work;
}

function test_workqueue(): void {
  store<u64>(trace, 0);
  const first = new_work(note_work, 1);
  const second = new_work(note_work, 2);
  expect(schedule_work(first) && schedule_work(second) && !schedule_work(first), 'workqueue: an item is queued once');
  msleep(1);
  expect(traced() == 12, 'workqueue: items run in the order of queueing');

  store<u64>(trace, 0);
  const delayed = changetype<DelayedWork>(kmalloc(offsetof<DelayedWork>()));
  INIT_DELAYED_WORK(delayed, changetype<TimerList>(kmalloc(offsetof<TimerList>())), note_work, 3);
  schedule_delayed_work(delayed, 2 * NSEC_PER_MSEC);
  msleep(1);
  expect(traced() == 0, 'workqueue: delayed work waits');
  msleep(2);
  expect(traced() == 3, 'workqueue: delayed work runs');
  schedule_delayed_work(delayed, 2 * NSEC_PER_MSEC);
  expect(cancel_delayed_work(delayed) && !cancel_delayed_work(delayed), 'workqueue: delayed work is cancelled once');

  store<u64>(trace, 0);
  const sleeper = new_work(sleeping_work, 9);
  schedule_work(sleeper);
  schedule_work(second);
  msleep(6);
  expect(traced() == 1249, 'workqueue: others run while an item sleeps, the item itself not before it has ended');

  store<u64>(trace, 0);
  open_softirq(NET_RX_SOFTIRQ, note_softirq);
  raise_softirq(NET_RX_SOFTIRQ);
  msleep(1);
  expect(traced() == 5, 'softirq: runs once for being raised');

  store<u64>(trace, 0);
  open_softirq(NET_RX_SOFTIRQ, note_softirq_again);
  raise_softirq(NET_RX_SOFTIRQ);
  msleep(1);
  expect(traced() == 66, 'softirq: runs once more if it was raised while it ran');
}

function complete_timer(timer: TimerList): void {
  complete(timer.data);
}

function test_completion(): void {
  const start = ktime_get();
  mod_timer(new_timer(complete_timer, done), start + 2 * NSEC_PER_MSEC);
  expect(wait_for_completion_timeout(done, NSEC_PER_SEC), 'completion: ends the wait');
  expect(ktime_get() - start < 3 * NSEC_PER_MSEC, 'completion: ends the wait at once');
  expect(!wait_for_completion_timeout(done, NSEC_PER_MSEC), 'completion: the wait ends without one, too');
}

function test_pacer(): void {
  const pacer = changetype<Pacer>(kmalloc(offsetof<Pacer>()));
  pacer_init(pacer, 1000.0, 0);
  let total: u64 = 0;
  for (let now: u64 = 0; now <= NSEC_PER_SEC; now += 7 * NSEC_PER_MSEC) {
    const due = pacer_due(pacer, now);
    pacer_account(pacer, due);
    total += due;
  }
  expect(total >= 990 && total <= 1000, 'pacer: keeps its rate');
  const after = pacer_due(pacer, 60 * NSEC_PER_SEC);
  expect(after == 100, 'pacer: makes up for no more than a tenth of a second after a pause');
  pacer_account(pacer, after);
  expect(pacer_due(pacer, 60 * NSEC_PER_SEC) == 0, 'pacer: what is forgone stays forgone');
  const hours: u64 = 3601 * NSEC_PER_SEC;
  const anew = pacer_due(pacer, hours) == 0 && pacer_due(pacer, hours + 50 * NSEC_PER_MSEC) == 50;
  expect(anew, 'pacer: begins anew after an hour');
  expect(per_second(500, NSEC_PER_SEC / 2) == 1000 && per_second(1, 0) == 0, 'time: rates');
}

export function test_time(): void {
  test_timers();
  test_msleep();
  test_workqueue();
  test_completion();
  test_pacer();
}

function sleep_timer(_timer: TimerList): void {
  msleep(1);
}

/** For the test that this ends in a panic. */
export function sleep_in_softirq(): void {
  mod_timer(new_timer(sleep_timer, 0), ktime_get());
  msleep(1);
}
