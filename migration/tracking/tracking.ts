/**
 * Dirty tracking: how the migration learns which pages were written since it last asked. Chosen independently of how
 * a device is stopped and started; the set it reports is always the union of all writers.
 */
import type { AtomicBitmap } from '../../base/bitmap.js';
import type { HarvestReport } from '../ports.js';

export interface DirtyTracking {
  readonly name: string;
  /** Every write after this resolves is reported by a later harvest; every write before it is in RAM. */
  start(): Promise<void>;
  /** Moves the log into `into`. A page is read for sending only after the harvest that cleared its log resolved. */
  harvest(into: AtomicBitmap): Promise<HarvestReport>;
  stop(): Promise<void>;
}
