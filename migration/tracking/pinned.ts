/**
 * The baseline, which needs nothing of device or IOMMU: every page that is mapped for DMA counts as written, in every
 * pass. It is right and it never converges: what is mapped is sent again while the guest stands still.
 */
import { ordinary } from '../approach.js';
import type { TrackingDescriptor } from './tracking.js';
import { unionWith } from './union.js';

export const pinned: TrackingDescriptor = {
  ...ordinary,
  name: 'pinned',
  text: 'every page that is mapped for the device counts as written, in every round',
  needs: ['dma'],
  converges: false,
  make: (machine, devices) => unionWith(machine, devices, 'mapped-pages'),
};
