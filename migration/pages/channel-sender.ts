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
import type { TransferCount } from '../ports.js';
import { type FrameBuffer, GATHER_BELOW_PAGES } from './frame-buffer.js';
import { FRAME_PAGES_MAX, FRAME_RUNS_MAX, ROUNDS_MAX } from './layouts.js';
import { type PageKernels, zeroPageHash } from './page-kernels.js';
import { RunTable } from './run-table.js';
import type { WorkBoard } from './work-board.js';

/** Bitmap words (32 pages each) that one claim takes: as much as one frame carries. */
const CLAIM_WORDS = FRAME_PAGES_MAX / 32;
/** With a bandwidth limit, claims are smaller, so that one frame takes this long at most (one word being the least). */
const LIMITED_FRAME_SECONDS = 0.02;
/** One claim adds at most this many runs to the table of zero runs: every other page. */
const CLAIM_ZERO_RUNS_MAX = FRAME_PAGES_MAX / 2;

invariant(CLAIM_ZERO_RUNS_MAX < FRAME_RUNS_MAX, 'the zero runs of one claim must fit one frame');
invariant(FRAME_RUNS_MAX >= FRAME_PAGES_MAX, 'scattered pages of one claim must fit one frame');

export interface SenderSetup {
  readonly ram: Uint8Array;
  readonly kernels: PageKernels;
  readonly board: WorkBoard;
  readonly migratedPages: number;
  readonly hashSeed: number;
  /** Two words a page, or empty if pages are not to be hashed. */
  readonly hashes: Uint32Array;
  /** Copy all pages into the frame, so that what is recorded is what is sent. */
  readonly copyAll: boolean;
}

export class ChannelSender {
  readonly #setup: SenderSetup;
  readonly #zeroHash: Uint32Array;
  readonly #data = new RunTable();
  readonly #zero = new RunTable();
  #bitmap: AtomicBitmap | undefined;
  #round = 0;
  #sequence = 0;
  #sent = { pages: 0, zeroPages: 0, bytes: 0 };

  constructor(setup: SenderSetup) {
    invariant(
      setup.hashes.length === 0 || setup.hashes.length === 2 * setup.migratedPages,
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
    this.#sent = { pages: 0, zeroPages: 0, bytes: 0 };
  }

  /** Encodes the next frame of the round; false, and nothing encoded, when nothing is left (or the round is stopped). */
  next(frame: FrameBuffer): boolean {
    const bitmap = this.#bitmap;
    invariant(bitmap !== undefined, 'no round has begun');
    const { board, ram, copyAll } = this.#setup;
    while (this.#zero.length + CLAIM_ZERO_RUNS_MAX <= FRAME_RUNS_MAX && !board.stopped) {
      const words = this.#claimWords();
      const first = board.claim(words);
      if (first >= bitmap.words.length) break;
      const end = Math.min(first + words, bitmap.words.length);
      for (let word = first; word < end; word++) this.#take(bitmap, word);
      if (this.#data.pages > 0) {
        frame.encodePages(
          this.#sequence++,
          this.#round,
          this.#data,
          ram,
          copyAll ? Infinity : GATHER_BELOW_PAGES,
        );
        this.#data.clear();
        this.#account(frame);
        return true;
      }
    }
    if (this.#zero.pages === 0) return false;
    frame.encodeZero(this.#sequence++, this.#round, this.#zero);
    this.#zero.clear();
    this.#account(frame);
    return true;
  }

  /** Encodes the end-of-round frame; returns what the channel sent in the round. */
  endRound(frame: FrameBuffer): TransferCount {
    invariant(this.#bitmap !== undefined && this.#zero.pages === 0, 'the round still has frames to send');
    this.#bitmap = undefined;
    frame.encodeEndOfRound(this.#sequence++, this.#round, this.#sent);
    return { ...this.#sent, bytes: this.#sent.bytes + frame.bytes };
  }

  encodeClose(frame: FrameBuffer): void {
    frame.encodeClose(this.#sequence++, this.#round + 1);
  }

  #claimWords(): number {
    const rate = this.#setup.board.rate;
    if (rate === 0) return CLAIM_WORDS;
    const pages = (rate * LIMITED_FRAME_SECONDS) / 4;
    return Math.min(CLAIM_WORDS, Math.max(1, Math.floor(pages / 32)));
  }

  /** Takes one word's pages from the bitmap: scans, sorts them into the two tables, hashes. */
  #take(bitmap: AtomicBitmap, word: number): void {
    if (Atomics.load(bitmap.words, word) === 0) return;
    const { kernels, hashes, hashSeed } = this.#setup;
    const taken = bitmap.exchangeWord(word);
    const firstPage = word * 32;
    const zero = kernels.zeroMask(firstPage, taken);
    for (let rest = taken; rest !== 0; rest &= rest - 1) {
      const bit = countTrailingZeros(rest);
      const page = firstPage + bit;
      const isZero = (zero & (1 << bit)) !== 0;
      (isZero ? this.#zero : this.#data).add(page);
      if (hashes.length === 0) continue;
      if (isZero) {
        hashes[2 * page] = this.#zeroHash[0]!;
        hashes[2 * page + 1] = this.#zeroHash[1]!;
      } else kernels.hash(page, hashSeed, hashes, 2 * page);
    }
  }

  #account(frame: FrameBuffer): void {
    this.#sent.pages += frame.pages;
    this.#sent.zeroPages += frame.zeroPages;
    this.#sent.bytes += frame.bytes;
  }
}
