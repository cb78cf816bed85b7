/**
 * By the hypervisor alone, without dirty bits or a log: it sees the interrupts of the function and reads from its rings which
 * buffers were used. Published in 2016 for the predecessor of this NIC; it knows one kind of device.
 */
import { ordinary } from '../approach.js';
import type { WriteReporter } from '../ports.js';
import type { TrackingDescriptor } from './tracking.js';
import { unionWithReports } from './union.js';

export const ringSnoop: TrackingDescriptor = {
  ...ordinary,
  name: 'ring-snoop',
  text: "the hypervisor reads from the device's rings which buffers were used, at each of its interrupts",
  steps: [
    'the receive rings are read, and the buffers that are posted there remembered',
    'at each interrupt of the function, and before each harvest, the buffers between the old head and the new count as written',
    'the rings themselves are in every harvest: their write-backs are seen by nobody',
    'where descriptors were posted and used between two looks, as with interrupts that are off, all of RAM counts as written',
  ],
  use: 'Where nothing else tells what the device writes, the guest must not be asked, and the NIC is one that the hypervisor knows.',
  limits:
    'It knows the rings of the 82599 only, takes host time at each interrupt, and under more traffic than it can follow it is no better than pinned.',
  needs: ['rings'],
  converges: true,
  make: (machine, devices) =>
    unionWithReports(
      machine,
      devices.map(({ rings }) => rings as WriteReporter),
    ),
};
