/** Where a dirty scan reports to: bits for the caller, and the range that must be invalidated. */
import { type AtomicBitmap, popCount } from '../../base/bitmap.js';

const IOMMU_PAGE = 4096;

export interface DirtySink {
  /** Dirty 4 KiB leaves: bit i of `mask` stands for the page at `iova + i * 4096`. */
  small(iova: number, mask: number): void;
  /** One dirty leaf of `bytes` bytes. */
  large(iova: number, bytes: number): void;
}

/**
 * Sets bits in a bitmap whose bit 0 stands for `base` and whose bits stand for `pageBytes` bytes each (a power of two,
 * 4096 or more). Bits are only ever set. Without a bitmap it just gathers.
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

  small(iova: number, mask: number): void {
    this.leaves += popCount(mask);
    if (iova < this.first) this.first = iova;
    const end = iova + (32 - Math.clz32(mask)) * IOMMU_PAGE;
    if (end > this.end) this.end = end;
    const { bitmap } = this;
    if (bitmap === undefined) return;
    if (this.pageBytes === IOMMU_PAGE) {
      const bit = (iova - this.base) / IOMMU_PAGE;
      const shift = bit & 31;
      bitmap.orWord(bit >>> 5, mask << shift);
      if (shift !== 0 && mask >>> (32 - shift) !== 0) bitmap.orWord((bit >>> 5) + 1, mask >>> (32 - shift));
      return;
    }
    for (let i = 0; i < 32; i++) {
      if ((mask >>> i) & 1) bitmap.set(Math.floor((iova + i * IOMMU_PAGE - this.base) / this.pageBytes));
    }
  }

  large(iova: number, bytes: number): void {
    this.leaves++;
    if (iova < this.first) this.first = iova;
    if (iova + bytes > this.end) this.end = iova + bytes;
    const { bitmap, base, pageBytes } = this;
    if (bitmap === undefined) return;
    // A leaf may reach beyond either end of the range that was asked for.
    let bit = Math.max(0, Math.floor((iova - base) / pageBytes));
    const end = Math.min(bitmap.length, Math.ceil((iova + bytes - base) / pageBytes));
    while (bit < end) {
      if ((bit & 31) === 0 && bit + 32 <= end) {
        bitmap.orWord(bit >>> 5, -1);
        bit += 32;
      } else {
        bitmap.set(bit++);
      }
    }
  }
}
