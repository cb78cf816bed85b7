/** Whether a guest that is announced fits this machine. */
import { PAGE_BYTES } from '../../base/units.js';
import type { MachineDescription } from '../../migration/ports.js';
import { vmmErrors } from '../errors.js';
import { ROOT_PORT_NAME } from '../passthrough/records.js';

/**
 * Throws `vmm/machine-incompatible`, which names every difference between what arrives and what this machine is.
 * `reservedBase`: first byte of the reserved range; the image lies below.
 */
export function refuseUnlike(
  ours: MachineDescription,
  theirs: MachineDescription,
  reservedBase: number,
): void {
  const differences: string[] = [];
  const compare = (what: string, expected: string | number, found: string | number): void => {
    if (expected !== found) differences.push(`${what}: the source has ${found}, this machine ${expected}`);
  };
  compare('RAM bytes', ours.ramBytes, theirs.ramBytes);
  compare('vCPUs', ours.vcpus, theirs.vcpus);
  compare('migrated pages', ours.migratedPages, theirs.migratedPages);
  const named = ({ devices }: MachineDescription): string =>
    devices.map(({ name, version }) => `${name} v${version}`).join(', ');
  compare('devices', named(ours), named(theirs));
  const hasNic = ({ devices }: MachineDescription): boolean =>
    devices.some(({ name }) => name === ROOT_PORT_NAME);
  if (hasNic(ours) !== hasNic(theirs)) {
    const [with_, without] = hasNic(theirs) ? ['the source', 'this machine'] : ['this machine', 'the source'];
    differences.push(`assigned function: ${with_} has one (--nic vf), ${without} has none`);
  }
  const imageEnd = theirs.imageGpa + theirs.imageBytes;
  const wholePages = Number.isInteger(theirs.imageGpa / PAGE_BYTES) && theirs.imageGpa >= 0;
  if (!(wholePages && theirs.imageBytes > 0 && imageEnd <= reservedBase)) {
    differences.push(
      `the guest image at ${theirs.imageGpa} to ${imageEnd} does not lie on pages of migrated RAM`,
    );
  }
  if (differences.length === 0) return;
  const facts = { differences: differences.join('; '), count: differences.length };
  throw vmmErrors.error('machine-incompatible', facts);
}
