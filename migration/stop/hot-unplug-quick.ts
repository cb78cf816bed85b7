/** Hot-unplug without the button: the host asks the guest's kernel for what a person asks of it in sysfs. */
import { ordinary } from '../approach.js';
import type { StopDescriptor } from './stop.js';
import { askToTurnOff, stopByUnplug, TURN_SLOT_OFF } from './unplug.js';

const NAME = 'hot-unplug-quick';

export const hotUnplugQuick: StopDescriptor = {
  ...ordinary,
  name: NAME,
  text: 'the guest is asked on the channel of the port to turn the slot off, and the device is taken out of it',
  steps: [
    'when the rest would fit the downtime limit, the guest is asked to turn the slot off; pages go on being sent',
    'the driver lets the device go; a slot with a power controller loses power, and Linux waits a second more',
    'the power indicator goes off, and the device is taken out of the slot and kept: a migration that fails puts it back',
  ],
  use: 'Instead of the button, where the guest has the channel; with `--nic vf,slot=quick` no second is waited for either.',
  limits:
    'The guest has no such interface until the move is over; its addresses, routes and neighbours go with it.',
  needs: ['slot', 'guest'],
  // What a person would write to the slot's `power` is then for firmware to do.
  without: ['firmware'],
  betterWithout: ['button'],
  guestFeatures: [TURN_SLOT_OFF],
  leaves: 'unplugged',
  goals: { gapMs: 300 },
  make: (device) => stopByUnplug(NAME, device, (limits) => askToTurnOff(device, limits)),
};
