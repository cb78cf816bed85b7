/**
 * The integrity root and the comparison of page hashes. The data plane keeps, at either end, the hash of each page as
 * last sent or received (two words a page); one digest over that table says whether all pages arrived as they were
 * sent, and only when it differs do the tables themselves travel, to name the pages.
 */

import { countTrailingZeros } from '../base/bitmap.js';
import { invariant } from '../base/errors.js';
import { malformed } from './frame.js';
import { type HashTable, PART_PAGES } from './hash-table.js';
import { HASHES_PER_MESSAGE, type MessageOf, ROOT_BYTES } from './messages.js';

/** How a table of page hashes is digested, in two steps; the same at both ends. */
export interface Digest {
  /** Stores a hash of `bytes`, one part of a table or its shorter last, in `parts[at]` and `parts[at + 1]`. */
  part(bytes: Uint8Array, parts: Uint32Array, at: number): void;
  /** `ROOT_BYTES` bytes over the hashes of all parts of a table of so many bytes. */
  root(parts: Uint32Array, tableBytes: number): Uint8Array;
}

/**
 * The root of a table that changes only as pages travel. What changed since the last time is digested anew, no more: the
 * last time is in the blackout, at both ends one after the other, and few pages are left then, whatever the size of RAM.
 */
export class RunningRoot {
  readonly #digest: Digest;
  /** Two words a part; of a table that was never looked at, none. */
  #parts = new Uint32Array(0);
  #root: Uint8Array = new Uint8Array(0);

  constructor(digest: Digest) {
    this.#digest = digest;
  }

  /** Of always the same table. What is stored meanwhile counts now or the next time. */
  of(table: HashTable): Uint8Array {
    const { words, changed } = table;
    const first = this.#root.length === 0;
    if (first) {
      this.#parts = new Uint32Array(2 * changed.length);
      changed.fill();
    }
    let anew = first;
    for (let word = 0; word < changed.words.length; word++) {
      if (Atomics.load(changed.words, word) === 0) continue;
      anew = true;
      for (let rest = changed.exchangeWord(word); rest !== 0; rest &= rest - 1) {
        const part = word * 32 + countTrailingZeros(rest);
        const pages = Math.min(PART_PAGES, table.pages - part * PART_PAGES);
        this.#digest.part(tableBytes(words, part * PART_PAGES, pages), this.#parts, 2 * part);
      }
    }
    if (anew) this.#root = this.#digest.root(this.#parts, words.byteLength);
    invariant(this.#root.length === ROOT_BYTES, 'digest of the wrong size');
    return this.#root;
  }
}

/** The table as bytes: the words are little-endian on every host that runs WebAssembly memory as we use it. */
function tableBytes(hashes: Uint32Array, firstPage: number, pages: number): Uint8Array {
  return new Uint8Array(hashes.buffer, hashes.byteOffset + firstPage * 8, pages * 8);
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return firstDifference(a, b) === -1;
}

/** Index of the first byte that differs, or -1; where one is longer, the shorter one's length. */
export function firstDifference(a: Uint8Array, b: Uint8Array): number {
  const common = Math.min(a.length, b.length);
  for (let i = 0; i < common; i++) if (a[i] !== b[i]) return i;
  return a.length === b.length ? -1 : common;
}

/** The messages that carry the first `pages` entries of a table, in order. Each owns its bytes. */
export function* hashMessages(hashes: Uint32Array, pages: number): Generator<MessageOf<'page-hashes'>> {
  for (let firstPage = 0; firstPage < pages; firstPage += HASHES_PER_MESSAGE) {
    const part = Math.min(HASHES_PER_MESSAGE, pages - firstPage);
    yield { kind: 'page-hashes', firstPage, hashes: tableBytes(hashes, firstPage, part).slice() };
  }
}

const NAMED_PAGES_MAX = 8;

/** Compares a peer's table with ours as its parts arrive. */
export class HashComparison {
  readonly #mine: Uint32Array;
  readonly #pages: number;
  readonly #first: number[] = [];
  #next = 0;
  #count = 0;

  constructor(mine: Uint32Array, pages: number) {
    this.#mine = mine;
    this.#pages = pages;
  }

  /** Takes the next part; throws `migration/malformed-message` if it isn't the next. */
  add(message: MessageOf<'page-hashes'>): void {
    const pages = message.hashes.length / 8;
    if (message.firstPage !== this.#next || this.#next + pages > this.#pages) {
      throw malformed(
        'page-hashes',
        'firstPage',
        `${message.firstPage} with ${pages} pages, not the next part`,
      );
    }
    const theirs = new DataView(message.hashes.buffer, message.hashes.byteOffset, message.hashes.length);
    for (let i = 0; i < pages; i++) {
      const at = 2 * (this.#next + i);
      if (
        theirs.getUint32(8 * i, true) === this.#mine[at] &&
        theirs.getUint32(8 * i + 4, true) === this.#mine[at + 1]
      ) {
        continue;
      }
      if (this.#first.length < NAMED_PAGES_MAX) this.#first.push(this.#next + i);
      this.#count++;
    }
    this.#next += pages;
  }

  get complete(): boolean {
    return this.#next === this.#pages;
  }

  /** Number of pages that differ so far. */
  get count(): number {
    return this.#count;
  }

  /** The first of them, by number: `17, 18, 4711 and 12 more`. */
  get inWords(): string {
    const rest = this.#count - this.#first.length;
    return this.#first.join(', ') + (rest > 0 ? ` and ${rest} more` : '');
  }
}
