/** VFIO migration, version 2: the state goes into a device of the same kind, which goes on where the other stopped. */
import { ordinary } from '../approach.js';
import type { VfioDevice } from '../ports.js';
import type { StartDescriptor } from './start.js';

export const startByDeviceState: StartDescriptor = {
  ...ordinary,
  name: 'device-state',
  text: 'VFIO migration: the state goes into a device of the same kind, which goes on where the other stopped',
  needs: ['vfio'],
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
