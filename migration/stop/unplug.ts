/**
 * Stops by hot-unplug: the guest is asked to turn the slot off, its driver lets the device go, and the device is taken out of
 * the slot. It is kept, so that a migration that comes to nothing puts it back. They differ in how they ask.
 */
import { toMilliseconds } from '../../base/units.js';
import { askGuest } from '../ask-guest.js';
import { awaitSlot, isEmpty, isOn } from '../await-slot.js';
import { migrationErrors } from '../errors.js';
import type { Patience, RequestLimits } from '../patience.js';
import type { AssignedDevice, DeviceSlot } from '../ports.js';
import type { DeviceStop } from './stop.js';

/** On the channel of the device's port: the guest is to turn the slot off, as a person would have it do by sysfs. */
export const TURN_SLOT_OFF = 'off';

/** Asks for it; rejects with `migration/guest-refused` where nothing in the guest can turn this slot off. */
export async function askToTurnOff(device: AssignedDevice, limits: RequestLimits): Promise<void> {
  const { word } = await askGuest(device, TURN_SLOT_OFF, [], limits);
  if (word === 'ok') return;
  throw migrationErrors.error('guest-refused', {
    device: device.name,
    request: TURN_SLOT_OFF,
    answer: word,
  });
}

/** The stop called `approach`, of a device that sits in a slot. `ask` puts the request before the guest. */
export function stopByUnplug(
  approach: string,
  device: AssignedDevice,
  ask: (limits: RequestLimits) => Promise<unknown>,
): DeviceStop {
  const slot = device.slot as DeviceSlot;
  const facts = { approach, device: device.name };
  const overdue = async (
    { duration, over }: Patience,
    code: 'still-plugged-in' | 'not-plugged-in-again',
  ): Promise<void> => {
    await over;
    const { powerIndicator } = await slot.state();
    throw migrationErrors.error(code, {
      ...facts,
      powerIndicator,
      waitedMs: Math.round(toMilliseconds(duration)),
    });
  };
  /** The guest was asked, and is not back at what it was. */
  let asked = false;
  return {
    async request(limits) {
      if (isEmpty(await slot.state())) throw migrationErrors.error('not-plugged-in', facts);
      asked = true;
      const begin = async (): Promise<void> => {
        await slot.takeOutWhenOff();
        await ask(limits);
      };
      const { refusal, forget } = pressedAgain(slot, facts);
      try {
        const late = overdue(limits.patience, 'still-plugged-in');
        await awaitSlot(slot, isEmpty, begin, late, refusal, limits.givenUp);
      } finally {
        forget();
      }
    },
    // It is not in its slot any more, and reaches no memory.
    quiesce: async () => undefined,
    async resume() {
      return asked && (await slot.keep()) ? 'was unplugged, and is plugged in again' : undefined;
    },
    async resumed(patience) {
      if (!asked) return;
      asked = false;
      await awaitSlot(slot, isOn, async () => undefined, overdue(patience, 'not-plugged-in-again'));
    },
  };
}

/** Rejects when a slot that blinked, to be turned off, is on again: somebody pressed the button a second time. 6.7.1.5 */
function pressedAgain(
  slot: DeviceSlot,
  facts: { readonly approach: string; readonly device: string },
): { readonly refusal: Promise<never>; readonly forget: () => void } {
  let forget = (): void => undefined;
  const refusal = new Promise<never>((_, reject) => {
    let blinked = false;
    forget = slot.onChange((state) => {
      if (state.powerIndicator === 'blink') blinked = true;
      else if (blinked && isOn(state)) reject(migrationErrors.error('unplug-cancelled', facts));
    });
  });
  return { refusal, forget: () => forget() };
}
