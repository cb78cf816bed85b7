/** The dirty bits of VT-d's second-stage tables, beside the vCPUs' log: names the pages that devices really wrote. */
import { ordinary } from '../approach.js';
import type { TrackingDescriptor } from './tracking.js';
import { unionWith } from './union.js';

export const iommuDirty: TrackingDescriptor = {
  ...ordinary,
  name: 'iommu-dirty',
  text: "the dirty bits of VT-d's second-stage tables: the pages that the device really wrote",
  needs: ['dma'],
  converges: true,
  make: (machine, devices) => unionWith(machine, devices, 'dirty-bits'),
};
