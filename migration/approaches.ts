/**
 * Which approach serves each of the three efforts: knowing what was written, stopping the device, starting it at the
 * destination. The source chooses, the names travel in `hello`, and the destination refuses what it does not know.
 */
import { type FaultPlan, NO_FAULTS } from '../base/fault.js';
import { migrationErrors } from './errors.js';
import { malformed } from './frame.js';
import type { MessageOf } from './messages.js';
import type { ParameterValues } from './parameters.js';
import type { AssignedDevice, SourceMachine } from './ports.js';
import { startByDeviceState } from './start/device-state.js';
import { type DeviceStart, nothingToStart, STARTS, type StartName } from './start/start.js';
import { stopByDeviceState } from './stop/device-state.js';
import { type DeviceStop, nothingToStop, STOPS, type StopName } from './stop/stop.js';
import { cpuLog } from './tracking/cpu-log.js';
import { iommuDirty } from './tracking/iommu-dirty.js';
import { pinned } from './tracking/pinned.js';
import { type DirtyTracking, TRACKINGS, type TrackingName } from './tracking/tracking.js';

export interface Approaches {
  readonly tracking: TrackingName;
  readonly stop: StopName;
  readonly start: StartName;
}

/** What a machine without an assigned device needs. */
export const WITHOUT_DEVICE: Approaches = { tracking: 'cpu-log', stop: 'none', start: 'none' };

/** Resolves `auto`; throws `migration/approach` for a choice that contradicts the machine. */
export function chooseApproaches(
  { tracking, stop, start }: Pick<ParameterValues, 'tracking' | 'stop' | 'start'>,
  device: AssignedDevice | undefined,
): Approaches {
  if (device === undefined) {
    for (const [effort, approach] of Object.entries({ tracking, stop, start })) {
      if (approach === 'auto' || approach === 'cpu-log') continue;
      throw refuse(effort, approach, 'the machine has no assigned device');
    }
    return WITHOUT_DEVICE;
  }
  if (tracking === 'cpu-log') {
    throw refuse('tracking', tracking, `the log of the vCPUs does not see what ${device.name} writes`);
  }
  return {
    tracking: tracking === 'auto' ? 'iommu-dirty' : tracking,
    stop: stop === 'auto' ? 'device-state' : stop,
    start: start === 'auto' ? 'device-state' : start,
  };
}

function refuse(effort: string, approach: string, problem: string): Error {
  return migrationErrors.error('approach', { effort, approach, problem });
}

/** The source's half, put to work on its machine. */
export function sourceApproaches(
  chosen: Approaches,
  machine: SourceMachine,
  [device]: readonly AssignedDevice[],
  faults: FaultPlan = NO_FAULTS,
): { readonly tracking: DirtyTracking; readonly stop: DeviceStop } {
  if (device === undefined) return { tracking: cpuLog(machine), stop: nothingToStop };
  const { dma, vfio } = device;
  if (vfio === undefined) throw refuse('stop', chosen.stop, `${device.name} does not speak VFIO migration`);
  if (dma === undefined)
    throw refuse('tracking', chosen.tracking, `nothing tells what ${device.name} writes`);
  const stop = stopByDeviceState(vfio);
  if (faults.strikes('migration/device-untracked') !== undefined) return { tracking: cpuLog(machine), stop };
  return { tracking: (chosen.tracking === 'pinned' ? pinned : iommuDirty)(machine, dma), stop };
}

/** Throws `migration/approach-unknown` for a name that this side does not know. */
export function judgeApproaches({ device, approaches }: MessageOf<'hello'>): void {
  for (const [effort, known] of [
    ['tracking', TRACKINGS],
    ['stop', STOPS],
    ['start', STARTS],
  ] as const) {
    const approach = approaches[effort];
    if ((known as readonly string[]).includes(approach)) continue;
    throw migrationErrors.error('approach-unknown', { effort, approach, known: known.join(', ') });
  }
  for (const effort of ['stop', 'start'] as const) {
    if ((approaches[effort] === 'none') === (device === null)) continue;
    const found = `${approaches[effort]}, and the assigned device is ${device ?? 'none'}`;
    throw malformed('hello', `approaches.${effort}`, found);
  }
}

/** The destination's half. Throws `migration/device-mismatch` if the machine has not the device that comes. */
export function startApproach(
  { device: name, approaches }: MessageOf<'hello'>,
  device: AssignedDevice | undefined,
): DeviceStart {
  if ((name ?? undefined) !== device?.name) {
    throw migrationErrors.error('device-mismatch', { source: name ?? '', destination: device?.name ?? '' });
  }
  if (device === undefined || approaches.start === 'none') return nothingToStart;
  if (device.vfio === undefined) {
    throw refuse('start', approaches.start, `${device.name} does not speak VFIO migration`);
  }
  return startByDeviceState(device.vfio);
}
