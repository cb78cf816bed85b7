/**
 * The console: prints what the guest writes, by lines. It decides nothing about where lines go or how many are kept;
 * whoever takes them bounds that.
 */
import { CONSOLE_BASE, CONSOLE_BYTES } from '../../base/abi/platform.js';
import type { Clock } from '../../base/clock.js';
import type { DeviceRecord, SaveableDevice } from '../../base/device-record.js';
import type { FerryError } from '../../base/errors.js';
import type { GuestMemory } from '../../base/guest-memory.js';
import type { MmioRegion } from '../../base/mmio.js';
import { describeRegisters } from '../../base/register-dump.js';
import { RegisterFile } from '../../base/registers.js';
import { gpa } from '../../base/units.js';
import { deviceErrors } from '../errors.js';
import { consoleRegisters, WRITE_BYTES_MAX } from './registers.js';
import { CONSOLE_VERSION, consoleState, LINE_BYTES_MAX, REGISTERS_BYTES } from './state.js';

export interface ConsoleLine {
  /** Printable ASCII and tabs; any other byte is shown as `\xNN`, so that no guest can drive a user's terminal. */
  readonly text: string;
  /** The virtual clock when the line ended. */
  readonly atNs: number;
}

export interface ConsolePorts {
  readonly memory: GuestMemory;
  readonly clock: Clock;
  print(line: ConsoleLine): void;
}

const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;

const SHOWN: readonly string[] = Array.from({ length: 256 }, (_, byte) =>
  byte === 0x09 || (byte >= 0x20 && byte < 0x7f)
    ? String.fromCharCode(byte)
    : `\\x${byte.toString(16).padStart(2, '0')}`,
);

const show = (bytes: Uint8Array): string => {
  let text = '';
  for (const byte of bytes) text += SHOWN[byte];
  return text;
};

export class ConsoleDevice implements SaveableDevice {
  readonly name = 'console';
  readonly version = CONSOLE_VERSION;
  readonly regions: readonly MmioRegion[];
  readonly #ports: ConsolePorts;
  readonly #registers: RegisterFile<unknown>;
  readonly #line = new Uint8Array(LINE_BYTES_MAX);
  #lineBytes = 0;
  #ignoredWrites = 0;

  constructor(ports: ConsolePorts) {
    this.#ports = ports;
    this.#registers = new RegisterFile(consoleRegisters, {
      DATA: { write: (byte) => this.#put(byte & 0xff) },
      LENGTH: { write: (length) => this.#printFromRam(length) },
    });
    const handler = {
      read: (offset: number, width: number) => this.#registers.read(offset, width),
      write: (offset: number, width: number, value: number) => this.#registers.write(offset, width, value),
    };
    this.regions = [{ name: this.name, base: CONSOLE_BASE, bytes: CONSOLE_BYTES, handler }];
  }

  /** Writes to LENGTH that were ignored because their text did not lie in RAM. */
  get ignoredWrites(): number {
    return this.#ignoredWrites;
  }

  save(): DeviceRecord {
    const state = new Uint8Array(consoleState.size + REGISTERS_BYTES + this.#lineBytes);
    const head = { ignoredWrites: this.#ignoredWrites, lineBytes: this.#lineBytes };
    consoleState.write(new DataView(state.buffer), 0, head);
    state.set(this.#registers.save(), consoleState.size);
    state.set(this.#line.subarray(0, this.#lineBytes), consoleState.size + REGISTERS_BYTES);
    return { name: this.name, version: this.version, state };
  }

  restore(record: DeviceRecord): void {
    const refuse = (difference: string): FerryError =>
      deviceErrors.error('recordRefused', { device: this.name, difference });
    if (record.version !== this.version) {
      const facts = { device: this.name, version: record.version, supported: this.version };
      throw deviceErrors.error('recordVersion', facts);
    }
    const { state } = record;
    if (state.length < consoleState.size + REGISTERS_BYTES) {
      throw refuse(`${state.length} bytes are too few`);
    }
    const head = consoleState.read(new DataView(state.buffer, state.byteOffset, state.byteLength), 0);
    if (head.reserved !== 0) throw refuse('reserved bits are set');
    const lineAt = consoleState.size + REGISTERS_BYTES;
    if (head.lineBytes > LINE_BYTES_MAX || state.length !== lineAt + head.lineBytes) {
      throw refuse(`${state.length} bytes with a line of ${head.lineBytes}`);
    }
    const wrong = this.#registers.restore(state.subarray(consoleState.size, lineAt));
    if (wrong !== undefined) throw refuse(wrong);
    this.#line.set(state.subarray(lineAt));
    this.#lineBytes = head.lineBytes;
    this.#ignoredWrites = head.ignoredWrites;
  }

  describe(record: DeviceRecord): readonly (readonly [string, string])[] {
    const { state } = record;
    if (state.length < consoleState.size) return [['record', 'too short']];
    const head = consoleState.read(new DataView(state.buffer, state.byteOffset, state.byteLength), 0);
    const lineAt = consoleState.size + REGISTERS_BYTES;
    return [
      ...describeRegisters(consoleRegisters, state.subarray(consoleState.size, lineAt)),
      ['ignored writes', String(head.ignoredWrites)],
      ['open line', show(state.subarray(lineAt))],
    ];
  }

  #printFromRam(length: number): void {
    const at = gpa(this.#registers.get(consoleRegisters.reg.ADDRESS));
    const text = this.#ports.memory.view(at, Math.min(length, WRITE_BYTES_MAX));
    if (text === undefined) {
      this.#ignoredWrites = (this.#ignoredWrites + 1) >>> 0;
      return;
    }
    for (let i = 0; i < text.length; i++) this.#put(text[i]!);
  }

  #put(byte: number): void {
    if (byte === NEWLINE) {
      this.#endLine();
      return;
    }
    if (byte === CARRIAGE_RETURN) return;
    this.#line[this.#lineBytes++] = byte;
    if (this.#lineBytes === LINE_BYTES_MAX) this.#endLine();
  }

  #endLine(): void {
    const text = show(this.#line.subarray(0, this.#lineBytes));
    this.#lineBytes = 0;
    this.#ports.print({ text, atNs: this.#ports.clock.now() });
  }
}
