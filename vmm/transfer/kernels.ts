/** The SIMD page kernels on guest RAM, behind the interface that the page cores use. */
import { countTrailingZeros } from '../../base/bitmap.js';
import { PAGE_BYTES } from '../../base/units.js';
import type { PageKernels } from '../../migration/pages/page-kernels.js';
import { kernelOn } from '../kernels/load.js';

interface ZeroScan {
  zero_mask(firstPage: number, candidates: number): number;
}

interface PageHash {
  page_hash(page: number, seed: number): number;
  hash_high(): number;
}

const made = new WeakMap<WebAssembly.Memory, PageKernels>();

/** Kernels over `memory`, for pages that lie in it whole; nothing is allocated per page. */
export function simdKernels(memory: WebAssembly.Memory): PageKernels {
  const known = made.get(memory);
  if (known !== undefined) return known;
  const kernels = instantiate(memory);
  made.set(memory, kernels);
  return kernels;
}

function instantiate(memory: WebAssembly.Memory): PageKernels {
  const scan = kernelOn<ZeroScan>('zero-scan', memory);
  const hasher = kernelOn<PageHash>('page-hash', memory);
  return {
    zeroMask: (firstPage, candidates) => scan.zero_mask(firstPage, candidates),
    hash(page, seed, table, at) {
      table[at] = hasher.page_hash(page, seed);
      table[at + 1] = hasher.hash_high();
    },
  };
}

/** Pages that `zeroMask` looks at, at most. */
const MASK_PAGES = 32;

let scratch: { readonly copies: Uint8Array; readonly kernels: PageKernels } | undefined;

/** One for all: nobody is interrupted between copying pages to it and looking at them there. */
function scratchMemory(): NonNullable<typeof scratch> {
  if (scratch === undefined) {
    const pages = (MASK_PAGES * PAGE_BYTES) / 65536;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    scratch = { copies: new Uint8Array(memory.buffer), kernels: simdKernels(memory) };
  }
  return scratch;
}

/** The same over bytes that are no WebAssembly memory, or of which nobody knows whose: each page is copied to one. */
export function copyingKernels(ram: Uint8Array): PageKernels {
  const { copies, kernels } = scratchMemory();
  const copy = (page: number, count: number, to: number): void =>
    copies.set(ram.subarray(page * PAGE_BYTES, (page + count) * PAGE_BYTES), to * PAGE_BYTES);
  return {
    zeroMask(firstPage, candidates) {
      if (candidates === -1) copy(firstPage, MASK_PAGES, 0);
      else {
        for (let rest = candidates; rest !== 0; rest &= rest - 1) {
          const bit = countTrailingZeros(rest);
          copy(firstPage + bit, 1, bit);
        }
      }
      return kernels.zeroMask(0, candidates);
    },
    hash(page, seed, table, at) {
      copy(page, 1, 0);
      kernels.hash(0, seed, table, at);
    },
  };
}

/** Bytes of `memory` as a Buffer, whose `subarray` gives Buffers again: what sockets take without a conversion. */
export function memoryBuffer(memory: WebAssembly.Memory): Buffer {
  return Buffer.from(memory.buffer);
}

/** Pages of `memory`. */
export function memoryPages(memory: WebAssembly.Memory): number {
  return Math.floor(memory.buffer.byteLength / PAGE_BYTES);
}

/** Hashes pages of `memory`, two words a page. */
export function pageHasherOn(
  memory: WebAssembly.Memory,
): (firstPage: number, pageCount: number) => Uint32Array {
  let kernels: PageKernels | undefined;
  return (firstPage, pageCount) => {
    kernels ??= simdKernels(memory);
    const table = new Uint32Array(2 * pageCount);
    for (let i = 0; i < pageCount; i++) kernels.hash(firstPage + i, 0, table, 2 * i);
    return table;
  };
}
