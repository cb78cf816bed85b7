import { describe, expect, it } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import { seededRandom } from '../../base/random.js';
import { pageRanges } from '../../migration/page-ranges.js';

function setOf(length: number, pages: readonly number[]): AtomicBitmap {
  const set = new AtomicBitmap(length);
  for (const page of pages) set.set(page);
  return set;
}

describe('pages as ranges', () => {
  it('are none of an empty set, and one of a full one', () => {
    expect(pageRanges(setOf(100, []))).toEqual({ pages: 0, ranges: [], rangesLeftOff: 0 });
    const full = new AtomicBitmap(100);
    full.fill();
    expect(pageRanges(full)).toEqual({ pages: 100, ranges: [[0, 99]], rangesLeftOff: 0 });
  });

  it('name exactly the pages of the set', () => {
    const random = seededRandom(7);
    for (let i = 0; i < 50; i++) {
      const pages = new Set(Array.from({ length: random.below(60) }, () => random.below(200)));
      const { ranges, pages: count } = pageRanges(setOf(200, [...pages]));
      const named = ranges.flatMap(([first, last]) =>
        Array.from({ length: last - first + 1 }, (_, at) => first + at),
      );
      expect(named).toEqual([...pages].sort((a, b) => a - b));
      expect(count).toBe(pages.size);
    }
  });

  it('are counted, not listed, beyond the first 64', () => {
    const scattered = Array.from({ length: 100 }, (_, i) => 2 * i);
    const { pages, ranges, rangesLeftOff } = pageRanges(setOf(200, scattered));
    expect([pages, ranges.length, rangesLeftOff]).toEqual([100, 64, 36]);
    expect(ranges.at(-1)).toEqual([126, 126]);
  });
});
