/**
 * Dirty tracking: how the migration learns which pages were written since it last asked. Chosen independently of how
 * a device is stopped and started; the set it reports is always the union of all writers.
 */
import type { AtomicBitmap } from '../../base/bitmap.js';
import type { HarvestReport } from '../ports.js';

export const TRACKINGS = ['cpu-log', 'iommu-dirty', 'pinned'] as const;
export type TrackingName = (typeof TRACKINGS)[number];

export interface DirtyTracking {
  readonly name: TrackingName;
  /** False if some pages are named by every harvest, written or not: then further rounds gain nothing. */
  readonly converges: boolean;
  /** Every write after this resolves is reported by a later harvest; every write before it is in RAM. */
  start(): Promise<void>;
  /** Moves the log into `into`. A page is read for sending only after the harvest that cleared its log resolved. */
  harvest(into: AtomicBitmap): Promise<HarvestReport>;
  stop(): Promise<void>;
}
