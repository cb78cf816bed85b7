/** The dirty bits of VT-d's tables, of either stage, beside the vCPUs' log: names the pages that devices really wrote. */
import { ordinary } from '../approach.js';
import type { TrackingDescriptor } from './tracking.js';
import { unionWith } from './union.js';

export const iommuDirty: TrackingDescriptor = {
  ...ordinary,
  name: 'iommu-dirty',
  text: "the dirty bits of VT-d's tables: the pages that the device really wrote",
  steps: [
    'VT-d is told to keep dirty bits in its second-stage tables (those of the first stage are always kept), and those that are set are cleared',
    'before each harvest the bits of all mapped pages are tested and cleared, and the IOTLB is invalidated with a drain of writes',
    'the pages found are sent with those that the vCPUs stored to',
  ],
  use: 'Wherever the IOMMU has dirty bits: the guest has no part in it, and only pages that were written are sent again.',
  limits:
    'A bit stands for a leaf of the tables: with large leaves a few packets name megabytes. Each harvest reads the tables of all that is mapped.',
  needs: ['dma'],
  converges: true,
  byLeaf: true,
  make: (machine, devices) => unionWith(machine, devices, 'dirty-bits'),
};
