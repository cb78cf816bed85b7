/**
 * A hardware page table (IOMMUFD's HWPT): an address space as devices see it, and the dirty tracking of their writes.
 *
 * The contract of `readDirty` is what migration rests on: a page reported may be copied once `readDirty` has returned,
 * because by then the invalidation after the clearing has completed, its writes drained. A write that hit a stale
 * cached entry in between left no new bit; it is in the page that was reported, and visible. Copying earlier, or
 * dropping a bit that was read, loses it.
 */
import type { AtomicBitmap } from '../../base/bitmap.js';
import { type FaultPlan, NO_FAULTS } from '../../base/fault.js';
import { DirtyReport } from './dirty-sink.js';
import type { Attachment, VtdDriver } from './driver.js';
import type { Ioas, IoasTable } from './ioas.js';
import { refuse } from './ioas.js';
import { descriptors } from './queue-client.js';
import { FIRST_STAGE, SECOND_STAGE, type TableFormat } from './table-formats.js';

const IOMMU_PAGE = 4096;

export interface HwptOptions {
  /** IOMMU_HWPT_ALLOC_DIRTY_TRACKING. */
  readonly dirtyTracking?: boolean;
  /** Which of the two formats the table has; `second` if absent. The first stage's bits are always on. */
  readonly stage?: TableFormat['stage'];
  /** Levels of the table: 3, 4 or 5, of the first stage 4 or 5. */
  readonly levels?: number;
  /** Split large leaves while tracking is on, so that one write reports one page, and join them again afterwards. */
  readonly demote?: boolean;
  readonly faults?: FaultPlan;
}

export interface DirtyRequest {
  readonly iova: number;
  readonly bytes: number;
  /** Bytes that one bit stands for: a power of two, 4096 or more. */
  readonly pageBytes?: number;
  /** IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR: an unmap follows, so nothing is cleared or invalidated. */
  readonly noClear?: boolean;
}

/** A requester attached to the table. */
interface Attached {
  readonly source: number;
  readonly pasid: number | undefined;
}

export class Hwpt {
  readonly ioas: Ioas;
  readonly tracksDirty: boolean;
  private readonly driver: VtdDriver;
  private readonly owner: IoasTable;
  private readonly demote: boolean;
  private readonly faults: FaultPlan;
  private readonly attached: Attached[] = [];
  private tracking = false;
  /** Of the defect that drains only at the next scan. */
  private late: { readonly first: number; readonly end: number } | undefined;

  /** IOMMU_HWPT_ALLOC. EOPNOTSUPP if tracking is wanted and the unit can't. */
  constructor(driver: VtdDriver, ioas: Ioas, options: HwptOptions = {}) {
    const { dirtyTracking = false, stage = 'second', levels = 4, demote = false } = options;
    const { faults = NO_FAULTS } = options;
    const format = stage === 'first' ? FIRST_STAGE : SECOND_STAGE;
    if (stage === 'first' && !driver.hasFirstStage) {
      refuse('IOMMU_HWPT_ALLOC', 'EOPNOTSUPP', 'the unit has no first-stage tables');
    }
    if (dirtyTracking && stage === 'second' && !driver.canTrackDirty) {
      refuse('IOMMU_HWPT_ALLOC', 'EOPNOTSUPP', 'the unit keeps no second-stage dirty bits');
    }
    if (!format.levels.includes(levels)) refuse('IOMMU_HWPT_ALLOC', 'EINVAL', `${levels} levels`);
    this.driver = driver;
    this.ioas = ioas;
    this.tracksDirty = dirtyTracking;
    this.demote = demote;
    this.faults = faults;
    this.owner = ioas.addTable(levels, format);
  }

  get domain(): number {
    return this.owner.domain;
  }

  get isTracking(): boolean {
    return this.tracking;
  }

  /** Leaves of the table by size. */
  countLeaves(): readonly [number, number, number] {
    return this.owner.table.countLeaves();
  }

  /** VFIO_DEVICE_ATTACH_IOMMUFD_PT: requests of `source` (with `pasid`) go through this table. EBUSY if they do. */
  attach(source: number, pasid?: number): void {
    if (this.find(source, pasid) >= 0)
      refuse('attach', 'EBUSY', `requester 0x${source.toString(16)} is attached`);
    const { domain, table } = this.owner;
    const attachment: Attachment =
      table.format.stage === 'first'
        ? { kind: 'first', domain, table }
        : { kind: 'second', domain, table, track: this.tracking };
    this.driver.attach(source, attachment, pasid);
    this.attached.push({ source, pasid });
  }

  /**
   * IOMMU_HWPT_ALLOC with a nesting parent: requests of `source` with `pasid` go through a first-stage table of the
   * guest at guest address `first` (4 or 5 levels) and then through this one.
   */
  attachNested(source: number, pasid: number, first: number, firstLevels: 4 | 5): void {
    if (this.find(source, pasid) >= 0)
      refuse('attach', 'EBUSY', `requester 0x${source.toString(16)} is attached`);
    if (first % IOMMU_PAGE !== 0) refuse('attach', 'EINVAL', 'the first-stage table is not aligned');
    const { domain, table } = this.owner;
    if (table.format.stage === 'first')
      refuse('attach', 'EINVAL', 'a first-stage table is no nesting parent');
    this.driver.attach(
      source,
      { kind: 'nested', domain, table, track: this.tracking, first, firstLevels },
      pasid,
    );
    this.attached.push({ source, pasid });
  }

  /** VFIO_DEVICE_DETACH_IOMMUFD_PT: from here on the requester is blocked. ENOENT if it was not attached. */
  detach(source: number, pasid?: number): void {
    const at = this.find(source, pasid);
    if (at < 0) refuse('detach', 'ENOENT', `requester 0x${source.toString(16)} is not attached`);
    this.driver.detach(source, pasid);
    this.attached.splice(at, 1);
  }

  /** Takes the table out of use. EBUSY while a device is attached. */
  destroy(): void {
    if (this.attached.length > 0) refuse('IOMMU_DESTROY', 'EBUSY', 'devices are attached');
    this.ioas.removeTable(this.owner);
  }

  /**
   * IOMMU_HWPT_SET_DIRTY_TRACKING. Enabling first clears what stale bits there are; every write that the unit accepts
   * after this returns is reported by a later `readDirty`.
   */
  setDirtyTracking(on: boolean): void {
    if (!this.tracksDirty)
      refuse('IOMMU_HWPT_SET_DIRTY_TRACKING', 'EOPNOTSUPP', 'allocated without dirty tracking');
    if (on === this.tracking) return;
    const { domain, table } = this.owner;
    if (on) {
      if (this.demote) {
        this.owner.largest = 0;
        for (const { iova, bytes } of this.ioas.mapped) table.split(iova, bytes);
      }
      const nothing = new DirtyReport(undefined, 0, IOMMU_PAGE);
      for (const { iova, bytes } of this.ioas.mapped) table.scanDirty(iova, bytes, nothing, true);
    }
    this.tracking = on;
    // Invalidates the domain, so that nothing cached before goes on as dirty, or as part of a leaf that was split.
    if (table.format.stage === 'first') this.driver.queue.submit(descriptors.domain(domain));
    else for (const { source, pasid } of this.attached) this.driver.setTracking(source, domain, on, pasid);
    if (!on && this.demote) {
      this.owner.largest = 2;
      const largest = this.ioas.hugePages ? this.owner.largest : 0;
      for (const { iova, bytes } of this.ioas.mapped) table.join(iova, bytes, largest);
      this.driver.queue.submit(descriptors.domain(domain));
      table.reclaim();
    }
  }

  /**
   * IOMMU_HWPT_GET_DIRTY_BITMAP: sets the bit of every page in the range that was written since the bit was last
   * cleared; bit 0 stands for `iova`. A large leaf reports all of its pages. Bits are only set, in a `bitmap` that
   * nobody else may touch meanwhile. Returns the number of dirty leaves. EINVAL for misaligned ranges, page sizes that
   * are no power of two, holes, a bitmap too small, or while tracking is off.
   */
  readDirty(request: DirtyRequest, bitmap: AtomicBitmap): number {
    const operation = 'IOMMU_HWPT_GET_DIRTY_BITMAP';
    const { iova, bytes, pageBytes = IOMMU_PAGE, noClear = false } = request;
    if (!this.tracking) refuse(operation, 'EINVAL', 'tracking is off');
    const isPower = pageBytes >= IOMMU_PAGE && Number.isInteger(Math.log2(pageBytes));
    if (!isPower) refuse(operation, 'EINVAL', `page size ${pageBytes}`);
    if (
      !Number.isSafeInteger(iova + bytes) ||
      iova < 0 ||
      bytes <= 0 ||
      iova % pageBytes !== 0 ||
      bytes % pageBytes !== 0
    ) {
      refuse(operation, 'EINVAL', `the range is not in whole pages of ${pageBytes}`);
    }
    if (bitmap.length < bytes / pageBytes)
      refuse(operation, 'EINVAL', `the bitmap holds ${bitmap.length} bits`);
    if (!this.ioas.covers(iova, bytes)) refuse(operation, 'EINVAL', 'the range is not mapped without holes');
    const { table } = this.owner;
    const report = new DirtyReport(bitmap, iova, pageBytes);
    table.scanDirty(iova, bytes, report, !noClear);
    if (!noClear && report.leaves > 0) this.flush(report.first, report.end);
    return report.leaves;
  }

  /** When it returns, everything that the attached devices wrote until now is visible. */
  drain(): void {
    this.driver.queue.submit(descriptors.domain(this.owner.domain));
  }

  /** Invalidates and drains after leaves were cleared: one range for all of them, as Linux gathers it. */
  private flush(first: number, end: number): void {
    this.drainLate();
    const { faults } = this;
    if (faults.strikes('iommu/flush-skipped') !== undefined) return;
    if (faults.strikes('migration/copy-before-drain') !== undefined) this.late = { first, end };
    else this.submitRange(first, end);
  }

  /** The drain that the defect of copying before it has put off; it comes with the next one, after the copy. */
  private drainLate(): void {
    const { late } = this;
    this.late = undefined;
    if (late !== undefined) this.submitRange(late.first, late.end);
  }

  private submitRange(first: number, end: number): void {
    // Only leaves changed.
    this.driver.queue.submit(descriptors.range(this.owner.domain, first, end, true));
  }

  private find(source: number, pasid: number | undefined): number {
    return this.attached.findIndex((other) => other.source === source && other.pasid === pasid);
  }
}
