/** Bytes on their way, of which only so many may wait. */
import { SERIAL_FIFO_BYTES } from './registers.js';

export class Fifo {
  readonly #bytes = new Uint8Array(SERIAL_FIFO_BYTES);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get room(): number {
    return SERIAL_FIFO_BYTES - this.#length;
  }

  /** All that waits, oldest first: a live view. */
  get waiting(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Puts what there is room for behind what waits; returns how much that was. */
  put(bytes: Uint8Array): number {
    const taken = bytes.subarray(0, this.room);
    this.#bytes.set(taken, this.#length);
    this.#length += taken.length;
    return taken.length;
  }

  /** Takes the `count` oldest bytes, of at least so many. */
  take(count: number): Uint8Array {
    const taken = this.#bytes.slice(0, count);
    this.#bytes.copyWithin(0, count, this.#length);
    this.#length -= count;
    return taken;
  }

  /** At most SERIAL_FIFO_BYTES. */
  replace(bytes: Uint8Array): void {
    this.#length = 0;
    this.put(bytes);
  }
}
