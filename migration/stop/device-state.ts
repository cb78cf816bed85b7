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
  steps: [
    'before the first round and after each, VFIO gives what of the state may travel ahead (PRE_COPY)',
    'before the vCPUs stop, the device begins no DMA any more (PRE_COPY_P2P)',
    'while they stand still the rest of its state is read out (STOP_COPY) and sent behind the last pages',
    'should the migration fail, the device goes on as it was (RUNNING)',
  ],
  use: 'Whenever source and destination have the same kind of device: the guest notices nothing but the blackout.',
  limits: 'The device must speak VFIO migration, and only a device of the same kind takes its state.',
  goals: { blackoutMs: 10, gapMs: 25 },
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
