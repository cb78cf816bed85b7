/** Registers of the old device are written into the new one, and what the physical function's driver knew is imported. */
import { ordinary } from '../approach.js';
import { readOut, startByPuttingBack } from './put-back.js';
import type { StartDescriptor } from './start.js';

const NAME = 'state-replay';

export const stateReplay: StartDescriptor = {
  ...ordinary,
  name: NAME,
  text: 'the registers of the old device are written into the new one, without any help of VFIO migration',
  steps: [
    'before the source resets the device, its host reads its registers, as a driver could, and what the physical function keeps for it',
    'the other device is reset; configuration space, MSI-X, address filters and mode of the physical function are put back',
    'its registers are written in the order that the part asks for: rings and their heads, then the switches, then the tails',
    'when the guest runs, the gate is opened, and each interrupt is sent once, in the place of those that went lost',
  ],
  use: 'For devices that speak no VFIO migration, where a hypervisor knows their registers: nothing is asked of the guest.',
  limits:
    "What no register takes is lost: counters begin anew, a packet that was sent in part is sent from its start, and frames that come between stop and start are dropped. The device must be of the same kind, with as many vectors and the same address; its driver goes on with the queues that it has until it sets the device up again. A driver that happens to read all ones between the device's stop and the vCPUs' takes it for removed, and nothing says so but its traffic.",
  needs: ['fn', 'replay'],
  takes: ['lost'],
  copesWith: ['queues', 'revision', 'link-down'],
  afterRun: true,
  readOut,
  make: (device) => startByPuttingBack(NAME, device, 'registers'),
};
