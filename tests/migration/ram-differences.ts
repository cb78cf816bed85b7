/** Where two memories differ, in words that say where to look. */
import { PAGE_BYTES } from '../../base/units.js';

const PAGES_SHOWN = 5;
const WORDS_PER_PAGE = PAGE_BYTES / 4;

/**
 * '' if the first `pages` pages of both are equal: `expect(ramDifferences(ram, truth)).toBe('')`. Else how many are not,
 * and of the first few the number, the address, and the first word that is wrong with what belongs there.
 */
export function ramDifferences(
  actual: Uint8Array,
  expected: Uint8Array,
  pages = expected.length / PAGE_BYTES,
): string {
  const compare = (from: number, to: number): boolean =>
    Buffer.compare(actual.subarray(from, to), expected.subarray(from, to)) === 0;
  if (compare(0, pages * PAGE_BYTES)) return '';
  const differing = Array.from({ length: pages }, (_, page) => page).filter(
    (page) => !compare(page * PAGE_BYTES, (page + 1) * PAGE_BYTES),
  );
  const shown = differing.slice(0, PAGES_SHOWN).map((page) => {
    const words = [actual, expected].map(
      (ram) => new Int32Array(ram.buffer, ram.byteOffset + page * PAGE_BYTES, WORDS_PER_PAGE),
    );
    const at = words[0]!.findIndex((word, i) => word !== words[1]![i]);
    const count = words[0]!.filter((word, i) => word !== words[1]![i]).length;
    const address = page * PAGE_BYTES + at * 4;
    return `page ${page}: ${words[0]![at]} at 0x${address.toString(16)}, where ${words[1]![at]} belongs (${count} words)`;
  });
  const more = differing.length - shown.length;
  return [
    `${differing.length} of ${pages} pages differ`,
    ...shown,
    ...(more > 0 ? [`and ${more} more`] : []),
  ].join('; ');
}
