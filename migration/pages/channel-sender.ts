/**
 * What a source's page worker sends on one channel, without the socket: claims batches of the round's pages, tells
 * zero pages from the others, hashes them while they are in the cache, and encodes frames.
 *
 *     sender.beginRound(1, bitmap);
 *     while (sender.next(frame)) write(frame);
 *     sender.endRound(frame); write(frame);
 *
 * The guest may write to a page while it is scanned, hashed or sent: then it is dirty again, and a later round, at
 * the latest the one with the guest paused, sends it anew. A bit is cleared here *before* its page is read.
 */
import type { AtomicBitmap } from '../../base/bitmap.js';
import { countTrailingZeros } from '../../base/bitmap.js';
import { invariant } from '../../base/errors.js';
import { KIB, PAGE_BYTES } from '../../base/units.js';
import { type HashTable, PART_PAGES } from '../hash-table.js';
import type { TransferCount } from '../ports.js';
import { type FrameBuffer, GATHER_BELOW_PAGES } from './frame-buffer.js';
import { FRAME_PAGES_MAX, FRAME_RUNS_MAX, ROUNDS_MAX } from './layouts.js';
import { type PageKernels, zeroPageHash } from './page-kernels.js';
import { RunTable } from './run-table.js';
import type { WorkBoard } from './work-board.js';

const WORD_PAGES = 32;
/** One word adds at most this many runs to a table: every other page. */
const WORD_RUNS_MAX = WORD_PAGES / 2;
/** With a bandwidth limit, frames are smaller, so that one takes about this long (but hold at least one word). */
const LIMITED_FRAME_SECONDS = 0.02;

invariant(FRAME_RUNS_MAX >= FRAME_PAGES_MAX, 'a frame of scattered pages must fit its table of runs');
invariant(FRAME_PAGES_MAX >= WORD_PAGES, 'a frame must hold at least one word of pages');
invariant(PART_PAGES % WORD_PAGES === 0, 'the pages of a word have their hashes in one part');

export interface SenderSetup {
  readonly ram: Uint8Array;
  readonly kernels: PageKernels;
  readonly board: WorkBoard;
  readonly migratedPages: number;
  readonly hashSeed: number;
  /** Of all pages that may travel, or of none if they are not to be hashed. */
  readonly hashes: HashTable;
  /** Copy all pages into the frame, so that what is recorded is what is sent. */
  readonly copyAll: boolean;
}

export class ChannelSender {
  readonly #setup: SenderSetup;
  readonly #zeroHash: Uint32Array;
  readonly #data = new RunTable();
  readonly #zero = new RunTable();
  #bitmap: AtomicBitmap | undefined;
  /** Of this round, what goes first is claimed whole. */
  #firstDone = false;
  #round = 0;
  #sequence = 0;
  #sent = { pages: 0, zeroPages: 0, bytes: 0 };

  constructor(setup: SenderSetup) {
    invariant(
      setup.hashes.pages === 0 || setup.hashes.pages === setup.migratedPages,
      'hash table of the wrong size',
    );
    this.#setup = setup;
    this.#zeroHash = zeroPageHash(setup.hashSeed);
  }

  beginRound(round: number, bitmap: AtomicBitmap): void {
    invariant(this.#bitmap === undefined, `round ${round} begins within round ${this.#round}`);
    invariant(round === this.#round + 1 && round < ROUNDS_MAX, `round ${round} after round ${this.#round}`);
    invariant(bitmap.length === this.#setup.migratedPages, 'bitmap and migrated pages differ');
    this.#round = round;
    this.#bitmap = bitmap;
    this.#firstDone = this.#setup.board.firstWords === 0;
    this.#sent = { pages: 0, zeroPages: 0, bytes: 0 };
  }

  /**
   * Encodes the next frame of the round; false, and nothing encoded, when nothing is left (or the round is stopped).
   * Claims until a frame is full: the fewer frames scattered pages travel in, the sooner they are there.
   */
  next(frame: FrameBuffer): boolean {
    const bitmap = this.#bitmap;
    invariant(bitmap !== undefined, 'no round has begun');
    const { board } = this.#setup;
    if (!this.#firstDone) {
      this.#fill(bitmap, board.firstWord, board.firstWords, (words) => board.claimFirst(words));
      if (this.#encode(frame)) return true;
      // A frame lists its pages in ascending order: what went first is out before the others are claimed.
      this.#firstDone = true;
    }
    this.#fill(bitmap, 0, bitmap.words.length, (words) => board.claim(words));
    return this.#encode(frame);
  }

  /** Claims, and takes, of `count` words from `from` on until the tables are full, or none are left. */
  #fill(bitmap: AtomicBitmap, from: number, count: number, claim: (words: number) => number): void {
    const { board } = this.#setup;
    const framePages = this.#framePages();
    while (!board.stopped) {
      const words = Math.min(
        Math.floor((framePages - this.#data.pages) / WORD_PAGES),
        Math.floor((FRAME_RUNS_MAX - this.#zero.length) / WORD_RUNS_MAX),
      );
      if (words <= 0) return;
      const first = claim(words);
      if (first >= count) return;
      const end = Math.min(first + words, count);
      for (let word = first; word < end; word++) this.#take(bitmap, from + word);
    }
  }

  /** Encodes a frame of what is in the tables; false if nothing is. */
  #encode(frame: FrameBuffer): boolean {
    const { ram, copyAll } = this.#setup;
    const data = this.#data;
    const zero = this.#zero;
    const zeroIsFull = FRAME_RUNS_MAX - zero.length < WORD_RUNS_MAX;
    if (data.pages > 0 && !zeroIsFull) {
      frame.encodePages(this.#sequence++, this.#round, data, ram, copyAll ? Infinity : GATHER_BELOW_PAGES);
      data.clear();
    } else if (zero.pages > 0) {
      frame.encodeZero(this.#sequence++, this.#round, zero);
      zero.clear();
    } else {
      return false;
    }
    this.#sent.pages += frame.pages;
    this.#sent.zeroPages += frame.zeroPages;
    this.#sent.bytes += frame.bytes;
    return true;
  }

  /** Encodes the end-of-round frame; returns what the channel sent in the round. */
  endRound(frame: FrameBuffer): TransferCount {
    invariant(
      this.#bitmap !== undefined && this.#zero.pages + this.#data.pages === 0,
      'the round still has frames to send',
    );
    this.#bitmap = undefined;
    frame.encodeEndOfRound(this.#sequence++, this.#round, this.#sent);
    return { ...this.#sent, bytes: this.#sent.bytes + frame.bytes };
  }

  encodeClose(frame: FrameBuffer): void {
    frame.encodeClose(this.#sequence++, this.#round + 1);
  }

  /** Pages that the next frame may hold. */
  #framePages(): number {
    const rate = this.#setup.board.rate;
    if (rate === 0) return FRAME_PAGES_MAX;
    const pages = Math.floor((rate * KIB * LIMITED_FRAME_SECONDS) / PAGE_BYTES);
    return Math.min(FRAME_PAGES_MAX, Math.max(WORD_PAGES, pages));
  }

  /** Takes one word's pages from the bitmap: scans, sorts them into the two tables, hashes. */
  #take(bitmap: AtomicBitmap, word: number): void {
    if (Atomics.load(bitmap.words, word) === 0) return;
    const { kernels, hashSeed } = this.#setup;
    const hashes = this.#setup.hashes.words;
    const taken = bitmap.exchangeWord(word);
    const firstPage = word * WORD_PAGES;
    const zero = kernels.zeroMask(firstPage, taken);
    if (taken === -1 && zero === 0) {
      this.#data.add(firstPage, WORD_PAGES); // the first round's common case
    } else {
      for (let rest = taken; rest !== 0; rest &= rest - 1) {
        const bit = countTrailingZeros(rest);
        ((zero & (1 << bit)) === 0 ? this.#data : this.#zero).add(firstPage + bit);
      }
    }
    if (hashes.length === 0) return;
    for (let rest = taken; rest !== 0; rest &= rest - 1) {
      const bit = countTrailingZeros(rest);
      const at = 2 * (firstPage + bit);
      if ((zero & (1 << bit)) === 0) {
        kernels.hash(firstPage + bit, hashSeed, hashes, at);
      } else {
        hashes[at] = this.#zeroHash[0]!;
        hashes[at + 1] = this.#zeroHash[1]!;
      }
    }
    this.#setup.hashes.stored(firstPage, firstPage + 1);
  }
}
