/**
 * A process and its time. It may be gone from one moment to the next: nothing of what it waited for ever comes, and nobody hears of it.
 * It may stand still for a while, and find all at once what came meanwhile. And its clock may be wrong.
 */
import type { AbortSignalLike, Cancel, Scheduler } from '../../base/clock.js';
import { type Duration, elapsed, type Instant, instant, nanoseconds } from '../../base/units.js';
import type { ControlLink } from '../../migration/ports.js';

const never = <T>(): Promise<T> => new Promise(() => {});

/** The time of one process: it stands still when the process is gone. */
export class Gate implements Scheduler {
  readonly #scheduler: Scheduler;
  #gone = false;
  /** What came while the process stood still, in that order; undefined while it does not. */
  #held: (() => void)[] | undefined;
  /** How fast its clock goes, and what it showed when that was set. */
  #rate = 1;
  #since: Instant;
  #shown: number;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
    this.#since = scheduler.now();
    this.#shown = this.#since;
  }

  get gone(): boolean {
    return this.#gone;
  }

  get suspended(): boolean {
    return this.#held !== undefined;
  }

  shut(): void {
    this.#gone = true;
    this.#held = undefined;
  }

  /** `SIGSTOP`, and after so long `SIGCONT`. Resolves then; false if the process stands still already or is gone. */
  suspend(duration: Duration): Promise<void> | false {
    if (this.#gone || this.#held !== undefined) return false;
    this.#held = [];
    return new Promise((resolve) => {
      this.#scheduler.after(duration, () => {
        const held = this.#held ?? [];
        this.#held = undefined;
        for (const run of held) run();
        resolve();
      });
    });
  }

  /** From now on its clock goes so many times as fast as it should; what is waited for already stays due when it was. */
  drift(rate: number): void {
    this.#shown = this.now();
    this.#since = this.#scheduler.now();
    this.#rate = rate;
  }

  now(): Instant {
    return instant(this.#shown + elapsed(this.#since, this.#scheduler.now()) * this.#rate);
  }

  after(duration: Duration, callback: () => void): Cancel {
    let cancelled = false;
    const run = (): void => {
      if (!cancelled && !this.#gone) callback();
    };
    const cancel = this.#scheduler.after(nanoseconds(duration / this.#rate), () => this.whenAwake(run));
    return () => {
      cancelled = true;
      cancel();
    };
  }

  sleep(duration: Duration, signal?: AbortSignalLike): Promise<void> {
    return this.through(this.#scheduler.sleep(nanoseconds(duration / this.#rate), signal));
  }

  yield(): Promise<void> {
    return this.through(this.#scheduler.yield());
  }

  /** Calls `what` when the process does something next: now, when it goes on, or never if it is gone. */
  whenAwake(what: () => void): void {
    if (this.#gone) return;
    if (this.#held === undefined) what();
    else this.#held.push(what);
  }

  /** Settles as `work` does, when the process goes on, or never if it is gone by then. */
  async through<T>(work: Promise<T>): Promise<T> {
    try {
      const result = await work;
      if (this.#held !== undefined) await this.#awake();
      return this.#gone ? await never<T>() : result;
    } catch (error) {
      if (this.#held !== undefined) await this.#awake();
      if (this.#gone) await never();
      throw error;
    }
  }

  /** `link`, as the process has it. */
  link(link: ControlLink): ControlLink {
    return {
      send: (message) => (this.#gone ? never() : this.through(link.send(message))),
      receive: () => (this.#gone ? never() : this.through(link.receive())),
      close: () => {
        if (!this.#gone) link.close();
      },
    };
  }

  #awake(): Promise<void> {
    return new Promise((resolve) => this.whenAwake(resolve));
  }
}
