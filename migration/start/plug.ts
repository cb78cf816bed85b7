/** Starts by hot-plug: they differ in what the guest has kept of the device that it had. */
import { toMilliseconds } from '../../base/units.js';
import { awaitSlot, isOn } from '../await-slot.js';
import { migrationErrors } from '../errors.js';
import type { AssignedDevice, DeviceSlot } from '../ports.js';
import type { DeviceStart } from './start.js';

/**
 * The start called `approach`, of a device whose slot the guest brings along empty; or occupied, by a device that is not there
 * any more and that nobody told it of.
 */
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
      const { present } = await slot.state();
      if (!present) {
        const announce = device.button === undefined ? 'link' : 'button';
        return awaitSlot(slot, isOn, () => slot.insert(announce), overdue);
      }
      // What the guest had is gone, and another in its place: it turns the slot off for the one, and on for the other.
      const replace = async (): Promise<void> => {
        await slot.remove();
        await slot.insert('link');
      };
      await awaitSlot(slot, ({ powerIndicator }) => powerIndicator !== 'on', replace, overdue);
      await awaitSlot(slot, isOn, async () => undefined, overdue);
    },
  };
}
