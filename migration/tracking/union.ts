/**
 * The union of two logs: what the vCPUs stored, and what assigned devices wrote by themselves. The devices' part goes
 * through the machine's log of host writes, so that one harvest tells pages of either and of both apart.
 */
import { settleAll } from '../../base/settle.js';
import type { RequestLimits } from '../patience.js';
import type { AssignedDevice, DmaTracking, DmaWriter, SourceMachine, WriteReporter } from '../ports.js';
import { logOf } from './cpu-log.js';
import type { DirtyTracking } from './tracking.js';

/** What knows of pages that a device wrote, and names them in the machine's log of host writes. */
export interface WriteMarker {
  /** What the device begins to write after this resolves is named by a later `mark`, or seen by the vCPUs' log. */
  start(limits: RequestLimits): Promise<void>;
  /** When it resolves, the writes that it speaks of are visible. `last`: everything stands still, and no other follows. */
  mark(last: boolean): Promise<void>;
  /** Harmless if `start` failed or never came. */
  stop(limits: RequestLimits): Promise<void>;
}

/** The vCPUs' log together with what the markers name. */
export function unionOf(machine: SourceMachine, markers: readonly WriteMarker[]): DirtyTracking {
  const log = logOf(machine);
  return {
    start: async (limits) => {
      await settleAll(markers.map((marker) => marker.start(limits)));
      await log.start(limits);
    },
    harvest: async (into, last) => {
      // Only now may the pages that a device wrote be named: a page named before the drain could be sent before a write
      // that is still on its way arrives, and nothing would name it again.
      await settleAll(markers.map((marker) => marker.mark(last)));
      return log.harvest(into, last);
    },
    stop: async (limits) => {
      await settleAll([...markers.map((marker) => marker.stop(limits)), log.stop(limits)]);
    },
  };
}

/** The vCPUs' log together with what each device's own reporter names. */
export const unionWithReports = (
  machine: SourceMachine,
  reporters: readonly WriteReporter[],
): DirtyTracking =>
  unionOf(
    machine,
    reporters.map((own) => ({ start: () => own.start(), mark: () => own.report(), stop: () => own.stop() })),
  );

/** The vCPUs' log together with what the IOMMU tells of the devices' writes. */
export function unionWith(
  machine: SourceMachine,
  devices: readonly AssignedDevice[],
  how: DmaTracking,
): DirtyTracking {
  // Devices behind one IOMMU domain have one writer in common, which is asked once.
  const writers = [...new Set(devices.map(({ dma }) => dma as DmaWriter))];
  return unionOf(
    machine,
    writers.map((writer) => ({
      start: () => writer.track(how),
      mark: () => writer.readDirty(),
      stop: () => writer.track(undefined),
    })),
  );
}
