/** The guest's DMA layer touches what it unmaps or gives to the CPU: for every driver, without a line in any of them. */
import { ordinary } from '../approach.js';
import { touchNoMore, trackByTouch } from './touch.js';
import type { TrackingDescriptor } from './tracking.js';

/** The guest's feature, and the request. */
const REQUEST = 'umap';

export const unmapTouch: TrackingDescriptor = {
  ...ordinary,
  name: 'unmap-touch',
  text: "the guest's DMA layer touches each page that a device wrote, on unmap and on sync for the CPU",
  steps: [
    'the guest is asked to touch: on unmap and sync for the CPU of what a device may write, one atomic store a page that changes nothing',
    'these stores are in the log of the vCPUs, which each harvest collects',
    'when devices and vCPUs stand still, every page that the guest counts as mapped for a device is in the last pass: rings and posted buffers are written while they are mapped',
    'the guest is told to touch no more, here or, when it has moved, at the destination',
  ],
  use: 'Where neither IOMMU nor device tell what is written: it works with every driver that keeps to the DMA API.',
  limits:
    'The guest must help, and its word is believed. All that is mapped when the device stops travels in the blackout, and it must have stopped by then.',
  needs: ['guest'],
  guestFeatures: [REQUEST],
  converges: true,
  arrived: (devices, limits) => touchNoMore(devices, REQUEST, limits),
  make: (machine, devices) => trackByTouch(machine, devices, REQUEST),
};
