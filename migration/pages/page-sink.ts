/** Where received pages go, as an interface: guest RAM at a destination, nowhere when a recording is explained. */
import { PAGE_BYTES } from '../../base/units.js';
import type { HashTable } from '../hash-table.js';
import { type PageKernels, zeroPageHash } from './page-kernels.js';

export interface PageSink {
  /** Memory of `pageCount` pages from `firstPage` on; the receiver fills it from the front, in pieces. */
  view(firstPage: number, pageCount: number): Uint8Array;
  /** The bytes of these pages are in place. */
  arrived(firstPage: number, pageCount: number): void;
  /** Every byte of these pages is to be zero. */
  zeroed(firstPage: number, pageCount: number): void;
}

/** Guest RAM. Pages are hashed as they arrive, while they are in the cache; `hashes` is of no pages if they are not to be. */
export class RamSink implements PageSink {
  readonly #ram: Uint8Array;
  readonly #kernels: PageKernels;
  readonly #hashSeed: number;
  readonly #hashes: HashTable;
  readonly #zeroHash: Uint32Array;

  constructor(ram: Uint8Array, kernels: PageKernels, hashSeed: number, hashes: HashTable) {
    this.#ram = ram;
    this.#kernels = kernels;
    this.#hashSeed = hashSeed;
    this.#hashes = hashes;
    this.#zeroHash = zeroPageHash(hashSeed);
  }

  view(firstPage: number, pageCount: number): Uint8Array {
    return this.#ram.subarray(firstPage * PAGE_BYTES, (firstPage + pageCount) * PAGE_BYTES);
  }

  arrived(firstPage: number, pageCount: number): void {
    const { words } = this.#hashes;
    if (words.length === 0) return;
    const end = firstPage + pageCount;
    for (let page = firstPage; page < end; page++) this.#kernels.hash(page, this.#hashSeed, words, 2 * page);
    this.#hashes.stored(firstPage, end);
  }

  /** Reads before it writes: memory that was never touched reads as zeros without being allocated. */
  zeroed(firstPage: number, pageCount: number): void {
    const end = firstPage + pageCount;
    const { words } = this.#hashes;
    for (let page = firstPage; page < end; page += 32) {
      const count = Math.min(32, end - page);
      const pages = count === 32 ? -1 : (1 << count) - 1;
      const zero = this.#kernels.zeroMask(page, pages);
      for (let bit = 0; bit < count; bit++) {
        if ((zero & (1 << bit)) === 0) this.view(page + bit, 1).fill(0);
        if (words.length === 0) continue;
        words[2 * (page + bit)] = this.#zeroHash[0]!;
        words[2 * (page + bit) + 1] = this.#zeroHash[1]!;
      }
    }
    this.#hashes.stored(firstPage, end);
  }
}

/** Takes pages and forgets them. */
export class DiscardSink implements PageSink {
  #scratch = new Uint8Array(0);

  view(_firstPage: number, pageCount: number): Uint8Array {
    if (this.#scratch.length < pageCount * PAGE_BYTES) this.#scratch = new Uint8Array(pageCount * PAGE_BYTES);
    return this.#scratch.subarray(0, pageCount * PAGE_BYTES);
  }

  arrived(): void {}

  zeroed(): void {}
}
