/** Whether a guest that is announced fits this machine. */
import { PAGE_BYTES } from '../../base/units.js';
import type { MachineDescription } from '../../migration/ports.js';
import { vmmErrors } from '../errors.js';
import { ASSIGNED_MAX, passthroughRecords, rootPortName } from '../passthrough/records.js';

type Device = MachineDescription['devices'][number];

const NIC_RECORDS: readonly string[] = passthroughRecords(ASSIGNED_MAX).map(({ name }) => name);
const PORTS: readonly string[] = Array.from({ length: ASSIGNED_MAX }, (_, i) => rootPortName(i));

/**
 * Throws `vmm/machine-incompatible`, which names every cause for which what arrives does not fit this machine, and no cause
 * twice: what only follows from another difference is not told.
 */
export function refuseUnlike(ours: MachineDescription, theirs: MachineDescription): void {
  const differences = [
    ...sizeDifferences(ours, theirs),
    ...deviceDifferences(ours.devices, theirs.devices),
    ...imageProblems(theirs),
  ];
  if (differences.length === 0) return;
  const facts = { differences: differences.join('; '), count: differences.length };
  throw vmmErrors.error('machine-incompatible', facts);
}

const unlike = (what: string, ours: string | number, theirs: string | number): string[] =>
  ours === theirs ? [] : [`${what}: the source has ${theirs}, this machine ${ours}`];

/** Machines of one size differ in what migrates of it only if they are of different versions. */
function sizeDifferences(ours: MachineDescription, theirs: MachineDescription): string[] {
  const sizes = [
    ...unlike('RAM bytes', ours.ramBytes, theirs.ramBytes),
    ...unlike('vCPUs', ours.vcpus, theirs.vcpus),
  ];
  return sizes.length > 0 ? sizes : unlike('migrated pages', ours.migratedPages, theirs.migratedPages);
}

/** Assigned functions bring records of their own: where their number differs, that is the difference, and not each. */
function deviceDifferences(ours: readonly Device[], theirs: readonly Device[]): string[] {
  const assigned = (devices: readonly Device[]): number =>
    devices.filter(({ name }) => PORTS.includes(name)).length;
  const named = (devices: readonly Device[]): string =>
    devices.map(({ name, version }) => `${name} v${version}`).join(', ');
  const [here, there] = [assigned(ours), assigned(theirs)];
  if (here === there) return unlike('devices', named(ours), named(theirs));
  const others = (devices: readonly Device[]): string =>
    named(devices.filter(({ name }) => !NIC_RECORDS.includes(name)));
  return [
    `assigned functions: the source has ${there} (--nic ${nicWord(there)}), this machine ${here} (--nic ${nicWord(here)})`,
    ...unlike('devices', others(ours), others(theirs)),
  ];
}

const nicWord = (functions: number): string =>
  functions === 0 ? 'none' : functions === 1 ? 'vf' : `vf=${functions}`;

/** The image, in the source's own terms: a machine of another size is a difference of its own. */
function imageProblems({ imageGpa, imageBytes, migratedPages }: MachineDescription): string[] {
  const imageEnd = imageGpa + imageBytes;
  const onPages = Number.isInteger(imageGpa / PAGE_BYTES) && imageGpa >= 0;
  return onPages && imageBytes > 0 && imageEnd <= migratedPages * PAGE_BYTES
    ? []
    : [`the guest image at ${imageGpa} to ${imageEnd} does not lie on pages of migrated RAM`];
}
