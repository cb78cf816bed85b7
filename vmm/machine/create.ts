/** Makes a machine of threads: one for each vCPU, one for the devices, one for alarms. */
import { allocateRam, checkMachineSize } from '../ram/guest-ram.js';
import { Machine } from './machine.js';
import { startThreads, type ThreadMachineOptions } from './thread/machine-threads.js';

/**
 * Returns at once; the threads come up in the background, and whatever is asked of them waits until they have. `memory`
 * is the RAM, of that size and all zeros; allocated if absent. Throws `vmm/machine-option` for a size that no machine has,
 * `vmm/ram-unavailable` when the host has no room.
 */
export function createMachine(options: ThreadMachineOptions, memory?: WebAssembly.Memory): Machine {
  checkMachineSize(options.ramBytes, options.vcpus);
  const ram = memory ?? allocateRam(options.ramBytes);
  return new Machine(options, (events) => startThreads(options, ram, events));
}
