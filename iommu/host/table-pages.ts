/** Pages of host memory for the unit's tables: one owner, a free list, zeroed when handed out. */
import { invariant } from '../../base/errors.js';
import { iommuErrors } from '../errors.js';
import type { HostRegion } from '../host-memory.js';
import { type LeafScanner, plainLeafScanner } from './leaf-scanner.js';

const PAGE = 4096;

export class TablePages {
  readonly region: HostRegion;
  /** Scans leaf tables in this region. */
  readonly scanner: LeafScanner;
  private readonly end: number;
  private readonly free: number[] = [];
  /** First page never handed out so far. */
  private fresh: number;

  /**
   * The pages of `region` from byte `start` to its end belong to this allocator alone. `scanner`, if given, works on
   * the same memory and replaces the one in plain JavaScript.
   */
  constructor(region: HostRegion, start = 0, scanner: LeafScanner = plainLeafScanner(region.words)) {
    invariant(start % PAGE === 0, 'table pages start at a page');
    this.region = region;
    this.scanner = scanner;
    this.fresh = region.base + start;
    this.end = region.end;
  }

  /** Pages that can still be had. */
  get available(): number {
    return this.free.length + (this.end - this.fresh) / PAGE;
  }

  /** Address of `count` consecutive zeroed pages. Throws `iommu/refused` (ENOMEM) when there are none. */
  take(count = 1): number {
    let address = count === 1 ? this.free.pop() : undefined;
    if (address === undefined) {
      if (this.fresh + count * PAGE > this.end) {
        const problem = `no host memory left for ${count} table pages`;
        throw iommuErrors.error('refused', { operation: 'table allocation', errno: 'ENOMEM', problem });
      }
      address = this.fresh;
      this.fresh += count * PAGE;
    }
    const at = address - this.region.base;
    this.region.bytes.fill(0, at, at + count * PAGE);
    return address;
  }

  /** Takes a page back; the unit must not be able to reach it any more, by table or by cache. */
  give(address: number): void {
    this.free.push(address);
  }
}
