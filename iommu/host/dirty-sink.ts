/** Where a dirty scan reports to: bits for the caller, and the range that must be invalidated. */
import { type AtomicBitmap, countTrailingZeros } from '../../base/bitmap.js';

export interface DirtySink {
  /**
   * `found` dirty leaves of `leafBytes` bytes each from `iova`, all within the range that was asked for: bit i of
   * `masks[n]` stands for leaf 32 n + i, of `blocks` masks.
   */
  masked(iova: number, leafBytes: number, masks: Int32Array, blocks: number, found: number): void;
  /** One dirty leaf of `leafBytes` bytes; it may reach beyond the range. */
  leaf(iova: number, leafBytes: number): void;
}

/**
 * Sets bits in a bitmap whose bit 0 stands for `base` and whose bits stand for `pageBytes` bytes each (a power of two,
 * 4096 or more). Bits are only ever set, and not atomically: the bitmap is the caller's own, as Linux has it, and with
 * a bit in ten set, atomic operations would cost as much as everything else. Without a bitmap it just gathers.
 */
export class DirtyReport implements DirtySink {
  /** Dirty leaves found. */
  leaves = 0;
  /** Smallest range that holds all of them. */
  first = Number.POSITIVE_INFINITY;
  end = 0;

  private readonly bitmap: AtomicBitmap | undefined;
  private readonly base: number;
  private readonly pageBytes: number;

  constructor(bitmap: AtomicBitmap | undefined, base: number, pageBytes: number) {
    this.bitmap = bitmap;
    this.base = base;
    this.pageBytes = pageBytes;
  }

  masked(iova: number, leafBytes: number, masks: Int32Array, blocks: number, found: number): void {
    this.leaves += found;
    let low = 0;
    while (masks[low] === 0) low++;
    let high = blocks - 1;
    while (masks[high] === 0) high--;
    const start = iova + (32 * low + countTrailingZeros(masks[low]!)) * leafBytes;
    const end = iova + (32 * high + 32 - Math.clz32(masks[high]!)) * leafBytes;
    if (start < this.first) this.first = start;
    if (end > this.end) this.end = end;
    const { bitmap } = this;
    if (bitmap === undefined) return;
    if (this.pageBytes !== leafBytes) {
      this.setUneven(bitmap, iova, leafBytes, masks, low, high);
      return;
    }
    const bit = (iova - this.base) / leafBytes;
    const shift = bit & 31;
    const { words } = bitmap;
    for (let block = low; block <= high; block++) {
      const mask = masks[block]!;
      if (mask === 0) continue;
      const word = (bit >>> 5) + block;
      words[word]! |= mask << shift;
      if (shift !== 0 && mask >>> (32 - shift) !== 0) words[word + 1]! |= mask >>> (32 - shift);
    }
  }

  leaf(iova: number, leafBytes: number): void {
    this.leaves++;
    if (iova < this.first) this.first = iova;
    if (iova + leafBytes > this.end) this.end = iova + leafBytes;
    const { bitmap, base, pageBytes } = this;
    if (bitmap === undefined) return;
    const first = Math.max(0, Math.floor((iova - base) / pageBytes));
    bitmap.setRange(first, Math.min(bitmap.length, Math.ceil((iova + leafBytes - base) / pageBytes)));
  }

  /** Leaves that are several bits each, or several of which share a bit. */
  private setUneven(
    bitmap: AtomicBitmap,
    iova: number,
    leafBytes: number,
    masks: Int32Array,
    low: number,
    high: number,
  ): void {
    const { base, pageBytes } = this;
    const bits = leafBytes / pageBytes;
    for (let block = low; block <= high; block++) {
      const first = (iova + 32 * block * leafBytes - base) / pageBytes;
      for (let rest = masks[block]!; rest !== 0; rest &= rest - 1) {
        const bit = first + countTrailingZeros(rest) * bits;
        if (bits < 1) bitmap.set(Math.floor(bit));
        else bitmap.setRange(bit, bit + bits);
      }
    }
  }
}
