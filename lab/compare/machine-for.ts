/** The machine that an approach is measured on: what its device must have for it, beside what the user said of the NIC. */
import { EFFORTS } from '../../migration/approach.js';
import type { ApproachRegistry } from '../../migration/registry.js';
import { type NicKind, nicWith } from '../../vmm/process/nic-options.js';
import type { Contestant } from './contestants.js';

/** `nic` with the properties that the approaches that were asked for need; what was said of it stays. */
export function machineFor(
  { asked, effort, name }: Contestant,
  registry: ApproachRegistry,
  nic: NicKind,
): NicKind {
  const named = { ...asked, [effort]: name };
  const descriptors = EFFORTS.flatMap((one) => registry[one].filter((known) => known.name === named[one]));
  return nicWith(
    nic,
    descriptors.flatMap(({ needs }) => needs),
    descriptors.flatMap(({ betterWithout = [] }) => betterWithout),
  );
}
