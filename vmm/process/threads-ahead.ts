/**
 * Page threads of a source that is about to send its guest, most likely: they start when somebody sets what a migration is to
 * be like, which people and programs do shortly before they ask for it. Nobody came for them in a while: they end, because
 * each holds some 11 MiB, and a guest may run for a year.
 */
import type { Cancel } from '../../base/clock.js';

/** How long they are kept for who sets parameters and then takes his time. */
export const KEPT_MS = 60_000;

interface Ends {
  close(): Promise<void>;
}

interface Kept<Threads> {
  readonly channels: number;
  readonly threads: Promise<Threads>;
  forget: Cancel;
}

export class ThreadsAhead<Threads extends Ends> {
  readonly #make: (channels: number) => Promise<Threads>;
  readonly #later: (ms: number, callback: () => void) => Cancel;
  #kept: Kept<Threads> | undefined;

  /** `make`: begins to start so many. `later`: calls back after so long; keeps no process from ending. */
  constructor(
    make: (channels: number) => Promise<Threads>,
    later: (ms: number, callback: () => void) => Cancel,
  ) {
    this.#make = make;
    this.#later = later;
  }

  /** From now on, and for a while, threads for so many channels are there or on their way. */
  keep(channels: number): void {
    let kept = this.#kept;
    if (kept?.channels === channels) kept.forget();
    else {
      this.drop();
      kept = { channels, threads: this.#make(channels), forget: () => {} };
      // Whoever takes them hears of a failure.
      kept.threads.catch(() => undefined);
      this.#kept = kept;
    }
    kept.forget = this.#later(KEPT_MS, () => this.drop());
  }

  /** They are the caller's now, who has to end them; made for so many channels if none were kept. Rejects as `make` does. */
  take(channels: number): Promise<Threads> {
    const kept = this.#kept;
    if (kept === undefined) return this.#make(channels);
    kept.forget();
    this.#kept = undefined;
    return kept.threads;
  }

  /** Ends those that are kept. Harmless when there are none. */
  drop(): void {
    const kept = this.#kept;
    if (kept === undefined) return;
    kept.forget();
    this.#kept = undefined;
    kept.threads.then(
      (threads) => threads.close(),
      () => undefined,
    );
  }
}
