/** The driver, which took its device down when it was asked, hears that it may set it up again. */
import { ordinary } from '../approach.js';
import { askGuest } from '../ask-guest.js';
import { migrationErrors } from '../errors.js';
import type { HostFunction } from '../ports.js';
import { RESUME } from '../stop/capability.js';
import { announcedOnceReceiving } from '../until-receiving.js';
import type { StartDescriptor } from './start.js';

export const startByCapability: StartDescriptor = {
  ...ordinary,
  name: 'capability',
  text: 'the driver in the guest is told that it was moved, and sets its device up as after power-on',
  steps: [
    'the guest runs, with its device as after power-on and its driver asleep',
    'the host asks the driver to resume: addresses, interrupts and rings are set up, the interface goes on',
    'the host announces the new place of the station',
  ],
  use: 'After the stop of that name; the device may differ in revision and number of queues, and its link may be down.',
  limits: "The network is away until the guest's driver has reset its device and set it up.",
  needs: ['guest', 'fn'],
  guestFeatures: [RESUME],
  copesWith: ['queues', 'revision', 'link-down'],
  takes: ['asleep'],
  afterRun: true,
  make: (device) => ({
    afterRun: async (patience) => {
      const { name } = device;
      const fn = device.fn as HostFunction;
      const asked = askGuest(device, RESUME, [], { patience, givenUp: new Promise(() => undefined) });
      const { word } = await asked.catch((error: unknown) => {
        void announcedOnceReceiving(fn);
        throw error;
      });
      if (word !== RESUME) {
        throw migrationErrors.error('guest-refused', { device: name, request: RESUME, answer: word });
      }
      await fn.announce();
    },
  }),
};
