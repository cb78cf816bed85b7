/**
 * One direction of a data channel in memory: a bounded queue of bytes, with a place where rules may alter or cut what
 * passes. Like a TCP connection it keeps order, loses nothing unless it breaks, and makes a fast writer wait.
 */
import type { Scheduler } from '../../base/clock.js';

/** Looks at each chunk that passes. Returns what passes on in its place, or `cut` to break the channel there. */
export type Tamper = (chunk: Uint8Array, where: { channel: number; at: number }) => Uint8Array | 'cut';

export interface MemoryChannelOptions {
  readonly scheduler: Scheduler;
  readonly channel: number;
  /** Bytes that may be under way. */
  readonly windowBytes: number;
  readonly tamper: Tamper | undefined;
}

export class MemoryChannel {
  readonly #options: MemoryChannelOptions;
  readonly #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #passedBytes = 0;
  #state: 'open' | 'ended' | 'broken' = 'open';
  readonly #waiting: (() => void)[] = [];

  constructor(options: MemoryChannelOptions) {
    this.#options = options;
  }

  get broken(): boolean {
    return this.#state === 'broken';
  }

  /** Bytes that were written to it so far. */
  get passedBytes(): number {
    return this.#passedBytes;
  }

  /** Copies `chunk`, then waits until little enough is under way. False if the channel broke. */
  async write(chunk: Uint8Array): Promise<boolean> {
    if (this.#state !== 'open') return false;
    const { channel, tamper, windowBytes, scheduler } = this.#options;
    const copy = chunk.slice();
    const passed = tamper === undefined ? copy : tamper(copy, { channel, at: this.#passedBytes });
    if (passed === 'cut') {
      this.break();
      return false;
    }
    this.#passedBytes += chunk.length;
    this.#queue.push(passed);
    this.#queuedBytes += passed.length;
    this.#wake();
    await scheduler.yield();
    while (this.#queuedBytes > windowBytes && !this.broken) await this.#change();
    return !this.broken;
  }

  /** Fills the front of `target`; resolves with how much, 0 at the end in good order, -1 if the channel broke. */
  async read(target: Uint8Array): Promise<number> {
    while (this.#queue.length === 0 && this.#state === 'open') await this.#change();
    if (this.broken) return -1;
    const chunk = this.#queue.shift();
    if (chunk === undefined) return 0;
    const part = chunk.subarray(0, target.length);
    target.set(part);
    if (part.length < chunk.length) this.#queue.unshift(chunk.subarray(part.length));
    this.#queuedBytes -= part.length;
    this.#wake();
    return part.length;
  }

  /** The writer has nothing more to say. */
  end(): void {
    if (this.#state === 'open') this.#state = 'ended';
    this.#wake();
  }

  /** What is under way is lost, for both sides. */
  break(): void {
    this.#state = 'broken';
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    this.#wake();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
