/**
 * Which approach serves each of the three efforts. The source chooses before anything is sent, the names travel in
 * `hello`, and the destination refuses what it does not know or can't do.
 */
import { type FaultPlan, NO_FAULTS } from '../base/fault.js';
import { type Descriptor, EFFORTS, type Effort, lacking } from './approach.js';
import { migrationErrors } from './errors.js';
import { malformed } from './frame.js';
import type { MessageOf } from './messages.js';
import type { AssignedDevice, SourceMachine } from './ports.js';
import { type ApproachRegistry, AUTO } from './registry.js';
import type { DeviceStart, StartDescriptor } from './start/start.js';
import type { DeviceStop, StopDescriptor } from './stop/stop.js';
import { cpuLog } from './tracking/cpu-log.js';
import type { DirtyTracking, TrackingDescriptor } from './tracking/tracking.js';

/** The names, as they travel and are recorded. */
export type Approaches = Readonly<Record<Effort, string>>;

export interface Chosen {
  readonly tracking: TrackingDescriptor;
  readonly stop: StopDescriptor;
  readonly start: StartDescriptor;
}

export const namesOf = ({ tracking, stop, start }: Chosen): Approaches => ({
  tracking: tracking.name,
  stop: stop.name,
  start: start.name,
});

/** Resolves `auto`; throws `migration/approach` for a choice that contradicts the machine, or one that another contradicts. */
export function chooseApproaches(
  wanted: Approaches,
  devices: readonly AssignedDevice[],
  registry: ApproachRegistry,
): Chosen {
  const chosen: Chosen = {
    tracking: choose('tracking', wanted.tracking, devices, registry.tracking),
    stop: choose('stop', wanted.stop, devices, registry.stop),
    start: choose('start', wanted.start, devices, registry.start),
  };
  const { stop, start } = chosen;
  if (stop.sendsState !== start.takesState) {
    const does = stop.sendsState ? 'sends the state of the device' : 'sends nothing of the device';
    const needs = start.takesState ? 'needs its state' : 'does not take it';
    throw refuse('start', start.name, `stop = ${stop.name} ${does}, and this start ${needs}`);
  }
  return chosen;
}

function choose<D extends Descriptor>(
  effort: Effort,
  wanted: string,
  devices: readonly AssignedDevice[],
  known: readonly D[],
): D {
  if (wanted === AUTO) {
    const found = known.find((descriptor) => unfit(descriptor, devices) === undefined);
    if (found !== undefined) return found;
    const serves = devices.length === 0 ? 'none' : 'device';
    const [first] = known.filter((descriptor) => descriptor.serves === serves);
    throw refuse(effort, AUTO, (first && unfit(first, devices)) ?? 'there is no approach for this machine');
  }
  const found = known.find(({ name }) => name === wanted);
  const problem = found === undefined ? `known are ${listOf(known)}` : unfit(found, devices);
  if (found === undefined || problem !== undefined) throw refuse(effort, wanted, problem ?? '');
  return found;
}

/** Why a machine with these devices can't use the approach; undefined if it can. */
function unfit(descriptor: Descriptor, devices: readonly AssignedDevice[]): string | undefined {
  const { serves, needs, refuses } = descriptor;
  if (serves === 'device' && devices.length === 0) return 'the machine has no assigned device';
  if (serves === 'none' && devices.length > 0) {
    return refuses?.(devices.map(({ name }) => name).join(', ')) ?? 'the machine has an assigned device';
  }
  return devices.map((device) => lacking(device, needs)).find((problem) => problem !== undefined);
}

const listOf = (known: readonly Descriptor[]): string => known.map(({ name }) => name).join(', ');

function refuse(effort: string, approach: string, problem: string): Error {
  return migrationErrors.error('approach', { effort, approach, problem });
}

/** A stop or a start at work on the device of that name. */
export interface OnDevice<T> {
  readonly name: string;
  readonly does: T;
}

/** The source's half, put to work on its machine. */
export function sourceApproaches(
  chosen: Chosen,
  machine: SourceMachine,
  devices: readonly AssignedDevice[],
  faults: FaultPlan = NO_FAULTS,
): {
  readonly tracking: DirtyTracking;
  readonly stops: readonly OnDevice<DeviceStop>[];
  /** What is really at work, for the record: a fault may have put another tracking in place. */
  readonly atWork: Approaches;
} {
  const stops = devices.map((device) => ({ name: device.name, does: chosen.stop.make(device) }));
  const untracked = faults.strikes('migration/device-untracked') !== undefined;
  const tracking = untracked ? cpuLog : chosen.tracking;
  return { tracking: tracking.make(machine, devices), stops, atWork: namesOf({ ...chosen, tracking }) };
}

/**
 * The destination's half: the start that the source chose, if this side knows all three. Throws
 * `migration/approach-unknown`, or `migration/malformed-message` for names that contradict each other or the devices.
 */
export function judgeApproaches(
  { devices, approaches }: MessageOf<'hello'>,
  registry: ApproachRegistry,
): Chosen {
  const serves = devices.length === 0 ? 'none' : 'device';
  const found = EFFORTS.map((effort): Descriptor => {
    const approach = approaches[effort];
    const known: readonly Descriptor[] = registry[effort];
    const descriptor = known.find(({ name }) => name === approach);
    if (descriptor === undefined) {
      throw migrationErrors.error('approach-unknown', { effort, approach, known: listOf(known) });
    }
    if (descriptor.serves !== serves) {
      const assigned = devices.join(', ') || 'none';
      throw malformed(
        'hello',
        `approaches.${effort}`,
        `${approach}, and the assigned devices are ${assigned}`,
      );
    }
    return descriptor;
  });
  const [tracking, stop, start] = found as [TrackingDescriptor, StopDescriptor, StartDescriptor];
  if (stop.sendsState !== start.takesState) {
    throw malformed('hello', 'approaches.start', `${start.name}, which does not go with stop ${stop.name}`);
  }
  return { tracking, stop, start };
}

/**
 * The starts, put to work on this side's devices. Throws `migration/device-mismatch` if the machine has not the devices
 * that come, `migration/approach` if one of them lacks what the start needs.
 */
export function destinationApproaches(
  { start }: Chosen,
  coming: readonly string[],
  devices: readonly AssignedDevice[],
): readonly OnDevice<DeviceStart>[] {
  const here = devices.map(({ name }) => name);
  if (coming.join() !== here.join()) {
    throw migrationErrors.error('device-mismatch', {
      source: coming.join(', '),
      destination: here.join(', '),
    });
  }
  for (const device of devices) {
    const problem = lacking(device, start.needs);
    if (problem !== undefined) throw refuse('start', start.name, `at the destination ${problem}`);
  }
  return devices.map((device) => ({ name: device.name, does: start.make(device) }));
}
