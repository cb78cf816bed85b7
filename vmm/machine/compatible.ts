/** Whether a guest that is announced fits this machine. */
import { PAGE_BYTES } from '../../base/units.js';
import type { MachineDescription } from '../../migration/ports.js';
import { vmmErrors } from '../errors.js';
import {
  ASSIGNED_MAX,
  eduPortName,
  passthroughRecords,
  rootPortName,
  virtioName,
} from '../passthrough/records.js';

type Device = MachineDescription['devices'][number];

const NIC_RECORDS: readonly string[] = passthroughRecords(ASSIGNED_MAX, ASSIGNED_MAX, ASSIGNED_MAX).map(
  ({ name }) => name,
);
const numbered = (name: (index: number) => string): readonly string[] =>
  Array.from({ length: ASSIGNED_MAX }, (_, i) => name(i));
const PORTS = numbered(rootPortName);
const VIRTIO = numbered(virtioName);
const EDUS = numbered(eduPortName);

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

/** NICs bring records of their own: where their number differs, that is the difference, and not each. */
function deviceDifferences(ours: readonly Device[], theirs: readonly Device[]): string[] {
  const named = (devices: readonly Device[]): string =>
    devices.map(({ name, version }) => `${name} v${version}`).join(', ');
  const [here, there] = [nicsOf(ours), nicsOf(theirs)];
  const counted = (what: string, nics: keyof Nics): string[] =>
    here[nics] === there[nics]
      ? []
      : unlike(what, `${here[nics]} (${nicWords(here)})`, `${there[nics]} (${nicWords(there)})`);
  const different = [
    ...counted('assigned functions', 'functions'),
    ...counted('virtio NICs', 'virtio'),
    ...unlike('edu devices', here.edus, there.edus),
  ];
  if (different.length === 0) return unlike('devices', named(ours), named(theirs));
  const others = (devices: readonly Device[]): string =>
    named(devices.filter(({ name }) => !NIC_RECORDS.includes(name)));
  return [...different, ...unlike('devices', others(ours), others(theirs))];
}

interface Nics {
  readonly functions: number;
  readonly virtio: number;
  readonly edus: number;
}

const nicsOf = (devices: readonly Device[]): Nics => ({
  functions: devices.filter(({ name }) => PORTS.includes(name)).length,
  virtio: devices.filter(({ name }) => VIRTIO.includes(name)).length,
  edus: devices.filter(({ name }) => EDUS.includes(name)).length,
});

/** As `--nic` has it: a NIC of the VMM's own beside a function is its standby. */
function nicWords({ functions, virtio }: Nics): string {
  if (functions === 0) return virtio === 0 ? '--nic none' : '--nic virtio';
  return `--nic vf${functions === 1 ? '' : `=${functions}`}${virtio === 0 ? '' : ',failover=on'}`;
}

/** The image, in the source's own terms: a machine of another size is a difference of its own. */
function imageProblems({ imageGpa, imageBytes, migratedPages }: MachineDescription): string[] {
  const imageEnd = imageGpa + imageBytes;
  const onPages = Number.isInteger(imageGpa / PAGE_BYTES) && imageGpa >= 0;
  return onPages && imageBytes > 0 && imageEnd <= migratedPages * PAGE_BYTES
    ? []
    : [`the guest image at ${imageGpa} to ${imageEnd} does not lie on pages of migrated RAM`];
}
