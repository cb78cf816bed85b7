/** VFIO migration, version 2: the state goes into a device of the same kind, which goes on where the other stopped. */
import { ordinary } from '../approach.js';
import type { VfioDevice } from '../ports.js';
import type { StartDescriptor } from './start.js';

export const startByDeviceState: StartDescriptor = {
  ...ordinary,
  name: 'device-state',
  text: 'VFIO migration: the state goes into a device of the same kind, which goes on where the other stopped',
  steps: [
    'pieces of the state are taken as they come (RESUMING)',
    'when the stream is whole all of it is judged, and the device loaded (STOP)',
    'the device runs when the guest does (RUNNING), with rings and half-sent packets as they were',
  ],
  use: 'With the stop of the same name: nothing of device or driver is set up anew.',
  limits: 'It refuses a device that differs in kind, revision, queues or vectors from the one that was left.',
  needs: ['vfio'],
  copesWith: ['link-down'],
  takes: ['state'],
  afterRun: false,
  make: ({ vfio }) => {
    const device = vfio as VfioDevice;
    return {
      take: (piece) => device.write(piece),
      load: () => device.load(),
      records: () => device.save(),
    };
  },
};
