/**
 * Dirty tracking: how the migration learns which pages were written since it last asked. Chosen independently of how
 * devices are stopped and started; the set it reports is always the union of all writers.
 */
import type { AtomicBitmap } from '../../base/bitmap.js';
import type { Descriptor } from '../approach.js';
import type { RequestLimits } from '../patience.js';
import type { AssignedDevice, HarvestReport, SourceMachine } from '../ports.js';

export interface DirtyTracking {
  /**
   * Every write after this resolves is reported by a later harvest; every write before it is in RAM. `limits` are for who asks
   * the guest for something.
   */
  start(limits: RequestLimits): Promise<void>;
  /**
   * Moves the log into `into`. A page is read for sending only after the harvest that cleared its log resolved. `last`:
   * everything stands still, and no other harvest follows.
   */
  harvest(into: AtomicBitmap, last: boolean): Promise<HarvestReport>;
  /** Harmless if `start` failed or never came. `limits`: see `start`. */
  stop(limits: RequestLimits): Promise<void>;
}

export interface TrackingDescriptor extends Descriptor {
  /** False if some pages are named by every harvest, written or not: then further rounds gain nothing. */
  readonly converges: boolean;
  /** What it reads stands for leaves of the IOMMU's tables, however large they are; for pages where this is not said. */
  readonly byLeaf?: boolean;
  /**
   * Not one way but several: the first that fits the machine and its guest is used. Only its own descriptor counts then, and it
   * is what is recorded.
   */
  readonly tries?: readonly TrackingDescriptor[];
  /** At the destination, when the guest runs there: what was switched on in it is switched off. Of those that do that. */
  readonly arrived?: (devices: readonly AssignedDevice[], limits: RequestLimits) => Promise<void>;
  readonly make: (machine: SourceMachine, devices: readonly AssignedDevice[]) => DirtyTracking;
}
