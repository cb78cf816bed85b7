/**
 * Frames that wait, oldest first, each with a number of its owner's (a time, a port). One ring of bytes, which grows to
 * its bound; a frame never wraps, so that it can be handed on in one piece.
 */
import { copyBytes } from '../../base/copy.js';

const RING_BYTES_MIN = 16 * 1024;
const SLOTS_MIN = 64;

export class FrameRing {
  readonly #framesMax: number;
  readonly #bytesMax: number;
  #ring = new Uint8Array(0);
  #head = 0;
  #tail = 0;
  #slots = 0;
  #starts = new Int32Array(0);
  #lengths = new Int32Array(0);
  #tags = new Float64Array(0);
  #first = 0;
  #frames = 0;

  constructor(framesMax: number, bytesMax: number) {
    this.#framesMax = framesMax;
    this.#bytesMax = bytesMax;
  }

  /** Frames that wait. */
  get frames(): number {
    return this.#frames;
  }

  /** Copies a frame in; false if there is no room for it. */
  push(bytes: Uint8Array, at: number, length: number, tag: number): boolean {
    if (this.#frames === this.#slots && !this.#growSlots()) return false;
    if (!this.#reserve(length)) return false;
    const slot = (this.#first + this.#frames) % this.#slots;
    copyBytes(this.#ring, this.#tail, bytes, at, length);
    this.#starts[slot] = this.#tail;
    this.#lengths[slot] = length;
    this.#tags[slot] = tag;
    this.#tail += length;
    this.#frames++;
    return true;
  }

  /** The oldest frame's number; there must be one. */
  get tag(): number {
    return this.#tags[this.#first]!;
  }

  /** The oldest frame's memory, valid until it is dropped. */
  get bytes(): Uint8Array {
    return this.#ring;
  }

  get start(): number {
    return this.#starts[this.#first]!;
  }

  get length(): number {
    return this.#lengths[this.#first]!;
  }

  /** Forgets the oldest frame, whose memory is free from now on. */
  drop(): void {
    if (this.#frames === 0) return;
    this.#first = (this.#first + 1) % this.#slots;
    this.#frames--;
    this.#head = this.#frames === 0 ? this.#tail : this.start;
  }

  clear(): void {
    this.#frames = 0;
    this.#head = this.#tail = 0;
  }

  /** Makes room for `length` bytes in one piece at the tail. */
  #reserve(length: number): boolean {
    for (;;) {
      if (this.#frames === 0) this.#head = this.#tail = 0;
      const wrapped = this.#tail < this.#head || (this.#tail === this.#head && this.#frames > 0);
      const end = wrapped ? this.#head : this.#ring.length;
      if (this.#tail + length <= end) return true;
      if (!wrapped && length <= this.#head) {
        this.#tail = 0;
        return true;
      }
      if (!this.#growRing()) return false;
    }
  }

  #growRing(): boolean {
    const size = Math.max(RING_BYTES_MIN, this.#ring.length * 2);
    if (size > this.#bytesMax) return false;
    const ring = new Uint8Array(size);
    let tail = 0;
    for (let i = 0; i < this.#frames; i++) {
      const slot = (this.#first + i) % this.#slots;
      const start = this.#starts[slot]!;
      ring.set(this.#ring.subarray(start, start + this.#lengths[slot]!), tail);
      this.#starts[slot] = tail;
      tail += this.#lengths[slot]!;
    }
    this.#ring = ring;
    this.#head = 0;
    this.#tail = tail;
    return true;
  }

  #growSlots(): boolean {
    const slots = Math.min(this.#framesMax, Math.max(SLOTS_MIN, this.#slots * 2));
    if (slots === this.#slots) return false;
    const starts = new Int32Array(slots);
    const lengths = new Int32Array(slots);
    const tags = new Float64Array(slots);
    for (let i = 0; i < this.#frames; i++) {
      const slot = (this.#first + i) % this.#slots;
      starts[i] = this.#starts[slot]!;
      lengths[i] = this.#lengths[slot]!;
      tags[i] = this.#tags[slot]!;
    }
    [this.#starts, this.#lengths, this.#tags] = [starts, lengths, tags];
    this.#slots = slots;
    this.#first = 0;
    return true;
  }
}
