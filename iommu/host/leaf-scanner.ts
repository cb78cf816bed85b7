/**
 * The inner loop of the dirty scan, over tables of leaves. Gigabytes of address space are megabytes of these,
 * most of them clean, so this is where the time of a scan goes. The plain one here works anywhere; a machine whose
 * tables lie in WebAssembly memory can bring one in SIMD instructions.
 */
import { countTrailingZeros, popCount } from '../../base/bitmap.js';
import { secondStageEntry, TABLE_ENTRIES } from '../entries.js';

/** Leaves that one mask stands for. */
export const BLOCK_LEAVES = 32;
export const BLOCKS_MAX = TABLE_ENTRIES / BLOCK_LEAVES;

export interface LeafScanner {
  /** Of the last scan: one mask a block of 32 leaves; bit i stands for leaf i of its block. */
  readonly masks: Int32Array;
  /** Of the last scan: how many leaves were dirty. */
  readonly found: number;
  /**
   * Finds the dirty ones of `count` (1 to 512) leaves from word `index`, clears them atomically if told to, and fills
   * `masks` of the blocks it looked at. `dirty`: the dirty bit, alone, in an entry's low word.
   */
  take(index: number, count: number, clear: boolean, dirty: number): void;
  /**
   * The same for 1 to 16 blocks of an upper table, up to the first that holds anything but large leaves. Returns how
   * many blocks these were.
   */
  takeLarge(index: number, blocks: number, clear: boolean, dirty: number): number;
}

/** In both formats. */
const LARGE = secondStageEntry.PS.mask;

export function plainLeafScanner(words: Int32Array): LeafScanner {
  const masks = new Int32Array(BLOCKS_MAX);
  const scanner = {
    masks,
    found: 0,
    take(index: number, count: number, clear: boolean, dirty: number): void {
      scanner.found = 0;
      for (let block = 0; block * BLOCK_LEAVES < count; block++) {
        const first = index + 2 * BLOCK_LEAVES * block;
        const mask = takeBlock(
          words,
          first,
          Math.min(BLOCK_LEAVES, count - block * BLOCK_LEAVES),
          clear,
          dirty,
        );
        masks[block] = mask;
        scanner.found += popCount(mask);
      }
    },
    takeLarge(index: number, blocks: number, clear: boolean, dirty: number): number {
      let large = 0;
      while (large < blocks && isLargeBlock(words, index + 2 * BLOCK_LEAVES * large)) large++;
      scanner.take(index, large * BLOCK_LEAVES, clear, dirty);
      return large;
    },
  };
  return scanner;
}

function isLargeBlock(words: Int32Array, first: number): boolean {
  let all = LARGE;
  for (let i = 0; i < BLOCK_LEAVES; i++) all &= words[first + 2 * i]!;
  return all !== 0;
}

function takeBlock(words: Int32Array, first: number, count: number, clear: boolean, dirty: number): number {
  const shift = countTrailingZeros(dirty);
  let any = 0;
  for (let i = 0; i < count; i++) any |= words[first + 2 * i]!;
  if ((any & dirty) === 0) return 0;
  // Without branches: with a tenth of the leaves dirty, guessing wrong would cost more than looking.
  let mask = 0;
  for (let i = count - 1; i >= 0; i--) mask = (mask << 1) | ((words[first + 2 * i]! >>> shift) & 1);
  if (!clear) return mask;
  for (let rest = mask; rest !== 0; rest &= rest - 1) {
    Atomics.and(words, first + 2 * countTrailingZeros(rest), ~dirty);
  }
  return mask;
}
