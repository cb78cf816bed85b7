/** What the review of 2015 asked for as mixed mode: no scan where the guest says that it marks pages by itself. */
import { ordinary } from '../approach.js';
import { iommuDirty } from './iommu-dirty.js';
import type { TrackingDescriptor } from './tracking.js';
import { unmapTouch } from './unmap-touch.js';

export const hybrid: TrackingDescriptor = {
  ...ordinary,
  name: 'hybrid',
  text: 'unmap-touch where the guest offers it, else iommu-dirty',
  steps: [
    'the guest of each device is asked what it offers',
    'if all of them offer to touch what they unmap, they are told to, and the IOMMU is not scanned',
    'else, or if one of them does not answer in time, the dirty bits of the IOMMU are read, as with iommu-dirty',
  ],
  use: 'To spare the scan where the guest helps, without relying on it.',
  limits: 'Those of the way that is taken; which one it was is in the record.',
  needs: [],
  converges: true,
  tries: [unmapTouch, iommuDirty],
  make: unmapTouch.make,
};
