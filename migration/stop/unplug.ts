/**
 * Stops by hot-unplug: the guest is asked to turn the slot off, its driver lets the device go, and the device is taken out of
 * the slot. It is kept, so that a migration that comes to nothing puts it back. They differ in how they ask.
 */
import { toMilliseconds } from '../../base/units.js';
import { migrationErrors } from '../errors.js';
import type { RequestLimits } from '../patience.js';
import type { AssignedDevice, DeviceSlot } from '../ports.js';
import type { DeviceStop } from './stop.js';

/** On the channel of the device's port: the guest is to turn the slot off, as a person would have it do by sysfs. */
export const TURN_SLOT_OFF = 'off';

/** The stop called `approach`, of a device that sits in a slot. `ask` puts the request before the guest. */
export function stopByUnplug(
  approach: string,
  device: AssignedDevice,
  ask: (limits: RequestLimits) => Promise<unknown>,
): DeviceStop {
  const slot = device.slot as DeviceSlot;
  let asked = false;
  return {
    async request(limits) {
      const facts = { approach, device: device.name };
      if (!(await slot.state()).present) throw migrationErrors.error('not-plugged-in', facts);
      asked = true;
      let stopListening = (): void => undefined;
      const gone = new Promise<void>((resolve) => {
        stopListening = slot.onChange(({ present }) => {
          if (!present) resolve();
        });
      });
      const { duration, over } = limits.patience;
      const overdue = over.then(async (): Promise<never> => {
        const { powerIndicator } = await slot.state();
        throw migrationErrors.error('still-plugged-in', {
          ...facts,
          powerIndicator,
          waitedMs: Math.round(toMilliseconds(duration)),
        });
      });
      try {
        await slot.takeOutWhenOff();
        await Promise.race([ask(limits).then(() => gone), overdue, limits.givenUp]);
      } finally {
        stopListening();
      }
    },
    // It is not in its slot any more, and reaches no memory.
    quiesce: async () => undefined,
    async resume() {
      if (!asked) return undefined;
      asked = false;
      return (await slot.keep()) ? 'was unplugged, and is plugged in again' : undefined;
    },
  };
}
