/** A process that may be gone from one moment to the next: nothing of what it waited for ever comes, and nobody hears of it. */
import type { AbortSignalLike, Cancel, Scheduler } from '../../base/clock.js';
import type { Duration, Instant } from '../../base/units.js';
import type { ControlLink } from '../../migration/ports.js';

const never = <T>(): Promise<T> => new Promise(() => {});

/** The time of one process: it stands still when the process is gone. */
export class Gate implements Scheduler {
  readonly #scheduler: Scheduler;
  #gone = false;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  get gone(): boolean {
    return this.#gone;
  }

  shut(): void {
    this.#gone = true;
  }

  now(): Instant {
    return this.#scheduler.now();
  }

  after(duration: Duration, callback: () => void): Cancel {
    return this.#scheduler.after(duration, () => {
      if (!this.#gone) callback();
    });
  }

  async sleep(duration: Duration, signal?: AbortSignalLike): Promise<void> {
    await this.through(this.#scheduler.sleep(duration, signal));
  }

  async yield(): Promise<void> {
    await this.through(this.#scheduler.yield());
  }

  /** Settles as `work` does, or never if the process is gone by then. */
  async through<T>(work: Promise<T>): Promise<T> {
    try {
      const result = await work;
      return this.#gone ? await never<T>() : result;
    } catch (error) {
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
}
