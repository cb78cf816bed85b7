/** The log of the vCPUs' stores and of the host's own writes, as the machine keeps it: all there is without a device. */
import type { SourceMachine } from '../ports.js';
import type { DirtyTracking } from './tracking.js';

export function cpuLog(machine: SourceMachine): DirtyTracking {
  return {
    name: 'cpu-log',
    converges: true,
    start: () => machine.startDirtyLog(),
    harvest: (into) => machine.harvest(into),
    stop: () => machine.stopDirtyLog(),
  };
}
