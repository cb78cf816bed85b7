/**
 * Whether a driver takes what comes for a function: it has switched its first receive queue on, and then its interrupts, which is
 * what it does last. What comes between the two only fills the ring, and takes the host's time while the driver is at work with its
 * registers. For the host's eyes, and no part of the device's state.
 */
import type { Cancel, Scheduler } from '../../base/clock.js';
import { milliseconds } from '../../base/units.js';

/** A driver that has not let the function interrupt by then is one that polls. */
const POLLS_AFTER = milliseconds(100);

export class Reception {
  readonly #scheduler: Scheduler;
  readonly #report: (on: boolean) => void;
  /** Stands while the queue is on and the interrupts have not come. */
  #polls: Cancel | undefined;
  #on = false;

  /** `report` hears of each change. */
  constructor(scheduler: Scheduler, report: (on: boolean) => void) {
    this.#scheduler = scheduler;
    this.#report = report;
  }

  /** The driver has switched the queue; `interrupts`: it lets the function interrupt already. */
  queueSwitched(on: boolean, interrupts: boolean): void {
    this.reset();
    if (on && interrupts) this.#begins();
    else if (on) this.#polls = this.#scheduler.after(POLLS_AFTER, () => this.#begins());
  }

  /** The driver lets the function interrupt. */
  interruptsEnabled(): void {
    if (this.#polls !== undefined) this.#begins();
  }

  /** The function was reset, and with it what its driver had set up. */
  reset(): void {
    this.#polls?.();
    this.#polls = undefined;
    if (!this.#on) return;
    this.#on = false;
    this.#report(false);
  }

  #begins(): void {
    this.#polls?.();
    this.#polls = undefined;
    this.#on = true;
    this.#report(true);
  }
}
