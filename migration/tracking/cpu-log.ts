/** The log of the vCPUs' stores and of the host's own writes, as the machine keeps it: all there is without a device. */
import { ordinary } from '../approach.js';
import type { SourceMachine } from '../ports.js';
import type { DirtyTracking, TrackingDescriptor } from './tracking.js';

export const cpuLog: TrackingDescriptor = {
  ...ordinary,
  name: 'cpu-log',
  text: "the vCPUs' own log; without an assigned device nobody else writes",
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
