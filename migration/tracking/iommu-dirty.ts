/** The dirty bits of VT-d's second-stage tables, beside the vCPUs' log: names the pages that the device really wrote. */
import type { DmaWriter, SourceMachine } from '../ports.js';
import type { DirtyTracking } from './tracking.js';
import { unionWith } from './union.js';

export function iommuDirty(machine: SourceMachine, device: DmaWriter): DirtyTracking {
  return { ...unionWith(machine, device, 'iommu-dirty'), converges: true };
}
