/**
 * An I/O address space (IOMMUFD's IOAS): areas of I/O virtual addresses mapped to host memory, and the page tables
 * that carry them. Names, granularity and errors follow Linux (include/uapi/linux/iommufd.h).
 */
import { iommuErrors } from '../errors.js';
import type { VtdDriver } from './driver.js';
import { IoPageTable } from './io-page-table.js';
import { descriptors } from './queue-client.js';
import { MAP_READ, MAP_WRITE, type TableFormat } from './table-formats.js';

const IOMMU_PAGE = 4096;
/** Writes here are interrupts, whatever is mapped: a reserved region of every address space. */
const INTERRUPT_BASE = 0xfee0_0000;
const INTERRUPT_END = 0xfef0_0000;

export interface Area {
  readonly iova: number;
  readonly bytes: number;
  /** Host address that `iova` maps to. */
  readonly target: number;
  readonly rights: number;
}

export interface IoasOptions {
  /** IOMMU_OPTION_HUGE_PAGES: false maps everything with 4 KiB leaves. */
  readonly hugePages?: boolean;
}

export function refuse(operation: string, errno: string, problem: string): never {
  throw iommuErrors.error('refused', { operation, errno, problem });
}

/** A page table of an address space, with its domain id; every HWPT has one. */
export interface IoasTable {
  readonly domain: number;
  readonly table: IoPageTable;
  /** Largest leaves new mappings get. */
  largest: number;
}

export class Ioas {
  /** IOMMU_OPTION_HUGE_PAGES; applies to mappings made from now on. */
  hugePages: boolean;
  private readonly driver: VtdDriver;
  private readonly areas: Area[] = [];
  private readonly tables: IoasTable[] = [];

  constructor(driver: VtdDriver, options: IoasOptions = {}) {
    this.driver = driver;
    this.hugePages = options.hugePages ?? true;
  }

  /** All areas, by address. */
  get mapped(): readonly Area[] {
    return this.areas;
  }

  /**
   * IOMMU_IOAS_MAP with a fixed IOVA. EINVAL for what is not in whole pages, maps nothing or touches the interrupt
   * range, EOVERFLOW beyond the tables, EEXIST over another area, ENOMEM without table memory; nothing is mapped then.
   */
  map(iova: number, target: number, bytes: number, access: { read: boolean; write: boolean }): void {
    const operation = 'IOMMU_IOAS_MAP';
    if (![iova, target, bytes].every(Number.isSafeInteger) || iova < 0 || target < 0 || bytes <= 0) {
      refuse(operation, 'EINVAL', `range ${iova} + ${bytes} to ${target}`);
    }
    if (iova % IOMMU_PAGE !== 0 || target % IOMMU_PAGE !== 0 || bytes % IOMMU_PAGE !== 0) {
      refuse(operation, 'EINVAL', `addresses and length must be multiples of ${IOMMU_PAGE}`);
    }
    if (!access.read && !access.write) refuse(operation, 'EINVAL', 'neither readable nor writable');
    if (iova < INTERRUPT_END && iova + bytes > INTERRUPT_BASE) {
      refuse(operation, 'EINVAL', 'the range holds addresses that are reserved for interrupts');
    }
    if (this.tables.some(({ table }) => iova + bytes > table.limit)) {
      refuse(operation, 'EOVERFLOW', `0x${(iova + bytes).toString(16)} is beyond the page table`);
    }
    const at = this.areas.findIndex((area) => area.iova + area.bytes > iova);
    const next = at < 0 ? undefined : this.areas[at]!;
    if (next !== undefined && next.iova < iova + bytes) {
      refuse(operation, 'EEXIST', `0x${next.iova.toString(16)} is mapped already`);
    }
    const rights = (access.read ? MAP_READ : 0) | (access.write ? MAP_WRITE : 0);
    const area = { iova, bytes, target, rights };
    const done: IoasTable[] = [];
    try {
      for (const owner of this.tables) {
        done.push(owner);
        this.mapInto(owner, area);
      }
    } catch (error) {
      for (const owner of done) this.unmapFrom(owner, area);
      throw error;
    }
    this.areas.splice(at < 0 ? this.areas.length : at, 0, area);
  }

  /**
   * IOMMU_IOAS_UNMAP: whole areas only. ENOENT if the range holds no area or cuts one. When it returns no device can
   * reach the memory, and everything devices wrote to it is visible. Returns the bytes unmapped.
   */
  unmap(iova: number, bytes: number): number {
    const end = iova + bytes;
    const hit = this.areas.filter((area) => area.iova < end && area.iova + area.bytes > iova);
    if (hit.length === 0) refuse('IOMMU_IOAS_UNMAP', 'ENOENT', `nothing is mapped at 0x${iova.toString(16)}`);
    const cut = hit.find((area) => area.iova < iova || area.iova + area.bytes > end);
    if (cut !== undefined) {
      refuse('IOMMU_IOAS_UNMAP', 'ENOENT', `the range cuts the area at 0x${cut.iova.toString(16)}`);
    }
    for (const owner of this.tables) for (const area of hit) this.unmapFrom(owner, area);
    for (const area of hit) this.areas.splice(this.areas.indexOf(area), 1);
    return hit.reduce((sum, area) => sum + area.bytes, 0);
  }

  unmapAll(): number {
    return this.areas.length === 0 ? 0 : this.unmap(0, Number.MAX_SAFE_INTEGER);
  }

  /** Whether [iova, iova + bytes) is mapped without a hole. */
  covers(iova: number, bytes: number): boolean {
    let reached = iova;
    for (const area of this.areas) {
      if (area.iova > reached) break;
      if (area.iova + area.bytes > reached) reached = area.iova + area.bytes;
    }
    return reached >= iova + bytes;
  }

  /** A new page table with everything mapped so far. */
  addTable(levels: number, format: TableFormat): IoasTable {
    const table = new IoPageTable(this.driver.pages, levels, format);
    const owner = { domain: this.driver.takeDomain(), table, largest: 2 };
    try {
      for (const area of this.areas) {
        if (area.iova + area.bytes > table.limit)
          refuse('IOMMU_HWPT_ALLOC', 'EOVERFLOW', 'an area is beyond the table');
        this.mapInto(owner, area);
      }
    } catch (error) {
      table.destroy();
      this.driver.giveDomain(owner.domain);
      throw error;
    }
    this.tables.push(owner);
    return owner;
  }

  /** Takes a table out of use; no device may be attached to it. */
  removeTable(owner: IoasTable): void {
    this.tables.splice(this.tables.indexOf(owner), 1);
    this.driver.queue.submit(descriptors.domain(owner.domain));
    owner.table.destroy();
    this.driver.giveDomain(owner.domain);
  }

  private mapInto(owner: IoasTable, area: Area): void {
    owner.table.map(area.iova, area.target, area.bytes, area.rights, this.hugePages ? owner.largest : 0);
  }

  private unmapFrom({ table, domain }: IoasTable, area: Area): void {
    table.unmap(area.iova, area.bytes);
    // Table pages that were unlinked may be walked until the caches of non-leaf entries are gone as well.
    const leafOnly = !table.hasUnlinked;
    this.driver.queue.submit(descriptors.range(domain, area.iova, area.iova + area.bytes, leafOnly));
    table.reclaim();
  }
}
