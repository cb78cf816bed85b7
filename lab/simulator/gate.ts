/**
 * A process and its time. It may be gone from one moment to the next: nothing of what it waited for ever comes, and nobody hears of it.
 * It may stand still for a while, and find all at once what came meanwhile. And its clocks may be wrong: that by which it waits goes too
 * slow or too fast, or jumps ahead, as when its host stood still without knowing; the other, by which people know the time, is set.
 */
import type { AbortSignalLike, Cancel, Scheduler } from '../../base/clock.js';
import { type Duration, elapsed, type Instant, instant, nanoseconds } from '../../base/units.js';
import type { ControlLink } from '../../migration/ports.js';

const never = <T>(): Promise<T> => new Promise(() => {});

/** Some day, for all of them. */
const WALL_START_NS = Date.UTC(2026, 0, 1) * 1e6;

/** What is waited for, until its clock shows that time. */
interface Alarm {
  readonly due: number;
  readonly ring: () => void;
  cancel: Cancel;
}

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
  readonly #alarms = new Set<Alarm>();
  /** By how much the wall clock differs from the right one, ns. */
  #wallError = 0;

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

  /** From now on its clock goes so many times as fast as it should. */
  drift(rate: number): void {
    this.#set(this.now(), rate);
  }

  /** Its clock shows so much more from one moment to the next, and the wall clock does. */
  jump(ahead: Duration): void {
    this.#wallError += ahead;
    this.#set(this.now() + ahead, this.#rate);
  }

  /** The wall clock is set to so much less; the clock by which it waits never goes back. */
  setBack(back: Duration): void {
    this.#wallError -= back;
  }

  /** From its clock it shows `shown` now, and goes at that rate: all that is waited for is due when the clock says so. */
  #set(shown: number, rate: number): void {
    this.#shown = shown;
    this.#since = this.#scheduler.now();
    this.#rate = rate;
    for (const alarm of this.#alarms) {
      alarm.cancel();
      this.#arm(alarm, Math.max(0, alarm.due - shown));
    }
  }

  #arm(alarm: Alarm, leftNs: number): void {
    alarm.cancel = this.#scheduler.after(nanoseconds(leftNs / this.#rate), () => {
      this.#alarms.delete(alarm);
      alarm.ring();
    });
  }

  now(): Instant {
    return instant(this.#shown + elapsed(this.#since, this.#scheduler.now()) * this.#rate);
  }

  /** ns since 1970, as this process believes. */
  wallNow(): number {
    return WALL_START_NS + this.#scheduler.now() + this.#wallError;
  }

  after(duration: Duration, callback: () => void): Cancel {
    let cancelled = false;
    const run = (): void => {
      if (!cancelled && !this.#gone) callback();
    };
    const alarm = { due: this.now() + duration, ring: () => this.whenAwake(run), cancel: () => {} };
    this.#alarms.add(alarm);
    this.#arm(alarm, duration);
    return () => {
      cancelled = true;
      this.#alarms.delete(alarm);
      alarm.cancel();
    };
  }

  sleep(duration: Duration, signal?: AbortSignalLike): Promise<void> {
    return this.through(
      new Promise((resolve, reject) => {
        if (signal?.aborted) {
          reject(signal.reason);
          return;
        }
        const onAbort = (): void => {
          cancel();
          reject(signal!.reason);
        };
        const cancel = this.after(duration, () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        });
        signal?.addEventListener('abort', onAbort, { once: true });
      }),
    );
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
