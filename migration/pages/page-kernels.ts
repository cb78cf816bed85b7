/** What page workers do to pages besides moving them, as an interface: SIMD kernels in `vmm`, plain code here. */
import { PAGE_BYTES } from '../../base/units.js';
import { referencePageHash } from './page-hash.js';

export interface PageKernels {
  /**
   * Which of up to 32 pages are all zero: bit i of `candidates` and of the result is page `firstPage + i`. May be
   * called while the guest writes.
   */
  zeroMask(firstPage: number, candidates: number): number;
  /** Stores the hash of `page` under `seed` in `table[at]` (low) and `table[at + 1]` (high). */
  hash(page: number, seed: number, table: Uint32Array, at: number): void;
}

/** Kernels in plain code over `ram`: slow, and independent of the SIMD ones. */
export function referenceKernels(ram: Uint8Array): PageKernels {
  const isZero = (page: number): boolean => {
    const end = (page + 1) * PAGE_BYTES;
    for (let at = page * PAGE_BYTES; at < end; at++) if (ram[at] !== 0) return false;
    return true;
  };
  return {
    zeroMask(firstPage, candidates) {
      let mask = 0;
      for (let bit = 0; bit < 32; bit++) {
        if ((candidates & (1 << bit)) !== 0 && isZero(firstPage + bit)) mask |= 1 << bit;
      }
      return mask;
    },
    hash(page, seed, table, at) {
      const from = page * PAGE_BYTES;
      referencePageHash(ram.subarray(from, from + PAGE_BYTES), seed, table, at);
    },
  };
}

/** Hash of an all-zero page under `seed`, computed without looking at RAM that may change meanwhile. */
export function zeroPageHash(seed: number): Uint32Array {
  const hash = new Uint32Array(2);
  referencePageHash(new Uint8Array(PAGE_BYTES), seed, hash, 0);
  return hash;
}
