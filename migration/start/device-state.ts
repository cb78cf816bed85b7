/** VFIO migration, version 2: the state goes into a device of the same kind, which goes on where the other stopped. */
import type { VfioDevice } from '../ports.js';
import type { DeviceStart } from './start.js';

export function startByDeviceState(device: VfioDevice): DeviceStart {
  return {
    name: 'device-state',
    take: (piece) => device.write(piece),
    load: () => device.load(),
    records: () => device.save(),
  };
}
