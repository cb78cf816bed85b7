/**
 * The hash of each page as it last travelled, shared by the owner of a data plane and those who work its channels, and which
 * parts of the table have changed since somebody looked: a table of gigabytes is digested while the guest stands still, and
 * what did not change then was digested before.
 *
 * A hash is stored before its part is marked, and a mark is taken before its part is read: whoever reads too early finds the
 * part marked anew.
 */
import { AtomicBitmap } from '../base/bitmap.js';
import { invariant } from '../base/errors.js';

/** Pages whose hashes make a part: 4 KiB of the table. */
export const PART_PAGES = 512;

/** What of it one thread hands to another. */
export interface HashTableBuffers {
  readonly hashes: SharedArrayBuffer;
  readonly changed: SharedArrayBuffer;
}

export class HashTable {
  /** Two words (low, high) a page, zero for one that never travelled. */
  readonly words: Uint32Array;
  /** One bit a part. */
  readonly changed: AtomicBitmap;

  /** Of so many pages; of none where pages are not hashed. `buffers`: those of another thread's table of the same size. */
  constructor(pages: number, buffers?: HashTableBuffers) {
    const bytes = pages * 8;
    const hashes = buffers?.hashes ?? new SharedArrayBuffer(bytes);
    invariant(hashes.byteLength === bytes, 'hash table of the wrong size');
    this.words = new Uint32Array(hashes);
    this.changed = new AtomicBitmap(Math.ceil(pages / PART_PAGES), buffers?.changed);
  }

  get pages(): number {
    return this.words.length / 2;
  }

  get buffers(): HashTableBuffers {
    return { hashes: this.words.buffer as SharedArrayBuffer, changed: this.changed.buffer };
  }

  /** The hashes of pages [first, end) were stored. Harmless if none are kept. */
  stored(first: number, end: number): void {
    if (this.words.length === 0) return;
    const last = Math.floor((end - 1) / PART_PAGES);
    for (let part = Math.floor(first / PART_PAGES); part <= last; part++) this.changed.set(part);
  }
}
