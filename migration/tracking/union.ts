/**
 * The union of two logs: what the vCPUs stored, and what an assigned device wrote by itself. The device's part goes
 * through the machine's log of host writes, so that one harvest tells pages of either and of both apart.
 */
import type { DeviceTracking, DmaWriter, SourceMachine } from '../ports.js';
import type { DirtyTracking } from './tracking.js';

export function unionWith(
  machine: SourceMachine,
  device: DmaWriter,
  how: DeviceTracking,
): Omit<DirtyTracking, 'converges'> {
  return {
    name: how,
    start: async () => {
      await device.track(how);
      await machine.startDirtyLog();
    },
    harvest: async (into) => {
      // Only now may the pages that the device wrote be named: a page named before the drain could be sent before a
      // write that is still on its way arrives, and nothing would name it again.
      await device.readDirty();
      return machine.harvest(into);
    },
    stop: async () => {
      await device.track(undefined);
      await machine.stopDirtyLog();
    },
  };
}
