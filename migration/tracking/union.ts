/**
 * The union of two logs: what the vCPUs stored, and what assigned devices wrote by themselves. The devices' part goes
 * through the machine's log of host writes, so that one harvest tells pages of either and of both apart.
 */
import { settleAll } from '../../base/settle.js';
import type { AssignedDevice, DmaTracking, DmaWriter, SourceMachine } from '../ports.js';
import { logOf } from './cpu-log.js';
import type { DirtyTracking } from './tracking.js';

export function unionWith(
  machine: SourceMachine,
  devices: readonly AssignedDevice[],
  how: DmaTracking,
): DirtyTracking {
  // Devices behind one IOMMU domain have one writer in common, which is asked once.
  const writers = [...new Set(devices.map(({ dma }) => dma as DmaWriter))];
  const log = logOf(machine);
  return {
    start: async () => {
      await settleAll(writers.map((writer) => writer.track(how)));
      await log.start();
    },
    harvest: async (into, last) => {
      // Only now may the pages that a device wrote be named: a page named before the drain could be sent before a write
      // that is still on its way arrives, and nothing would name it again.
      await settleAll(writers.map((writer) => writer.readDirty()));
      return log.harvest(into, last);
    },
    stop: async () => {
      await settleAll([...writers.map((writer) => writer.track(undefined)), log.stop()]);
    },
  };
}
