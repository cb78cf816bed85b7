/** How fast the page kernels are, against a plain SIMD read of the same memory, taking turns with it. */
import { invariant } from '../../base/errors.js';
import { MIB, PAGE_BYTES } from '../../base/units.js';
import { kernelOn } from '../../vmm/kernels/load.js';
import { simdKernels } from '../../vmm/transfer/kernels.js';
import { median } from '../report/median.js';

export interface BenchKernelsOptions {
  /** Memory to work on, a multiple of 1 MiB; far larger than the caches, or the figures are theirs. */
  readonly bytes?: number;
  readonly runs?: number;
}

export interface BenchKernelsResult {
  readonly bytes: number;
  /** Medians in GB/s (10^9 bytes a second). */
  readonly plainRead: number;
  readonly zeroScan: number;
  readonly pageHash: number;
  /** Zero scan of empty pages over plain read. */
  readonly scanRatio: number;
}

interface PlainRead {
  read(at: number, lengthBytes: number): number;
}

export function benchKernels(options: BenchKernelsOptions = {}): BenchKernelsResult {
  const { bytes = 512 * MIB, runs = 7 } = options;
  invariant(bytes % MIB === 0 && bytes > 0 && runs >= 1, 'whole MiB, and at least one run');
  const memory = new WebAssembly.Memory({ initial: bytes / 65536, maximum: 65536, shared: true });
  const pages = bytes / PAGE_BYTES;
  const ram = new Uint8Array(memory.buffer);
  for (let page = 0; page < pages; page++) ram[page * PAGE_BYTES] = 0; // memory that was never touched isn't there
  const kernels = simdKernels(memory);
  const plain = kernelOn<PlainRead>('plain-read', memory);
  const table = new Uint32Array(2 * pages);
  const reads: number[] = [];
  const scans: number[] = [];
  const hashes: number[] = [];
  for (let run = 0; run <= runs; run++) {
    const read = rate(bytes, () => {
      for (let at = 0; at < bytes; at += 32 * PAGE_BYTES) plain.read(at, 32 * PAGE_BYTES);
    });
    const scan = rate(bytes, () => {
      for (let page = 0; page < pages; page += 32) {
        invariant(kernels.zeroMask(page, -1) === -1, 'the memory to be scanned is not empty');
      }
    });
    const hash = rate(bytes, () => {
      for (let page = 0; page < pages; page++) kernels.hash(page, run, table, 2 * page);
    });
    if (run === 0) continue; // code is compiled
    reads.push(read);
    scans.push(scan);
    hashes.push(hash);
  }
  const plainRead = median(reads);
  const zeroScan = median(scans);
  return { bytes, plainRead, zeroScan, pageHash: median(hashes), scanRatio: zeroScan / plainRead };
}

function rate(bytes: number, work: () => void): number {
  const start = performance.now();
  work();
  return bytes / ((performance.now() - start) * 1e6);
}
