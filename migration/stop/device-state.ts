/**
 * VFIO migration, version 2: the guest has no part in it. The device is held still, and its state is read out of it,
 * most of it while it still runs.
 */
import { ordinary } from '../approach.js';
import { migrationErrors } from '../errors.js';
import type { Patience } from '../patience.js';
import type { AssignedDevice, VfioDevice } from '../ports.js';
import { overdue, untilReceiving } from '../until-receiving.js';
import type { StopDescriptor } from './stop.js';

const NAME = 'device-state';

export const stopByDeviceState: StopDescriptor = {
  ...ordinary,
  name: NAME,
  text: 'VFIO migration: the device is held still and its state read out, most of it ahead',
  steps: [
    'before the first round and after each, VFIO gives what of the state may travel ahead (PRE_COPY)',
    'before the vCPUs stop, the device begins no DMA any more (PRE_COPY_P2P)',
    'while they stand still the rest of its state is read out (STOP_COPY) and sent behind the last pages',
    'should the migration fail, the device goes on as it was (RUNNING); one that can not is reset, and reported broken to its driver',
  ],
  use: 'Whenever source and destination have the same kind of device: the guest notices nothing but the blackout.',
  limits: 'The device must speak VFIO migration, and only a device of the same kind takes its state.',
  goals: { blackoutMs: 10, gapMs: 25 },
  needs: ['vfio'],
  leaves: 'state',
  make: (assigned) => {
    const device = assigned.vfio as VfioDevice;
    let reset = false;
    return {
      ahead: () => device.preCopy(),
      quiesce: () => device.quiesce(),
      stopCopy: () => device.stopCopy(),
      records: () => device.save(),
      resume: async () => {
        const noticed = await resumeOrReset(device);
        reset = noticed !== undefined;
        return noticed;
      },
      resumed: async (patience) => {
        if (!reset) return;
        reset = false;
        await recover(assigned, patience);
      },
    };
  },
};

/**
 * A device that can't go back (a failed step leaves VFIO's ERROR state, and only a reset leads out of it) is reset: its
 * driver in the guest sets it up again, which is better than a guest with a dead device.
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

/**
 * A driver that is told of nothing finds its device reset when it next looks for the reason of a silence, or never. So the root port
 * reports an error of it, as it would of hardware that broke: of those that need no reset, which there was.
 */
async function recover({ name, fn, identity }: AssignedDevice, patience: Patience): Promise<void> {
  if (fn === undefined) return;
  const facts = { approach: NAME, device: name };
  const tell = async (): Promise<void> => {
    if (!(await fn.reportError('nonfatal'))) throw migrationErrors.error('guest-not-listening', facts);
  };
  // What is no NIC never takes what comes.
  if (identity.queues === 0) await tell();
  else await untilReceiving(fn, tell, () => overdue(patience, facts));
}
