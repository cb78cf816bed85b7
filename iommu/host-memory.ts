/**
 * Host physical memory of the model: where VT-d's tables, queues and posted-interrupt descriptors live, and what a
 * translated DMA request reaches. A few regions (host tables, guest RAM), each over a SharedArrayBuffer, so that the
 * driver in one thread and the unit in another see the same bytes.
 *
 * Table entries of 64 bits are two 32-bit words. Hardware and software both change the low one (present, accessed,
 * dirty) with atomic operations; the high one is written before the low one makes the entry valid.
 */
import { invariant } from '../base/errors.js';
import type { Hpa } from '../base/units.js';

export class HostRegion {
  readonly base: number;
  /** First address after the region. */
  readonly end: number;
  readonly words: Int32Array;
  readonly bytes: Uint8Array;

  constructor(base: Hpa, buffer: SharedArrayBuffer) {
    invariant(base % 4096 === 0 && buffer.byteLength % 4096 === 0, 'host regions are whole pages');
    this.base = base;
    this.end = base + buffer.byteLength;
    this.words = new Int32Array(buffer);
    this.bytes = new Uint8Array(buffer);
  }

  /** Index of the word at an address inside the region. */
  index(address: number): number {
    return (address - this.base) >>> 2;
  }
}

export class HostMemory {
  readonly regions: readonly HostRegion[];
  private last: HostRegion;

  constructor(regions: readonly HostRegion[]) {
    invariant(regions.length > 0, 'host memory without a region');
    const ordered = [...regions].sort((a, b) => a.base - b.base);
    for (let i = 1; i < ordered.length; i++) {
      invariant(ordered[i - 1]!.end <= ordered[i]!.base, 'host regions overlap');
    }
    this.regions = ordered;
    this.last = ordered[0]!;
  }

  /** The region that holds all of [address, address + lengthBytes), or undefined: nothing answers there. */
  find(address: number, lengthBytes: number): HostRegion | undefined {
    const { last } = this;
    if (address >= last.base && address + lengthBytes <= last.end) return last;
    for (let i = 0; i < this.regions.length; i++) {
      const region = this.regions[i]!;
      if (address >= region.base && address + lengthBytes <= region.end) {
        this.last = region;
        return region;
      }
    }
    return undefined;
  }

  /** Copies `count` words at a word-aligned address to `target`; false if they are not all in one region. */
  load(address: number, target: Uint32Array, count: number): boolean {
    const region = this.find(address, count * 4);
    if (region === undefined) return false;
    const index = region.index(address);
    for (let i = 0; i < count; i++) target[i] = Atomics.load(region.words, index + i);
    return true;
  }

  /** Stores one word at a word-aligned address and wakes who waits for it; false if nothing answers there. */
  store(address: number, value: number): boolean {
    const region = this.find(address, 4);
    if (region === undefined) return false;
    Atomics.store(region.words, region.index(address), value | 0);
    Atomics.notify(region.words, region.index(address));
    return true;
  }
}
