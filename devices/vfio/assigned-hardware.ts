/**
 * A physical function together with the function that its guest sees, as one migratable device. Sections are those of both
 * records, named by role, so that neither the hardware's name nor its number travels.
 */
import type { DeviceRecord, SaveableDevice } from '../../base/device-record.js';
import { isFerryError } from '../../base/errors.js';
import type { AssignedFunction } from '../pci/assigned-function.js';
import { decodeSections, encodeSections } from '../pci/state.js';
import type { DeviceSection, MigratableDevice } from './migratable.js';
import type { Activity } from './states.js';
import type { DeviceIdentity, MigrationSection } from './stream.js';

/** What the host has hold of; see `MigratableDevice.setActivity`. */
export interface Hardware extends SaveableDevice {
  start(): void;
  quiesce(): void;
  stop(): void;
}

export interface AssignedHardwareOptions {
  /** What its sections are called by. */
  readonly role: string;
  readonly hardware: Hardware;
  /** What the guest sees of it; its name is the device's. */
  readonly assigned: AssignedFunction;
  readonly identity: DeviceIdentity;
  /** Sections that change with all that the device does; all others change with a driver's setting up. */
  readonly late: ReadonlySet<string>;
  /** Asked before each step: what the hardware fails with, by a fault on purpose. */
  readonly failure?: (() => Error | undefined) | undefined;
}

const ASSIGNED = 'assigned';
const functionRecordName = (device: string): string => `${device}-function`;

export class AssignedHardware implements MigratableDevice {
  readonly name: string;
  readonly identity: DeviceIdentity;
  private readonly role: string;
  private readonly hardware: Hardware;
  private readonly assigned: AssignedFunction;
  private readonly late: ReadonlySet<string>;
  private readonly failure: AssignedHardwareOptions['failure'];

  constructor({ role, hardware, assigned, identity, late, failure }: AssignedHardwareOptions) {
    this.identity = identity;
    this.name = assigned.name;
    this.role = role;
    this.hardware = hardware;
    this.assigned = assigned;
    this.late = late;
    this.failure = failure;
  }

  setActivity(activity: Activity): void {
    const failed = this.failure?.();
    if (failed !== undefined) throw failed;
    if (activity === 'running') this.hardware.start();
    else if (activity === 'quiesced') this.hardware.quiesce();
    else this.hardware.stop();
  }

  save(): readonly DeviceSection[] {
    return this.parts().flatMap(([role, part]) => this.sectionsOf(role, part.save()));
  }

  /** The hardware first: the guest's function then wires its vectors to this host's, on top of what the other host had. */
  restore(sections: readonly MigrationSection[]): void {
    const before = this.hardware.save();
    this.hardware.restore(recordOf(this.role, this.hardware, sections));
    try {
      this.assigned.restore(recordOf(ASSIGNED, this.assigned, sections));
    } catch (error) {
      if (isFerryError(error)) this.hardware.restore(before);
      throw error;
    }
  }

  /** Sections in words, named `vf/registers.RDH[0]`. Never throws for what they hold. */
  describe(sections: readonly MigrationSection[]): readonly (readonly [string, string])[] {
    return this.parts().flatMap(([role, part]) =>
      part
        .describe(recordOf(role, part, sections))
        .map(([name, value]) => [`${role}/${name}`, value] as const),
    );
  }

  /** Function-level reset, which the guest's function passes on. */
  reset(): void {
    this.assigned.fn.reset('function');
  }

  /** Named by their part in it, because the host may use another of its functions than the other host did. */
  records(): readonly DeviceRecord[] {
    return [{ ...this.hardware.save(), name: functionRecordName(this.name) }, this.assigned.save()];
  }

  /** One of `records` in words; undefined if it is none of them. Never throws for what it holds. */
  describeRecord(record: DeviceRecord): readonly (readonly [string, string])[] | undefined {
    if (record.name === functionRecordName(this.name)) return this.hardware.describe(record);
    return record.name === this.name ? this.assigned.describe(record) : undefined;
  }

  private parts(): readonly (readonly [role: string, part: SaveableDevice])[] {
    return [
      [this.role, this.hardware],
      [ASSIGNED, this.assigned],
    ];
  }

  private sectionsOf(role: string, record: DeviceRecord): DeviceSection[] {
    return decodeSections(record.state).sections.map(([part, bytes]) => {
      const name = `${role}/${part}`;
      return { name, version: record.version, bytes, early: !this.late.has(name) };
    });
  }
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
