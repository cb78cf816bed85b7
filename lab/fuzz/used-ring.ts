/**
 * A queue's ring of used chains beside what the device writes to it in one turn: each chain it gives back stands behind the last one, and the
 * index that it shows is of all of them. Virtio 1.2, 2.7.8
 */
const INDEX_AT = 2;
const RING_AT = 4;
const ELEMENT_BYTES = 8;
const INDEX_MASK = 0xffff;

export class UsedRing {
  readonly from: number;
  readonly to: number;
  readonly #size: number;
  readonly #before: number;
  #elements = 0;
  #shown = 0;

  /** At `from`, for a queue of `size`, in which the device is at `used`. */
  constructor(from: number, size: number, used: number) {
    this.from = from;
    this.to = from + RING_AT + ELEMENT_BYTES * size;
    this.#size = size;
    this.#before = used;
  }

  /** What is wrong with a write of `length` bytes within the ring; undefined if nothing is. */
  write(address: number, bytes: Uint8Array, at: number, length: number): string | undefined {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, length);
    const offset = address - this.from;
    if (offset === INDEX_AT && length === 2) {
      const index = view.getUint16(0, true);
      const should = (this.#before + this.#elements) & INDEX_MASK;
      this.#shown = this.#elements;
      return index === should ? undefined : `shows ${index} as used, and not ${should}`;
    }
    const place = (this.#before + this.#elements) & INDEX_MASK;
    if (offset !== RING_AT + (place % this.#size) * ELEMENT_BYTES || length !== ELEMENT_BYTES)
      return `writes ${length} bytes at ${offset} of a used ring, where it is at ${place}`;
    this.#elements++;
    const head = view.getUint32(0, true);
    return head < this.#size ? undefined : `gives back chain ${head} of a queue of ${this.#size}`;
  }

  /** What is wrong when the turn is over. */
  judge(): string | undefined {
    const kept = this.#elements - this.#shown;
    return kept === 0 ? undefined : `${kept} chains were given back and are not shown`;
  }
}
