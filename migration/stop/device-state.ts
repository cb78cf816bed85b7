/**
 * VFIO migration, version 2: the guest has no part in it. The device is held still, and its state is read out of it,
 * most of it while it still runs.
 */
import type { VfioDevice } from '../ports.js';
import type { DeviceStop } from './stop.js';

export function stopByDeviceState(device: VfioDevice): DeviceStop {
  return {
    name: 'device-state',
    preCopy: () => device.preCopy(),
    quiesce: () => device.quiesce(),
    stopCopy: () => device.stopCopy(),
    records: () => device.save(),
    resume: () => device.resume(),
  };
}
