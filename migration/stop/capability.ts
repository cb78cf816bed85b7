/**
 * The driver itself takes its device down when it is asked, by a word on the channel of its port that any driver may offer
 * to follow; and the host's gate sees to it that it keeps its word.
 */
import { ordinary } from '../approach.js';
import { askGuest } from '../ask-guest.js';
import { migrationErrors } from '../errors.js';
import type { GuestChannel, HostFunction } from '../ports.js';
import type { StopDescriptor } from './stop.js';

/** What is asked, and answered: the driver takes its device down, it sets it up again. */
export const SUSPEND = 'susp';
export const RESUME = 'rsme';

export const stopByCapability: StopDescriptor = {
  ...ordinary,
  name: 'capability',
  text: 'the driver in the guest is asked to take its device down, while the rounds go on',
  steps: [
    "when the rest would fit the downtime limit, the host asks the device's driver, by an interrupt of its port, to suspend",
    'the driver empties its rings, takes the device down and answers; rounds go on meanwhile, and take what it wrote',
    'the host closes the gate: the function masters the bus no more, whatever the guest does',
    'should the migration fail, the gate is opened and the driver asked to resume',
  ],
  use: 'For devices that speak no VFIO migration, in guests whose driver cooperates: neither slot nor interface goes away.',
  limits:
    'The guest must answer in time; its network stands from the request to the resume at the destination.',
  needs: ['guest', 'fn'],
  guestFeatures: [SUSPEND, RESUME],
  leaves: 'asleep',
  make: (device, startAgain) => {
    const { name } = device;
    const fn = device.fn as HostFunction;
    const guest = device.guest as GuestChannel;
    let [asked, answered] = [false, false];
    const closeGate = async (): Promise<void> => {
      if (await fn.closeGate()) throw migrationErrors.error('guest-broke-word', { device: name });
    };
    return {
      request: async (limits) => {
        asked = true;
        const { word } = await askGuest(device, SUSPEND, [], limits);
        answered = true;
        if (word !== SUSPEND) {
          throw migrationErrors.error('guest-refused', { device: name, request: SUSPEND, answer: word });
        }
        await closeGate();
      },
      // It may have turned its device on again.
      quiesce: closeGate,
      resume: async () => {
        await fn.openGate();
        // It hears of it when it has done what it was asked.
        if (asked) await guest.request(RESUME);
        return undefined;
      },
      resumed: async (patience) => {
        // One that did not answer has its device, or hears that it may have it: there is nothing to wait for.
        if (answered) await startAgain(patience);
      },
    };
  },
};
