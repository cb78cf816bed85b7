/**
 * Bitmaps over 32-bit words, shareable between threads. One bit a page: bit `page & 31` of word `page >>> 5`.
 *
 * `AtomicBitmap` sets and takes bits with atomic operations because several vCPUs, devices and page workers touch
 * one word at the same time; a bit once taken (`exchangeWord`) belongs to the taker, who must act on it.
 */
import { invariant } from './errors.js';

export class AtomicBitmap {
  readonly words: Int32Array;
  /** Number of valid bits; bits above are never set. */
  readonly length: number;

  /** `buffer`, when given, is a zeroed or live SharedArrayBuffer of `AtomicBitmap.byteLength(length)` bytes. */
  constructor(length: number, buffer?: SharedArrayBuffer) {
    const byteLength = AtomicBitmap.byteLength(length);
    const backing = buffer ?? new SharedArrayBuffer(byteLength);
    invariant(backing.byteLength === byteLength, 'bitmap buffer of the wrong size');
    this.words = new Int32Array(backing);
    this.length = length;
  }

  static byteLength(length: number): number {
    return Math.ceil(length / 32) * 4;
  }

  get buffer(): SharedArrayBuffer {
    return this.words.buffer as SharedArrayBuffer;
  }

  /** Sets the bit; true if it was clear. */
  set(index: number): boolean {
    const mask = 1 << (index & 31);
    return (Atomics.or(this.words, index >>> 5, mask) & mask) === 0;
  }

  has(index: number): boolean {
    return (Atomics.load(this.words, index >>> 5) & (1 << (index & 31))) !== 0;
  }

  /** Sets every bit of `mask` in one word; returns how many were clear before. */
  orWord(word: number, mask: number): number {
    const before = Atomics.or(this.words, word, mask);
    return popCount(mask & ~before);
  }

  /** Sets bits [first, end). */
  setRange(first: number, end: number): void {
    const { words } = this;
    let bit = first;
    for (; bit < end && (bit & 31) !== 0; bit++) this.set(bit);
    // A plain store will do for whole words: all ones can hide nobody's bit, and a taker finds it before or after.
    for (; bit + 32 <= end; bit += 32) words[bit >>> 5] = -1;
    for (; bit < end; bit++) this.set(bit);
  }

  /** Takes a word: returns its bits and clears them, atomically. */
  exchangeWord(word: number): number {
    return Atomics.exchange(this.words, word, 0);
  }

  /** Sets all valid bits. */
  fill(): void {
    const full = this.length >>> 5;
    for (let i = 0; i < full; i++) Atomics.store(this.words, i, -1);
    const rest = this.length & 31;
    if (rest !== 0) Atomics.store(this.words, full, (1 << rest) - 1);
  }

  clear(): void {
    this.words.fill(0);
  }

  /** Number of set bits; exact only while nobody writes. */
  count(): number {
    let total = 0;
    for (let i = 0; i < this.words.length; i++) total += popCount(Atomics.load(this.words, i));
    return total;
  }

  /** Moves all bits into `target` (or-ing) and clears them here, word by word. Returns how many were new there. */
  drainInto(target: AtomicBitmap): number {
    invariant(target.length === this.length, 'bitmaps of different length');
    let added = 0;
    for (let i = 0; i < this.words.length; i++) {
      if (Atomics.load(this.words, i) === 0) continue;
      added += target.orWord(i, this.exchangeWord(i));
    }
    return added;
  }

  /** First set bit at or after `from`, or -1. */
  next(from: number): number {
    if (from >= this.length) return -1;
    let word = from >>> 5;
    let bits = Atomics.load(this.words, word) & (-1 << (from & 31));
    while (bits === 0) {
      word++;
      if (word >= this.words.length) return -1;
      bits = Atomics.load(this.words, word);
    }
    return (word << 5) + countTrailingZeros(bits);
  }
}

export function popCount(word: number): number {
  let v = word - ((word >>> 1) & 0x55555555);
  v = (v & 0x33333333) + ((v >>> 2) & 0x33333333);
  return Math.imul((v + (v >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

export function countTrailingZeros(word: number): number {
  return 31 - Math.clz32(word & -word);
}
