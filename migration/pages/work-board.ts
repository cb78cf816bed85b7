/**
 * The words that the threads of one data plane share, and who owns each.
 *
 *     word            written by               meaning
 *     CURSOR          owner: reset; workers: add   next word of the round's bitmap that nobody has claimed
 *     STOP            owner                    1: claim nothing more in this round; 2: nor end it, it is abandoned
 *     RATE            owner                    bandwidth limit in KiB/s, 0 for none
 *     NEXT_FREE       workers, owner           when the bandwidth used so far will be paid for (bandwidth.ts)
 *     FIRST_CURSOR    owner: reset; workers: add   as CURSOR, among the words of the pages that go first
 *     FIRST_WORD      owner, once              the first of these
 *     FIRST_WORDS     owner, once              how many they are
 *     FIRST_LEFT      owner, once; workers: subtract   at a destination: pages that are to come first and have not come
 *     per channel     that channel's worker    pages, zero pages, overhead bytes, since `open`
 *
 * A claim is one atomic add: the words from the old cursor on belong to the claimer. The owner resets CURSOR and STOP
 * before it tells any worker of the new round, and only after every worker has reported the end of the round before,
 * so a reset never races a claim. Counters wrap after 2^32 pages (16 TiB); progress displays can live with that.
 */
import { invariant } from '../../base/errors.js';
import { PAGE_BYTES } from '../../base/units.js';
import type { TransferCount } from '../ports.js';
import { CHANNELS_MAX } from './layouts.js';

const CURSOR = 0;
const STOP = 1;
const RATE = 2;
const NEXT_FREE = 3;
const FIRST_CURSOR = 4;
const FIRST_WORD = 5;
const FIRST_WORDS = 6;
const FIRST_LEFT = 7;
/** Each channel's counters lie in a cache line of their own, and apart from the words above. */
const LINE_WORDS = 16;
const PAGES = 0;
const ZERO_PAGES = 1;
const OVERHEAD_BYTES = 2;

export class WorkBoard {
  readonly words: Int32Array;
  readonly channels: number;

  constructor(channels: number, buffer?: SharedArrayBuffer) {
    invariant(channels >= 1 && channels <= CHANNELS_MAX, `${channels} data channels`);
    const backing = buffer ?? new SharedArrayBuffer((1 + channels) * LINE_WORDS * 4);
    invariant(backing.byteLength === (1 + channels) * LINE_WORDS * 4, 'work board of the wrong size');
    this.words = new Int32Array(backing);
    this.channels = channels;
  }

  get buffer(): SharedArrayBuffer {
    return this.words.buffer as SharedArrayBuffer;
  }

  /** Owner: a new round begins, with nothing claimed. */
  resetRound(): void {
    Atomics.store(this.words, CURSOR, 0);
    Atomics.store(this.words, FIRST_CURSOR, 0);
    Atomics.store(this.words, STOP, 0);
  }

  stop(): void {
    Atomics.compareExchange(this.words, STOP, 0, 1);
  }

  /** Owner: the channels are being closed; a round under way must not look complete to the receiver. */
  abandon(): void {
    Atomics.store(this.words, STOP, 2);
  }

  get abandoned(): boolean {
    return Atomics.load(this.words, STOP) === 2;
  }

  get stopped(): boolean {
    return Atomics.load(this.words, STOP) !== 0;
  }

  /** Worker: claims `count` bitmap words; returns the first. A result beyond the bitmap means that none are left. */
  claim(count: number): number {
    return Atomics.add(this.words, CURSOR, count);
  }

  /** Owner of a source, before any round: these words of each round's bitmap are claimed before all, and then once more. */
  setFirst(word: number, count: number): void {
    Atomics.store(this.words, FIRST_WORD, word);
    Atomics.store(this.words, FIRST_WORDS, count);
  }

  get firstWord(): number {
    return Atomics.load(this.words, FIRST_WORD);
  }

  get firstWords(): number {
    return Atomics.load(this.words, FIRST_WORDS);
  }

  /** Worker: claims `count` of the words that go first, counted from `firstWord`. A result beyond `firstWords`: none are left. */
  claimFirst(count: number): number {
    return Atomics.add(this.words, FIRST_CURSOR, count);
  }

  /** Owner of a destination, before any page can come: so many are to come first. */
  expectFirst(pages: number): void {
    Atomics.store(this.words, FIRST_LEFT, pages);
  }

  /** Worker of a destination: so many of them came; true if these were the last. Any number may come when none are due. */
  cameFirst(pages: number): boolean {
    if (pages === 0 || Atomics.load(this.words, FIRST_LEFT) <= 0) return false;
    const before = Atomics.sub(this.words, FIRST_LEFT, pages);
    return before > 0 && before <= pages;
  }

  /** Limit in KiB/s, 0 for none. */
  get rate(): number {
    return Atomics.load(this.words, RATE);
  }

  setRate(kibPerSecond: number, nowUs: number): void {
    Atomics.store(this.words, RATE, kibPerSecond);
    Atomics.store(this.words, NEXT_FREE, nowUs);
  }

  get nextFreeUs(): number {
    return Atomics.load(this.words, NEXT_FREE);
  }

  /** True if NEXT_FREE was still `expected` and is now `value`. */
  replaceNextFree(expected: number, value: number): boolean {
    return Atomics.compareExchange(this.words, NEXT_FREE, expected, value) === expected;
  }

  /** Worker of `channel`: adds what one frame moved; `overheadBytes` are its wire bytes without the pages. */
  count(channel: number, pages: number, zeroPages: number, overheadBytes: number): void {
    const line = (1 + channel) * LINE_WORDS;
    Atomics.add(this.words, line + PAGES, pages);
    Atomics.add(this.words, line + ZERO_PAGES, zeroPages);
    Atomics.add(this.words, line + OVERHEAD_BYTES, overheadBytes);
  }

  /** Totals over all channels. */
  progress(): TransferCount {
    let pages = 0;
    let zeroPages = 0;
    let overheadBytes = 0;
    for (let channel = 0; channel < this.channels; channel++) {
      const line = (1 + channel) * LINE_WORDS;
      pages += Atomics.load(this.words, line + PAGES) >>> 0;
      zeroPages += Atomics.load(this.words, line + ZERO_PAGES) >>> 0;
      overheadBytes += Atomics.load(this.words, line + OVERHEAD_BYTES) >>> 0;
    }
    return { pages, zeroPages, bytes: pages * PAGE_BYTES + overheadBytes };
  }
}
