/** Starts by hot-plug: they differ in what the guest has kept of the device that it had. */
import { toMilliseconds } from '../../base/units.js';
import { awaitSlot, isOn } from '../await-slot.js';
import { migrationErrors } from '../errors.js';
import type { AssignedDevice, DeviceSlot } from '../ports.js';
import type { DeviceStart } from './start.js';

/** The start called `approach`, of a device whose slot the guest brings along empty. */
export function startByPlug(approach: string, device: AssignedDevice): DeviceStart {
  const slot = device.slot as DeviceSlot;
  return {
    async afterRun({ duration, over }) {
      const overdue = over.then(async (): Promise<void> => {
        const { powerIndicator } = await slot.state();
        const waitedMs = Math.round(toMilliseconds(duration));
        throw migrationErrors.error('not-plugged-in-yet', {
          approach,
          device: device.name,
          powerIndicator,
          waitedMs,
        });
      });
      const announce = device.button === undefined ? 'link' : 'button';
      await awaitSlot(slot, isOn, () => slot.insert(announce), overdue);
    },
  };
}
