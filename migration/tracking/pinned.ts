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
  steps: [
    'every page that is mapped for DMA is named by every harvest, written or not',
    'the pages are sent again in every round, and once more while the guest stands still',
  ],
  use: 'As the baseline, and where neither the IOMMU nor the guest tells what the device writes.',
  limits:
    'It never converges: all that is mapped is sent during the blackout. A guest that maps all of its memory for the device is copied while it stands still.',
  needs: ['dma'],
  converges: false,
  make: (machine, devices) => unionWith(machine, devices, 'mapped-pages'),
};
