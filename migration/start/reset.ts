/** The new device is as after a reset, but at its place: its driver finds it so, and sets it up again by itself. */
import { ordinary } from '../approach.js';
import { readOut, startByPuttingBack } from './put-back.js';
import type { StartDescriptor } from './start.js';

const NAME = 'reset';

export const startByReset: StartDescriptor = {
  ...ordinary,
  name: NAME,
  text: 'the device is in its place as after a function-level reset, and its driver finds that out by itself',
  steps: [
    'before the source resets the device, its host puts down how the guest had set up configuration space and MSI-X',
    'the other device is reset, and that is put back: addresses, bus master, interrupts; its own registers are at their defaults',
    'when the guest runs, the device sends each of its interrupts once, in the place of those that went lost',
    'the driver looks at its link, finds that the physical function has forgotten it, resets the device and sets it up',
  ],
  use: 'Where nothing may be asked of the guest and the device can neither be read out nor reported broken: any driver that survives a reset of its physical function will do.',
  limits:
    "ixgbevf resets its device once in ten seconds at most, and waits for the rest of them; without a link it has no reason to. A driver that happens to read all ones between the device's stop and the vCPUs' takes it for removed, and never looks again.",
  needs: ['fn', 'replay'],
  takes: ['lost'],
  copesWith: ['queues', 'revision'],
  afterRun: true,
  readOut,
  make: (device) => startByPuttingBack(NAME, device, 'configuration'),
};
