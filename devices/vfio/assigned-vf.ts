/**
 * A virtual function of the 82599 together with the function that its guest sees, as one migratable device. Sections
 * are those of both records, named by role, so that neither the NIC's name nor the VF's number travels.
 */

import type { DeviceRecord, SaveableDevice } from '../../base/device-record.js';
import { isFerryError } from '../../base/errors.js';
import { vfBars, vfIdentity, vfMsix } from '../nic82599/functions.js';
import { API_1_4 } from '../nic82599/pf-driver/messages.js';
import { MAILBOX_DWORDS, QUEUES_PER_POOL } from '../nic82599/registers.js';
import { DRIVER_SECTION } from '../nic82599/state.js';
import { CONTEXT_SLOTS } from '../nic82599/transmit.js';
import type { VirtualFunction } from '../nic82599/vf.js';
import type { AssignedFunction } from '../pci/assigned-function.js';
import { decodeSections, encodeSections } from '../pci/state.js';
import type { DeviceSection, MigratableDevice } from './migratable.js';
import type { Activity } from './states.js';
import type { DeviceIdentity, MigrationSection } from './stream.js';

/** Sections that change with every frame; all others do with a driver's setting up. */
const LATE: ReadonlySet<string> = new Set(['vf/registers', 'vf/transmit0', 'vf/transmit1', 'vf/throttle']);

/** As the guest sees it; what it may set depends on that. */
const identityOf = ({ identity, vectors }: AssignedFunction, queues: number): DeviceIdentity => ({
  vendorId: vfIdentity.vendorId,
  deviceId: vfIdentity.deviceId,
  revision: identity.revision,
  classCode: vfIdentity.classCode,
  subsystemVendorId: vfIdentity.subsystemVendorId!,
  subsystemId: vfIdentity.subsystemId!,
  ...Object.fromEntries(vfBars.map(({ index, bytes }) => [`bar${index}Bytes`, bytes])),
  msixVectors: vectors,
  msixBar: vfMsix.bar,
  msixTableOffset: vfMsix.tableOffset,
  msixPendingOffset: vfMsix.pendingOffset,
  queues,
  transmitContexts: CONTEXT_SLOTS,
  mailboxWords: MAILBOX_DWORDS,
  mailboxApiMax: API_1_4,
});

export class AssignedVf implements MigratableDevice {
  readonly name: string;
  readonly identity: DeviceIdentity;
  private readonly vf: VirtualFunction;
  private readonly assigned: AssignedFunction;

  /** `assigned` is what the guest sees of `vf`; its name is the device's. `queues`: pairs that it may use. */
  constructor(vf: VirtualFunction, assigned: AssignedFunction, queues: number = QUEUES_PER_POOL) {
    this.identity = identityOf(assigned, queues);
    this.name = assigned.name;
    this.vf = vf;
    this.assigned = assigned;
  }

  setActivity(activity: Activity): void {
    if (activity === 'running') this.vf.start();
    else if (activity === 'quiesced') this.vf.quiesce();
    else this.vf.stop();
  }

  save(): readonly DeviceSection[] {
    return [...sectionsOf('vf', this.vf.save()), ...sectionsOf('assigned', this.assigned.save())];
  }

  judge({ name, bytes }: MigrationSection): string | undefined {
    return name === `vf/${DRIVER_SECTION}` ? this.vf.judgeDriver(bytes) : undefined;
  }

  /** The VF first: the guest's function then wires its vectors to this host's, on top of what the other host had. */
  restore(sections: readonly MigrationSection[]): void {
    const before = this.vf.save();
    this.vf.restore(recordOf('vf', this.vf, sections));
    try {
      this.assigned.restore(recordOf('assigned', this.assigned, sections));
    } catch (error) {
      if (isFerryError(error)) this.vf.restore(before);
      throw error;
    }
  }

  /** Sections in words, named `vf/registers.RDH[0]`. Never throws for what they hold. */
  describe(sections: readonly MigrationSection[]): readonly (readonly [string, string])[] {
    return (
      [
        ['vf', this.vf],
        ['assigned', this.assigned],
      ] as const
    ).flatMap(([role, part]) =>
      part
        .describe(recordOf(role, part, sections))
        .map(([name, value]) => [`${role}/${name}`, value] as const),
    );
  }

  /** Function-level reset, which the guest's function passes on. */
  reset(): void {
    this.assigned.fn.reset('function');
  }
}

function sectionsOf(role: string, record: DeviceRecord): DeviceSection[] {
  return decodeSections(record.state).sections.map(([part, bytes]) => {
    const name = `${role}/${part}`;
    return { name, version: record.version, bytes, early: !LATE.has(name) };
  });
}

function recordOf(
  role: string,
  { name, version }: SaveableDevice,
  sections: readonly MigrationSection[],
): DeviceRecord {
  const own = sections.filter((section) => section.name.startsWith(`${role}/`));
  const parts = own.map((section) => ({ name: section.name.slice(role.length + 1), bytes: section.bytes }));
  return { name, version: own[0]?.version ?? version, state: encodeSections(parts) };
}
