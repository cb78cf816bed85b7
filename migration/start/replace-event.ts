/** An event of its own: the guest's PCI core is told that the device was replaced, by the host's channel. */
import { ordinary } from '../approach.js';
import { askGuest } from '../ask-guest.js';
import { startByRecovery } from './recover.js';
import type { StartDescriptor } from './start.js';

const NAME = 'replace-event';
/** What the guest offers, and is asked. */
const WORD = 'rplc';

export const replaceEvent: StartDescriptor = {
  ...ordinary,
  name: NAME,
  text: 'the guest is told by the host that its device was replaced, and its driver sets the new one up',
  steps: [
    'the device is in its place, cut off as it was at the source, until the guest runs',
    "it answers again, and the host's channel says that it was replaced",
    'the PCI core has the driver let go of the old device and set up the new one: no error, no reset, no wait',
  ],
  use: 'After a stop that the guest did not notice, where the guest kernel knows the event.',
  limits: 'Nobody but this guest kernel knows the event yet. The device must be of the same kind.',
  needs: ['fn', 'guest'],
  guestFeatures: [WORD],
  takes: ['lost'],
  goals: { gapMs: 60 },
  copesWith: ['revision', 'vectors', 'queues', 'link-down'],
  afterRun: true,
  make: (device) =>
    startByRecovery(NAME, device, async (_fn, limits) => {
      const { word } = await askGuest(device, WORD, [], limits);
      return word === 'done';
    }),
};
