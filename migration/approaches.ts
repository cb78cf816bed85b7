/**
 * Which approach serves each of the three efforts. The source chooses before anything is sent, the names travel in
 * `hello`, and the destination refuses what it does not know or can't do.
 */
import { isFerryError } from '../base/errors.js';
import { type FaultPlan, NO_FAULTS } from '../base/fault.js';
import { type Descriptor, type Difference, EFFORTS, type Effort, unsuited } from './approach.js';
import { migrationErrors } from './errors.js';
import { malformed } from './frame.js';
import type { MessageOf } from './messages.js';
import type { AssignedDevice, DeviceIdentity, SourceMachine } from './ports.js';
import { type ApproachRegistry, AUTO } from './registry.js';
import type { DeviceStart, StartDescriptor } from './start/start.js';
import { type DeviceStop, LEFT_TEXT, type StopDescriptor } from './stop/stop.js';
import { cpuLog } from './tracking/cpu-log.js';
import type { DirtyTracking, TrackingDescriptor } from './tracking/tracking.js';

/** The names, as they travel and are recorded. */
export type Approaches = Readonly<Record<Effort, string>>;

export interface Chosen {
  readonly tracking: TrackingDescriptor;
  readonly stop: StopDescriptor;
  readonly start: StartDescriptor;
  /** Where several were to be tried: those that come next, in order; of stops those that go with the start as well. */
  readonly otherTrackings: readonly TrackingDescriptor[];
  readonly otherStops: readonly StopDescriptor[];
  /** The start was left to choose (`auto`): a guest that does not do ahead what it wants moves all the same, and does without. */
  readonly startIsLeft: boolean;
}

export const namesOf = ({ tracking, stop, start }: Pick<Chosen, Effort>): Approaches => ({
  tracking: tracking.name,
  stop: stop.name,
  start: start.name,
});

/**
 * Resolves `auto`, each effort's to the first of the registry that fits the machine and goes with what else was chosen.
 * Throws `migration/approach` for a choice that contradicts the machine or its guest, or one that another contradicts, and
 * `migration/blocked` where it was left to choose and nothing fits.
 */
export async function chooseApproaches(
  wanted: Approaches,
  devices: readonly AssignedDevice[],
  registry: ApproachRegistry,
): Promise<Chosen> {
  const [tracking, ...otherTrackings] = await candidates(
    'tracking',
    wanted.tracking,
    devices,
    registry.tracking,
  );
  const stops = await candidates('stop', wanted.stop, devices, registry.stop);
  const starts = await candidates('start', wanted.start, devices, registry.start);
  for (const stop of stops) {
    const start = starts.find(({ takes }) => takes.includes(stop.leaves));
    if (start === undefined) continue;
    const others = stops.slice(stops.indexOf(stop) + 1);
    const otherStops = others.filter(({ leaves }) => start.takes.includes(leaves));
    return { tracking, stop, start, otherTrackings, otherStops, startIsLeft: wanted.start === AUTO };
  }
  throw contradiction(stops[0], starts[0], registry);
}

/**
 * What can be judged without a machine: throws `migration/approach` for a stop and a start that never go together, with what
 * would do. Names that there are not are left to `chooseApproaches`.
 */
export function judgeChoice(wanted: Approaches, registry: ApproachRegistry): void {
  const [stops, starts] = [waysOf(wanted.stop, registry.stop), waysOf(wanted.start, registry.start)];
  if (stops.some(({ leaves }) => starts.some(({ takes }) => takes.includes(leaves)))) return;
  const [[stop], [start]] = [stops, starts];
  if (stop !== undefined && start !== undefined) throw contradiction(stop, start, registry);
}

const contradiction = (stop: StopDescriptor, start: StartDescriptor, registry: ApproachRegistry): Error =>
  refuse(
    'start',
    start.name,
    `stop = ${stop.name} ${LEFT_TEXT[stop.leaves]}; ${whatWouldDo(start, registry)}`,
  );

/** Why a machine with these devices can't be migrated as it is, in words; none if it can. */
export async function blockersOf(
  wanted: Approaches,
  devices: readonly AssignedDevice[],
  registry: ApproachRegistry,
): Promise<readonly string[]> {
  try {
    await chooseApproaches(wanted, devices, registry);
    return [];
  } catch (error) {
    if (!isFerryError(error)) throw error;
    return [error.message];
  }
}

/** The stops that the start goes with, of all that there are. */
function whatWouldDo({ takes, serves }: StartDescriptor, { stop }: ApproachRegistry): string {
  const fitting = stop.filter((one) => one.serves === serves && takes.includes(one.leaves));
  return fitting.length === 0
    ? 'no stop goes with this start'
    : `this start goes with stop = ${listOf(fitting)}`;
}

/** What can serve: the approach that is wanted, or with `auto` those that fit, best first. Throws if there is none. */
async function candidates<D extends Descriptor & { readonly tries?: readonly D[] }>(
  effort: Effort,
  wanted: string,
  devices: readonly AssignedDevice[],
  known: readonly D[],
): Promise<readonly [D, ...D[]]> {
  const named = waysOf(wanted, known);
  const judged = await Promise.all(
    named.map(async (descriptor) => ({ descriptor, problem: await unfit(descriptor, devices) })),
  );
  const [first, ...others] = judged.filter(({ problem }) => problem === undefined);
  if (first !== undefined) return [first.descriptor, ...others.map(({ descriptor }) => descriptor)];
  if (named.length === 0) throw refuse(effort, wanted, `known are ${listOf(known)}`);
  if (named.length === 1 && wanted !== AUTO) {
    throw refuse(effort, wanted, `${judged[0]!.problem}; ${await whatFits(effort, devices, known)}`);
  }
  const serves = devices.length === 0 ? 'none' : 'device';
  const problems = judged.filter(({ descriptor }) => descriptor.serves === serves);
  const reasons = problems.map(({ descriptor, problem }) => `${descriptor.name}: ${problem}`);
  if (wanted !== AUTO) throw refuse(effort, wanted, reasons.join('; '));
  throw migrationErrors.error('blocked', { effort, reasons: reasons.join('; ') || 'none is known' });
}

/** Of all that are known, those that this machine could do with. */
async function whatFits(
  effort: Effort,
  devices: readonly AssignedDevice[],
  known: readonly Descriptor[],
): Promise<string> {
  const problems = await Promise.all(known.map((one) => unfit(one, devices)));
  const fitting = known.filter((_, i) => problems[i] === undefined);
  return fitting.length === 0
    ? 'no other would do'
    : `this machine could do with ${effort} = ${listOf(fitting)}`;
}

/** What a name stands for: an approach, or several to be tried. `auto` has them all. */
function waysOf<D extends Descriptor & { readonly tries?: readonly D[] }>(
  wanted: string,
  known: readonly D[],
): readonly D[] {
  if (wanted === AUTO) return known.filter(({ tries }) => tries === undefined);
  return known.filter(({ name }) => name === wanted).flatMap((one) => one.tries ?? [one]);
}

/** Why a machine with these devices, or its guest, can't use the approach; undefined if they can. */
async function unfit(
  descriptor: Descriptor,
  devices: readonly AssignedDevice[],
): Promise<string | undefined> {
  const { serves, guestFeatures, refuses, problem: problemOf } = descriptor;
  if (serves === 'device' && devices.length === 0) return 'the machine has no assigned device';
  if (serves === 'none' && devices.length > 0) {
    return refuses?.(devices.map(({ name }) => name).join(', ')) ?? 'the machine has an assigned device';
  }
  for (const device of devices) {
    const problem =
      unsuited(device, descriptor) ??
      (await lackingInGuest(device, guestFeatures)) ??
      (await problemOf?.(device));
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** What the guest would have to be able to do and does not say that it is, in words. */
async function lackingInGuest(
  device: AssignedDevice,
  wanted: readonly string[],
): Promise<string | undefined> {
  if (wanted.length === 0) return undefined;
  const problem = unsuited(device, { needs: ['guest'] });
  if (problem !== undefined) return problem;
  const features = await device.guest!.features();
  const missing = wanted.filter((feature) => !features.includes(feature));
  return missing.length === 0 ? undefined : `${device.name}: its driver does not offer ${missing.join(', ')}`;
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
  const stops = stopsOf(chosen, devices);
  const untracked = faults.strikes('migration/device-untracked') !== undefined;
  const tracking = untracked ? cpuLog : chosen.tracking;
  return { tracking: tracking.make(machine, devices), stops, atWork: namesOf({ ...chosen, tracking }) };
}

/** What of a device's identity is which difference. */
const DIFFERENCES: Readonly<Record<keyof DeviceIdentity, Difference>> = {
  kind: 'other-device',
  revision: 'revision',
  vectors: 'vectors',
  queues: 'queues',
  mac: 'mac-policy',
};

/** Refuses a device that is not as `theirs` was, in something that the start does not cope with. */
function judgeIdentity(
  start: StartDescriptor,
  name: string,
  theirs: DeviceIdentity,
  devices: readonly AssignedDevice[],
  registry: ApproachRegistry,
): void {
  const ours = devices.find((device) => device.name === name)?.identity;
  if (ours === undefined) return;
  const parts = Object.keys(DIFFERENCES) as (keyof DeviceIdentity)[];
  const different = parts.filter((part) => ours[part] !== theirs[part]);
  const met = different.filter((part) => !start.copesWith.includes(DIFFERENCES[part]));
  if (met.length === 0) return;
  const copes = registry.start.filter(({ copesWith }) =>
    different.every((part) => copesWith.includes(DIFFERENCES[part])),
  );
  throw migrationErrors.error('device-differs', {
    device: name,
    start: start.name,
    differences: met.map((part) => `${part} ${theirs[part]} at the source, ${ours[part]} here`).join('; '),
    copes: listOf(copes),
  });
}

/** The stop at work on each of these devices. */
export const stopsOf = (
  { stop, start }: Pick<Chosen, 'stop' | 'start'>,
  devices: readonly AssignedDevice[],
): readonly OnDevice<DeviceStop>[] =>
  devices.map((device) => ({
    name: device.name,
    does: stop.make(device, async (patience) => start.make(device).afterRun?.(patience)),
  }));

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
      const assigned = devices.map(({ name }) => name).join(', ') || 'none';
      throw malformed(
        'hello',
        `approaches.${effort}`,
        `${approach}, and the assigned devices are ${assigned}`,
      );
    }
    return descriptor;
  });
  const [tracking, stop, start] = found as [TrackingDescriptor, StopDescriptor, StartDescriptor];
  if (!start.takes.includes(stop.leaves)) {
    throw malformed('hello', 'approaches.start', `${start.name}, which does not go with stop ${stop.name}`);
  }
  return { tracking, stop, start, otherTrackings: [], otherStops: [], startIsLeft: false };
}

/**
 * The starts, put to work on this side's devices. Throws `migration/device-mismatch` if the machine has not the devices
 * that come, `migration/device-differs` if one of them is not as it was, and the start does not cope with that;
 * `migration/approach` if one of them lacks what the start needs.
 */
export function destinationApproaches(
  { start }: Chosen,
  coming: MessageOf<'hello'>['devices'],
  devices: readonly AssignedDevice[],
  registry: ApproachRegistry,
): readonly OnDevice<DeviceStart>[] {
  const here = devices.map(({ name }) => name);
  const there = coming.map(({ name }) => name);
  const expected = start.copesWith.includes('no-device')
    ? there.filter((name) => here.includes(name))
    : there;
  if (expected.join() !== here.join()) {
    throw migrationErrors.error('device-mismatch', {
      source: there.join(', '),
      destination: here.join(', '),
    });
  }
  for (const { name, identity } of coming) judgeIdentity(start, name, identity, devices, registry);
  for (const device of devices) {
    const problem = unsuited(device, start);
    if (problem !== undefined) throw refuse('start', start.name, `at the destination ${problem}`);
  }
  return devices.map((device) => ({ name: device.name, does: start.make(device) }));
}
