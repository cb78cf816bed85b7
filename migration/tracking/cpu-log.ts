/** The log of the vCPUs' stores and of the host's own writes, as the machine keeps it: all there is without a device. */
import { ordinary } from '../approach.js';
import type { SourceMachine } from '../ports.js';
import type { DirtyTracking, TrackingDescriptor } from './tracking.js';

export const cpuLog: TrackingDescriptor = {
  ...ordinary,
  name: 'cpu-log',
  text: "the vCPUs' own log; without an assigned device nobody else writes",
  steps: [
    'each vCPU logs the pages that it stores to, and the host those that it writes by itself',
    'a harvest collects the logs while the guest runs on',
  ],
  use: 'For a machine without an assigned device; it is part of every other tracking as well.',
  limits: 'It does not see what a device writes by itself.',
  serves: 'none',
  converges: true,
  refuses: (names) => `the log of the vCPUs does not see what ${names} writes`,
  make: (machine) => logOf(machine),
};

/** The machine's own log, which every tracking is built on. */
export const logOf = (machine: SourceMachine): DirtyTracking => ({
  start: () => machine.startDirtyLog(),
  harvest: (into) => machine.harvest(into),
  stop: () => machine.stopDirtyLog(),
});
