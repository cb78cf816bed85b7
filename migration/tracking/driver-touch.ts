/** The guest's network driver writes back a byte of each buffer that it has received: as the patch series of 2015 did it. */
import { ordinary } from '../approach.js';
import { touchNoMore, trackByTouch } from './touch.js';
import type { TrackingDescriptor } from './tracking.js';

/** The guest's feature, and the request. */
const REQUEST = 'rxwb';

export const driverTouch: TrackingDescriptor = {
  ...ordinary,
  name: 'driver-touch',
  text: "the guest's network driver writes back a byte of each buffer that it has received",
  steps: [
    'the driver is asked to write back the first byte of each received frame, in its buffer',
    'these stores are in the log of the vCPUs, which each harvest collects',
    'when devices and vCPUs stand still, every page that the guest counts as mapped for a device is in the last pass; a driver that takes its rings down touches them',
    'the guest is told to touch no more, here or, when it has moved, at the destination',
  ],
  use: 'To compare with unmap-touch, which asks nothing of drivers.',
  limits:
    'Every driver must do it by itself, and a path that forgets it loses bytes silently. All that is mapped when the device stops travels in the blackout.',
  needs: ['guest'],
  guestFeatures: [REQUEST],
  converges: true,
  arrived: (devices, limits) => touchNoMore(devices, REQUEST, limits),
  make: (machine, devices) => trackByTouch(machine, devices, REQUEST),
};
