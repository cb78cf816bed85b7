/** Sets of pages as ranges, for people: bounded, however scattered the set is. */
import type { AtomicBitmap } from '../base/bitmap.js';

export interface PageRanges {
  readonly pages: number;
  /** The first ranges in order, each from its first page to its last. */
  readonly ranges: readonly (readonly [first: number, last: number])[];
  /** Ranges that are not listed. */
  readonly rangesLeftOff: number;
}

const RANGES_MAX = 64;

export function pageRanges(set: AtomicBitmap): PageRanges {
  const ranges: [number, number][] = [];
  let pages = 0;
  let rangesLeftOff = 0;
  let first = -1;
  let last = -2;
  const close = (): void => {
    if (first < 0) return;
    if (ranges.length < RANGES_MAX) ranges.push([first, last]);
    else rangesLeftOff++;
  };
  for (let page = set.next(0); page !== -1; page = set.next(page + 1)) {
    pages++;
    if (page !== last + 1) {
      close();
      first = page;
    }
    last = page;
  }
  close();
  return { pages, ranges, rangesLeftOff };
}
