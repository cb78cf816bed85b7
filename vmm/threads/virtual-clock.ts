/**
 * The machine's clock: host time less the time it stood still. One writer (the machine), any number of readers in
 * other threads; a sequence word lets a reader see that the writer came in between, and read again.
 *
 * Buffer: words SEQUENCE (odd while the writer is at work) and RUNNING, then a double: ns to subtract from host time
 * while the clock runs, the time itself while it stands.
 */
import type { Clock } from '../../base/clock.js';
import { type Instant, instant } from '../../base/units.js';

const SEQUENCE = 0;
const RUNNING = 1;
const VALUE = 1;

export class VirtualClock implements Clock {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #doubles: Float64Array;
  readonly #hostNow: () => number;

  /** `hostNow`: monotonic ns, on the same base in every thread. Without a buffer the clock starts standing at 0. */
  constructor(hostNow: () => number, buffer: SharedArrayBuffer = new SharedArrayBuffer(16)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
    this.#doubles = new Float64Array(buffer);
    this.#hostNow = hostNow;
  }

  now(): Instant {
    for (;;) {
      const sequence = Atomics.load(this.#words, SEQUENCE);
      const running = this.#words[RUNNING]!;
      const value = this.#doubles[VALUE]!;
      if ((sequence & 1) === 0 && Atomics.load(this.#words, SEQUENCE) === sequence) {
        return instant(running === 1 ? this.#hostNow() - value : value);
      }
    }
  }

  get running(): boolean {
    return Atomics.load(this.#words, RUNNING) === 1;
  }

  /** The host time at which this clock shows `at`, if it goes on running until then. */
  hostTimeOf(at: number): number {
    return at - this.now() + this.#hostNow();
  }

  /** Stands still from now on. */
  stop(): void {
    if (this.running) this.#set(0, this.now());
  }

  /** Goes on from where it stood, or from `from` ns. */
  start(from: number = this.now()): void {
    this.#set(1, this.#hostNow() - from);
  }

  /** Sets a standing clock. */
  set(at: number): void {
    this.#set(0, at);
  }

  #set(running: number, value: number): void {
    Atomics.add(this.#words, SEQUENCE, 1);
    Atomics.store(this.#words, RUNNING, running);
    this.#doubles[VALUE] = value;
    Atomics.add(this.#words, SEQUENCE, 1);
  }
}
