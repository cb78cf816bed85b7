/** PCI Express hot-plug as people do it: by the attention button of the slot. 6.7.1.5 */
import { ordinary } from '../approach.js';
import type { StopDescriptor } from './stop.js';
import { stopByUnplug } from './unplug.js';

const NAME = 'hot-unplug';

export const hotUnplug: StopDescriptor = {
  ...ordinary,
  name: NAME,
  text: 'the attention button asks the guest to let the device go, and it is taken out of its slot',
  steps: [
    'when the rest would fit the downtime limit, the attention button of the slot is pressed; pages go on being sent',
    'the power indicator blinks for five seconds, in which a second press would cancel',
    'the driver lets the device go, and the slot loses power; Linux waits a second more, then turns the indicator off',
    'the device is taken out of the slot, and kept: a migration that fails puts it back, and the guest probes it anew',
  ],
  use: 'For any guest with PCI Express hot-plug: it needs to know nothing of migration, nor does its driver.',
  limits:
    'The guest has no such interface for six seconds and the move; its addresses, routes and neighbours go with it.',
  needs: ['slot', 'button'],
  leaves: 'unplugged',
  // The button's five seconds, and one after the power is off.
  goals: { requestMs: 6000 },
  make: (device) => stopByUnplug(NAME, device, async () => device.button!.press()),
};
