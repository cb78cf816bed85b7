/**
 * Records of devices that consist of several parts: named sections, each a register file or a declared layout. What a
 * peer sends is taken apart strictly, and nothing is changed before everything was judged.
 */
import type { DeviceRecord } from '../../base/device-record.js';
import { describeRegisters } from '../../base/register-dump.js';
import type { RegisterFile } from '../../base/registers.js';
import { deviceErrors } from '../errors.js';

/** One part of a device's state. */
export interface StateSection {
  readonly name: string;
  save(): Uint8Array;
  /** Takes the bytes over; returns what is wrong with them, having changed nothing of this section. */
  restore(bytes: Uint8Array): string | undefined;
  describe(bytes: Uint8Array): readonly (readonly [name: string, value: string])[];
}

/** A register file as a section. */
export function registerSection(name: string, file: RegisterFile): StateSection {
  return {
    name,
    save: () => file.save(),
    restore: (bytes) => file.restore(bytes),
    describe: (bytes) => describeRegisters(file.table, bytes),
  };
}

const NAME_BYTES_MAX = 255;

/** Layout of a record: for each section one byte of name length, the name, four bytes of length, the bytes. */
export function encodeSections(
  parts: readonly { readonly name: string; readonly bytes: Uint8Array }[],
): Uint8Array {
  const total = parts.reduce((sum, { name, bytes }) => sum + 1 + name.length + 4 + bytes.length, 0);
  const record = new Uint8Array(total);
  const view = new DataView(record.buffer);
  let at = 0;
  for (const { name, bytes } of parts) {
    record[at++] = name.length;
    for (let i = 0; i < name.length; i++) record[at++] = name.charCodeAt(i);
    view.setUint32(at, bytes.length, true);
    record.set(bytes, at + 4);
    at += 4 + bytes.length;
  }
  return record;
}

const saveSections = (sections: readonly StateSection[]): Uint8Array =>
  encodeSections(sections.map((section) => ({ name: section.name, bytes: section.save() })));

/** Takes a record apart. Stops at the first byte that makes no sense; `problem` then says what. */
export function decodeSections(record: Uint8Array): {
  readonly sections: readonly (readonly [name: string, bytes: Uint8Array])[];
  readonly problem: string | undefined;
} {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const sections: [string, Uint8Array][] = [];
  let at = 0;
  while (at < record.length) {
    const nameBytes = Math.min(record[at]!, NAME_BYTES_MAX);
    const lengthAt = at + 1 + nameBytes;
    if (lengthAt + 4 > record.length)
      return { sections, problem: `cut off in a section's name at byte ${at}` };
    const name = String.fromCharCode(...record.subarray(at + 1, lengthAt));
    const length = view.getUint32(lengthAt, true);
    if (length > record.length - lengthAt - 4) return { sections, problem: `section ${name} is cut off` };
    at = lengthAt + 4 + length;
    sections.push([name, record.subarray(lengthAt + 4, at)]);
  }
  return { sections, problem: undefined };
}

/** Restores `sections` from `bytes`; the first problem is returned, and sections before it are already taken over. */
function applySections(sections: readonly StateSection[], bytes: Uint8Array): string | undefined {
  const { sections: found, problem } = decodeSections(bytes);
  if (problem !== undefined) return problem;
  for (let i = 0; i < Math.max(sections.length, found.length); i++) {
    const expected = sections[i]?.name;
    const actual = found[i]?.[0];
    if (expected !== actual) return `section ${actual ?? 'nothing'} where ${expected ?? 'nothing'} belongs`;
  }
  for (let i = 0; i < sections.length; i++) {
    const difference = sections[i]!.restore(found[i]![1]);
    if (difference !== undefined) return `${sections[i]!.name}: ${difference}`;
  }
  return undefined;
}

/** Saving, restoring and describing for a device made of sections. */
export class SectionedState {
  readonly name: string;
  readonly version: number;
  private readonly sections: readonly StateSection[];

  constructor(name: string, version: number, sections: readonly StateSection[]) {
    this.name = name;
    this.version = version;
    this.sections = sections;
  }

  save(): DeviceRecord {
    return { name: this.name, version: this.version, state: saveSections(this.sections) };
  }

  /** All of `record`, or nothing and a FerryError that names the difference. */
  restore(record: DeviceRecord): void {
    if (record.version !== this.version) {
      throw deviceErrors.error('recordVersion', {
        device: this.name,
        version: record.version,
        supported: this.version,
      });
    }
    const before = saveSections(this.sections);
    const difference = applySections(this.sections, record.state);
    if (difference === undefined) return;
    applySections(this.sections, before);
    throw deviceErrors.error('recordRefused', { device: this.name, difference });
  }

  /** Names are `section.REGISTER`. */
  describe(record: DeviceRecord): (readonly [string, string])[] {
    const { sections: found, problem } = decodeSections(record.state);
    const lines: (readonly [string, string])[] = [];
    for (const [name, bytes] of found) {
      const section = this.sections.find((s) => s.name === name);
      if (section === undefined) lines.push([name, `unknown section of ${bytes.length} bytes`]);
      else for (const [key, value] of section.describe(bytes)) lines.push([`${name}.${key}`, value]);
    }
    if (problem !== undefined) lines.push(['damaged', problem]);
    return lines;
  }
}
