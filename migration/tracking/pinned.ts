/**
 * The baseline, which needs nothing of device or IOMMU: every page that is mapped for DMA counts as written, in every
 * pass. It is right and it never converges: what is mapped is sent again while the guest stands still.
 */
import type { DmaWriter, SourceMachine } from '../ports.js';
import type { DirtyTracking } from './tracking.js';
import { unionWith } from './union.js';

export function pinned(machine: SourceMachine, device: DmaWriter): DirtyTracking {
  return { ...unionWith(machine, device, 'pinned'), converges: false };
}
