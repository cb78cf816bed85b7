/** Hot-plug to a guest whose network core kept what the interface was. */
import { ordinary } from '../approach.js';
import { askGuest } from '../ask-guest.js';
import { hotPlug } from './hot-plug.js';
import { startByPlug } from './plug.js';
import type { StartDescriptor } from './start.js';

const NAME = 'hot-plug-restore';
/** On the channel of the device's port, while the guest still has the device. */
const KEEP_INTERFACE = 'keep';

export const hotPlugRestore: StartDescriptor = {
  ...ordinary,
  name: NAME,
  text: "the same as hot-plug, and the guest's network core gives the interface back the address and neighbours that it had",
  steps: [
    'before the guest is asked to let the device go, it is asked to keep what its interface has',
    'its network core puts down address, mask and neighbours, by the permanent address of the device',
    ...hotPlug.steps,
    'an interface with that permanent address has them again, and asks nobody who is where',
  ],
  use: 'After a hot-unplug, where the guest can do it: the interface is as it was.',
  limits: 'A device with another permanent address is another interface, and is set up as one.',
  needs: ['slot', 'guest'],
  guestFeatures: [KEEP_INTERFACE],
  takes: hotPlug.takes,
  copesWith: hotPlug.copesWith,
  afterRun: true,
  prepare: async (device, limits) => {
    await askGuest(device, KEEP_INTERFACE, [], limits);
  },
  make: (device) => startByPlug(NAME, device),
};
