/**
 * Timers of the device thread. Interrupt throttling counts in microseconds and the event loop in milliseconds, so the
 * thread's loop asks for what is due, and stays awake when that is soon.
 */
import type { Cancel, Scheduler } from '../../../base/clock.js';
import { invariant } from '../../../base/errors.js';
import { type Duration, type Instant, instant } from '../../../base/units.js';

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

export class DeviceTimers implements Scheduler {
  readonly #hostNow: () => number;
  /** By time, latest first, so that the next one is at the end. Devices have a handful at a time. */
  readonly #timers: Timer[] = [];

  /** `hostNow`: monotonic ns. */
  constructor(hostNow: () => number) {
    this.#hostNow = hostNow;
  }

  now(): Instant {
    return instant(this.#hostNow());
  }

  /** When the next timer is due, host ns; Infinity without one. */
  get next(): number {
    return this.#timers.at(-1)?.at ?? Infinity;
  }

  /** Calls what is due now, but not what that arms for now. */
  runDue(): void {
    if (this.#timers.length === 0) return;
    const now = this.#hostNow();
    for (let left = this.#timers.length; left > 0 && this.next <= now; left--) this.#timers.pop()!.callback();
  }

  after(duration: Duration, callback: () => void): Cancel {
    const timer: Timer = { at: this.#hostNow() + duration, callback };
    let place = this.#timers.length;
    while (place > 0 && this.#timers[place - 1]!.at <= timer.at) place--;
    this.#timers.splice(place, 0, timer);
    return () => {
      const at = this.#timers.indexOf(timer);
      if (at >= 0) this.#timers.splice(at, 1);
    };
  }

  sleep(duration: Duration, signal?: unknown): Promise<void> {
    invariant(signal === undefined, 'nobody cancels what a device waits for');
    return new Promise((resolve) => {
      this.after(duration, resolve);
    });
  }

  yield(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }
}
