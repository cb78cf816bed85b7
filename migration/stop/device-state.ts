/**
 * VFIO migration, version 2: the guest has no part in it. The device is held still, and its state is read out of it,
 * most of it while it still runs.
 */
import { ordinary } from '../approach.js';
import type { VfioDevice } from '../ports.js';
import type { StopDescriptor } from './stop.js';

export const stopByDeviceState: StopDescriptor = {
  ...ordinary,
  name: 'device-state',
  text: 'VFIO migration: the device is held still and its state read out, most of it ahead',
  needs: ['vfio'],
  leaves: 'state',
  make: ({ vfio }) => {
    const device = vfio as VfioDevice;
    return {
      ahead: () => device.preCopy(),
      quiesce: () => device.quiesce(),
      stopCopy: () => device.stopCopy(),
      records: () => device.save(),
      resume: () => resumeOrReset(device),
    };
  },
};

/**
 * A device that can't go back (a failed step leaves VFIO's ERROR state, and only a reset leads out of it) is reset: its
 * driver in the guest finds it so and sets it up again, which is better than a guest with a dead device.
 */
async function resumeOrReset(device: VfioDevice): Promise<string | undefined> {
  try {
    await device.resume();
    return undefined;
  } catch (error) {
    await device.reset();
    return `was reset, because it could not go on as it was (${(error as Error).message}); its driver sets it up again`;
  }
}
