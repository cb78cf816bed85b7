/**
 * Time as an argument. Cores never touch the real clock: drivers hand them one of these, either the monotonic clock
 * of the process or the virtual clock of the simulator, whose time moves only when nothing else can run.
 */
import type { Duration, Instant } from './units.js';

export interface Clock {
  /** Nanoseconds since the clock's own start; never goes backwards. */
  now(): Instant;
}

/** Cancels what it was returned for; harmless when called late or twice. */
export type Cancel = () => void;

export interface Scheduler extends Clock {
  /** Resolves after `duration`; rejects with the signal's reason when `signal` aborts first. */
  sleep(duration: Duration, signal?: AbortSignalLike): Promise<void>;
  /** Calls `callback` once after `duration`. */
  after(duration: Duration, callback: () => void): Cancel;
  /**
   * Lets other work of the same thread run. Long loops of a core await this between batches; the simulator uses it
   * to choose, by seed, who runs next.
   */
  yield(): Promise<void>;
}

/** The part of the platform's AbortSignal that cores use; `node:*` types stay out of them. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  readonly reason?: unknown;
  addEventListener(type: 'abort', listener: () => void, options?: { once?: boolean }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}
