/**
 * Serial ports: byte streams between programs of the guest and of the host. Nothing is lost while a port is full: the guest
 * finds no ROOM, the host is told how much was taken. What is under way when the machine moves, moves along.
 */
import { SERIAL_BASE, SERIAL_BYTES } from '../../base/abi/platform.js';
import type { DeviceRecord } from '../../base/device-record.js';
import type { FerryError } from '../../base/errors.js';
import type { GuestMemory } from '../../base/guest-memory.js';
import type { MachineDevice, MmioRegion } from '../../base/mmio.js';
import { describeRegisters } from '../../base/register-dump.js';
import { RegisterFile } from '../../base/registers.js';
import { gpa } from '../../base/units.js';
import { deviceErrors } from '../errors.js';
import { Fifo } from './fifo.js';
import { SERIAL_FIFO_BYTES, SERIAL_PORTS, type SerialPortName, serialRegisters } from './registers.js';
import { FIFOS_AT, SERIAL_VERSION, serialFifoState } from './state.js';

const { reg } = serialRegisters;

export interface SerialPorts {
  readonly memory: GuestMemory;
  /** Posts `vector` to vCPU `target`. */
  interrupt(target: number, vector: number): void;
  /** The guest has opened or closed the port, sent something, or made room. */
  changed(port: SerialPortName): void;
}

/** The host's end of a port. */
export class SerialPort {
  readonly fromHost = new Fifo();
  readonly toHost = new Fifo();
  readonly #index: number;
  readonly #registers: RegisterFile<unknown>;
  readonly #ports: SerialPorts;

  constructor(index: number, registers: RegisterFile<unknown>, ports: SerialPorts) {
    this.#index = index;
    this.#registers = registers;
    this.#ports = ports;
  }

  /** Whether a program of the guest has opened the port. */
  isOpen(): boolean {
    return this.#registers.getField(reg.CONTROL, reg.CONTROL.fields.OPEN, this.#index) === 1;
  }

  /** Returns how many of the bytes the port has taken. */
  write(bytes: Uint8Array): number {
    const taken = this.fromHost.put(bytes);
    if (taken > 0) this.#interrupt();
    return taken;
  }

  /** All that the guest has sent. */
  read(): Uint8Array {
    const taken = this.toHost.take(this.toHost.length);
    if (taken.length > 0) this.#interrupt();
    return taken;
  }

  #interrupt(): void {
    const { VECTOR, TARGET } = reg.CONTROL.fields;
    const control = this.#registers.get(reg.CONTROL, this.#index);
    const vector = VECTOR.get(control);
    if (vector !== 0) this.#ports.interrupt(TARGET.get(control), vector);
  }
}

export class SerialDevice implements MachineDevice {
  readonly name = 'serial';
  readonly version = SERIAL_VERSION;
  readonly regions: readonly MmioRegion[];
  readonly calls: ReadonlyMap<string, SerialPort>;
  readonly #ports: SerialPorts;
  readonly #registers: RegisterFile<unknown>;
  /** By number. */
  readonly #ends: readonly SerialPort[];

  constructor(ports: SerialPorts) {
    this.#ports = ports;
    this.#registers = new RegisterFile(serialRegisters, {
      CONTROL: { write: (_written, _before, index) => ports.changed(SERIAL_PORTS[index]!) },
      SEND: { write: (length, _before, index) => this.#send(index, length) },
      RECEIVE: { write: (length, _before, index) => this.#receive(index, length) },
      PENDING: { read: (_stored, index) => this.#ends[index]!.fromHost.length },
      ROOM: { read: (_stored, index) => this.#ends[index]!.toHost.room },
    });
    this.#ends = SERIAL_PORTS.map((_, index) => new SerialPort(index, this.#registers, ports));
    this.calls = new Map(SERIAL_PORTS.map((name, index) => [name, this.#ends[index]!]));
    const handler = {
      read: (offset: number, width: number) => this.#registers.read(offset, width),
      write: (offset: number, width: number, value: number) => this.#registers.write(offset, width, value),
    };
    this.regions = [{ name: this.name, base: SERIAL_BASE, bytes: SERIAL_BYTES, handler }];
  }

  save(): DeviceRecord {
    const fifos = this.#ends.flatMap(({ fromHost, toHost }) => [fromHost.waiting, toHost.waiting]);
    const state = new Uint8Array(FIFOS_AT + fifos.reduce((sum, { length }) => sum + length, 0));
    const view = new DataView(state.buffer);
    let at = FIFOS_AT;
    this.#ends.forEach(({ fromHost, toHost }, index) => {
      const lengths = { fromHost: fromHost.length, toHost: toHost.length };
      serialFifoState.write(view, index * serialFifoState.size, lengths);
    });
    state.set(this.#registers.save(), SERIAL_PORTS.length * serialFifoState.size);
    for (const fifo of fifos) {
      state.set(fifo, at);
      at += fifo.length;
    }
    return { name: this.name, version: this.version, state };
  }

  restore(record: DeviceRecord): void {
    const { state, version } = record;
    const refuse = (difference: string): FerryError =>
      deviceErrors.error('recordRefused', { device: this.name, difference });
    if (version !== this.version) {
      throw deviceErrors.error('recordVersion', { device: this.name, version, supported: this.version });
    }
    if (state.length < FIFOS_AT) throw refuse(`${state.length} bytes are too few`);
    const lengths = lengthsIn(state);
    const told = lengths.flatMap(({ fromHost, toHost }) => [fromHost, toHost]);
    const bytes = told.reduce((sum, length) => sum + length, FIFOS_AT);
    if (told.some((length) => length > SERIAL_FIFO_BYTES) || state.length !== bytes) {
      throw refuse(`${state.length} bytes with ${told.join(', ')} on their way`);
    }
    const wrong = this.#registers.restore(
      state.subarray(SERIAL_PORTS.length * serialFifoState.size, FIFOS_AT),
    );
    if (wrong !== undefined) throw refuse(wrong);
    let at = FIFOS_AT;
    this.#ends.forEach(({ fromHost, toHost }, index) => {
      const length = lengths[index]!;
      fromHost.replace(state.subarray(at, at + length.fromHost));
      at += length.fromHost;
      toHost.replace(state.subarray(at, at + length.toHost));
      at += length.toHost;
    });
  }

  describe({ state }: DeviceRecord): readonly (readonly [string, string])[] {
    if (state.length < FIFOS_AT) return [['record', 'too short']];
    const lengths = lengthsIn(state).flatMap(({ fromHost, toHost }, index) => [
      [`${SERIAL_PORTS[index]} from the host`, `${fromHost} bytes`] as const,
      [`${SERIAL_PORTS[index]} to the host`, `${toHost} bytes`] as const,
    ]);
    const registers = state.subarray(SERIAL_PORTS.length * serialFifoState.size, FIFOS_AT);
    return [...describeRegisters(serialRegisters, registers), ...lengths];
  }

  /** Bytes that do not lie in RAM are none. */
  #send(index: number, length: number): void {
    const { toHost } = this.#ends[index]!;
    const at = gpa(this.#registers.get(reg.ADDRESS, index));
    const bytes = this.#ports.memory.view(at, Math.min(length, toHost.room));
    if (bytes === undefined || bytes.length === 0) return;
    toHost.put(bytes);
    this.#ports.changed(SERIAL_PORTS[index]!);
  }

  /** What has no place in RAM waits on. */
  #receive(index: number, length: number): void {
    const { fromHost } = this.#ends[index]!;
    const at = gpa(this.#registers.get(reg.ADDRESS, index));
    const count = Math.min(length, fromHost.length);
    if (count === 0 || !this.#ports.memory.write(at, fromHost.waiting.subarray(0, count))) return;
    fromHost.take(count);
    this.#ports.changed(SERIAL_PORTS[index]!);
  }
}

function lengthsIn(state: Uint8Array): { readonly fromHost: number; readonly toHost: number }[] {
  const view = new DataView(state.buffer, state.byteOffset, state.byteLength);
  return SERIAL_PORTS.map((_, index) => serialFifoState.read(view, index * serialFifoState.size));
}
