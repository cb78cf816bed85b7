/**
 * What is saved of a unit: its registers, and what it latched from them by command. Caches are not state: a unit that
 * was restored has everything to fetch anew, which any unit may do at any time.
 */
import type { DeviceRecord } from '../base/device-record.js';
import { layout, u8, u64 } from '../base/layout.js';
import { describeRegisters } from '../base/register-dump.js';
import type { RegisterFile } from '../base/registers.js';
import { MODE_ABORT } from './contexts.js';
import { iommuErrors } from './errors.js';
import { faultName } from './fault-reasons.js';
import { FAULT_RECORDS, reg, vtdTable } from './registers.js';

export const VTD_RECORD_VERSION = 1;

/** Latched values. Addresses are saved as page numbers, which any 64-bit table address has exactly. */
const latchedLayout = layout('vt-d latched state', {
  rootPage: u64(),
  interruptTablePage: u64(),
  queuePage: u64(),
  mode: u8(),
  nextFault: u8(),
  /** IQA.QS and IQA.DW. */
  queueSize: u8(),
  queueWide: u8(),
  /** IRTA.S, and whether a table was ever set. */
  interruptTableSize: u8(),
  interruptTableSet: u8(),
  extended: u8(),
  reserved: u8(),
});
export type LatchedState = ReturnType<typeof latchedLayout.read>;

export function encodeState(latched: LatchedState, registers: RegisterFile<unknown>): Uint8Array {
  const body = registers.save();
  const state = new Uint8Array(latchedLayout.size + body.length);
  state.set(latchedLayout.encode(latched));
  state.set(body, latchedLayout.size);
  return state;
}

/** Judges a record and takes its registers over; throws a FerryError and changes nothing if it can't. */
export function decodeState(record: DeviceRecord, registers: RegisterFile<unknown>): LatchedState {
  const { name: device, version, state } = record;
  if (version !== VTD_RECORD_VERSION) {
    throw iommuErrors.error('record-version', { device, version, supported: VTD_RECORD_VERSION });
  }
  const damaged = (problem: string): Error => iommuErrors.error('record-damaged', { device, problem });
  if (state.length < latchedLayout.size) throw damaged(`${state.length} bytes`);
  const latched = latchedLayout.read(viewOf(state), 0);
  const pages = [latched.rootPage, latched.interruptTablePage, latched.queuePage];
  if (pages.some((page) => page >= 2 ** 52)) throw damaged('a table address above 64 bits');
  if (latched.mode > MODE_ABORT) throw damaged(`translation table mode ${latched.mode}`);
  if (latched.nextFault >= FAULT_RECORDS) throw damaged(`fault record ${latched.nextFault}`);
  if (latched.queueSize > 7 || latched.queueWide > 1) throw damaged('the size of the invalidation queue');
  if (latched.interruptTableSize > 15) throw damaged('the size of the interrupt table');
  const before = registers.save();
  const problem = registers.restore(state.subarray(latchedLayout.size));
  if (problem !== undefined) throw damaged(problem);
  const fault = difference(device, before, registers);
  if (fault !== undefined) {
    registers.restore(before);
    throw fault;
  }
  return latched;
}

/** What no restored record may change: the capabilities that tables and drivers were built for. */
function difference(device: string, before: Uint8Array, registers: RegisterFile<unknown>): Error | undefined {
  const words = new Map(vtdTable.mapped.map((word, i) => [word, viewOf(before).getUint32(i * 4, true)]));
  for (const register of [reg.VER, reg.CAP, reg.ECAP]) {
    const halves = register.width === 64 ? [1, 0] : [0];
    const text = (value: (half: number) => number): string =>
      `0x${halves.map((half) => value(half).toString(16).padStart(8, '0')).join('')}`;
    const here = text((half) => words.get(register.word + half)!);
    const saved = text((half) => registers.words[register.word + half]!);
    if (here !== saved) {
      return iommuErrors.error('capability-difference', { device, register: register.name, saved, here });
    }
  }
  return undefined;
}

/** A record in words; of damaged bytes as much as can be read. */
export function describeState(record: DeviceRecord): (readonly [string, string])[] {
  const { state } = record;
  if (state.length < latchedLayout.size) return [['state', `${state.length} bytes, too short`]];
  const latched = latchedLayout.read(viewOf(state), 0);
  const lines: (readonly [string, string])[] = [
    ['latched root table', `0x${(latched.rootPage * 4096).toString(16)} mode ${latched.mode}`],
    ['latched interrupt table', `0x${(latched.interruptTablePage * 4096).toString(16)}`],
    ['latched invalidation queue', `0x${(latched.queuePage * 4096).toString(16)}`],
    ['next fault record', String(latched.nextFault)],
  ];
  for (const [name, value] of describeRegisters(vtdTable, state.subarray(latchedLayout.size))) {
    const reason = /^FRCD_HIGH.* FR=(\w+)/.exec(value.length > 0 ? `${name} ${value}` : '');
    lines.push([name, reason === null ? value : `${value} (${faultName(Number(reason[1]))})`]);
  }
  return lines;
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
