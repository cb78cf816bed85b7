/** The guest arrives with an empty slot, and is given a device as if somebody had just put it in. */
import { ordinary } from '../approach.js';
import { startByPlug } from './plug.js';
import type { StartDescriptor } from './start.js';

const NAME = 'hot-plug';

export const hotPlug: StartDescriptor = {
  ...ordinary,
  name: NAME,
  text: "a device is put into the guest's empty slot, and its driver starts from scratch",
  steps: [
    'the guest comes with an empty slot, and runs; with an occupied one, it finds that its device was pulled out',
    'the device is put in; presence and attention button, in a quick slot presence and link, tell the guest',
    'the guest powers the slot, and waits for the link: 120 ms before the first access to configuration space',
    'the device is enumerated, its driver probes it, and the power indicator stays on',
  ],
  use: 'After a hot-unplug, or a surprise; with any function of the same NIC, whatever there was before.',
  limits:
    "The interface is a new one: the guest's own configuration gives it addresses, and flows begin anew.",
  needs: ['slot'],
  takes: ['unplugged', 'lost'],
  copesWith: ['queues', 'revision', 'vectors', 'mac-policy', 'link-down'],
  afterRun: true,
  make: (device) => startByPlug(NAME, device),
};
