/**
 * The least that can run the guest kernel as the compiler leaves it, without toolchain and VMM: RAM, a virtual clock
 * that moves when the guest looks at it or halts, one vCPU in this very thread. Interrupts arrive when the guest halts or
 * reads the clock. Whatever a test does to the machine it does from `at`, at a given virtual time.
 */
import {
  BOOT_PARAMS_GPA,
  BOOT_PARAMS_MAGIC,
  BOOT_PARAMS_VERSION,
  bootParams,
  COMMAND_LINE_GPA,
  MEMORY_RESERVED,
  MEMORY_USABLE,
  memoryMapEntry,
} from '../../base/abi/boot-params.js';
import {
  CONSOLE_BASE,
  ECAM_BASE,
  ECAM_BYTES,
  LAPIC_BASE,
  POWER_BASE,
  SERIAL_BASE,
  SERIAL_BYTES,
  TIMER_VECTOR,
} from '../../base/abi/platform.js';
import type { AccessWidth, MmioHandler } from '../../base/mmio.js';
import { MIB, PAGE_BYTES } from '../../base/units.js';
import { POWER_PANIC, POWER_RESET, powerRegisters } from '../../devices/power/registers.js';
import { SerialDevice } from '../../devices/serial/device.js';

/** Where the kernel's static data ends at the latest. */
export const DATA_END = 1 * MIB;
/** Virtual time that one look at the clock takes. */
const CLOCK_READ_NS = 100;
export const MS = 1e6;
export const SECOND = 1e9;

export interface PlainMachineOptions {
  readonly commandLine?: string;
  readonly ramBytes?: number;
  readonly seed?: number;
  /** Of the boot information page. */
  readonly version?: number;
  /** With serial ports. */
  readonly serial?: boolean;
}

/** Devices of the machine beyond console and power. */
export interface PlainDevices {
  read(address: number, width: number): number;
  write(address: number, width: number, value: number): void;
  /** Lets the devices work, at each look at the clock; true if there is more to do at once. */
  run(): boolean;
}

/** Thrown through the guest's frames to end a run; nothing can be resumed after it. */
class EndOfRun extends Error {}

export type End = 'time' | 'power-off' | 'reset' | 'panic';

export class PlainMachine {
  readonly memory: WebAssembly.Memory;
  readonly u8: Uint8Array;
  readonly view: DataView;
  readonly lines: string[] = [];
  /** Set before `run`. Without them there is no PCI, and a read of MMIO gives 0. */
  devices: PlainDevices | undefined;
  /** Their host's ends are its `calls`. */
  readonly serial: SerialDevice | undefined;
  /** Told what the guest does to a serial port. */
  serialChanged: (port: string) => void = () => {};
  mmioReads = 0;
  halts = 0;
  interrupts = 0;
  now = 0;
  #text = '';
  #consoleAddress = 0;
  #deadline = -1;
  #irqEnabled = false;
  #limit = 0;
  #end: End = 'time';
  #buttonVector = 0;
  readonly #vectors: number[] = [];
  readonly #events: { at: number; run: () => void }[] = [];
  readonly #entry: (page: number) => void;
  readonly #irqEntry: (vector: number) => void;

  constructor(module: WebAssembly.Module, options: PlainMachineOptions = {}) {
    const ramBytes = options.ramBytes ?? 64 * MIB;
    const pages = ramBytes / 65536;
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: 57344, shared: true });
    this.u8 = new Uint8Array(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);
    this.serial = options.serial === true ? this.#serialDevice() : undefined;
    const { exports } = new WebAssembly.Instance(module, {
      env: { memory: this.memory },
      ferry: {
        mmio_read: (address: number, width: number) => {
          this.mmioReads++;
          const serial = this.#serialAt(address >>> 0);
          if (serial !== undefined) return serial.read((address >>> 0) - SERIAL_BASE, width as AccessWidth);
          return this.devices?.read(address >>> 0, width) ?? 0;
        },
        mmio_write: (address: number, width: number, value: number) =>
          this.#mmioWrite(address >>> 0, width, value >>> 0),
        clock_ns: () => this.#clock(),
        timer_program: (deadline: number) => {
          this.#deadline = deadline;
        },
        halt: () => this.#halt(),
        irq_save: () => {
          const former = this.#irqEnabled;
          this.#irqEnabled = false;
          return former ? 1 : 0;
        },
        irq_restore: (flags: number) => {
          this.#irqEnabled = flags !== 0;
        },
        cpu_id: () => 0,
      },
    });
    this.#entry = exports.start_kernel as (page: number) => void;
    this.#irqEntry = exports.irq_entry as (vector: number) => void;
    this.#writeBootParams(ramBytes, options);
  }

  #serialDevice(): SerialDevice {
    return new SerialDevice({
      memory: {
        slots: [],
        contains: () => false,
        view: (at, length) => (at + length <= this.u8.length ? this.u8.subarray(at, at + length) : undefined),
        write: (at, bytes) => {
          if (at + bytes.length > this.u8.length) return false;
          this.u8.set(bytes, at);
          return true;
        },
        markDirty: () => {},
      },
      interrupt: (_target, vector) => this.interrupt(vector),
      changed: (port) => this.serialChanged(port),
    });
  }

  #serialAt(address: number): MmioHandler | undefined {
    const here = address >= SERIAL_BASE && address < SERIAL_BASE + SERIAL_BYTES;
    return here ? this.serial?.regions[0]?.handler : undefined;
  }

  #writeBootParams(
    ramBytes: number,
    { commandLine = '', seed = 1, version = BOOT_PARAMS_VERSION }: PlainMachineOptions,
  ): void {
    const bytes = new TextEncoder().encode(commandLine);
    this.u8.set(bytes, COMMAND_LINE_GPA);
    const reserved = 64 * 1024;
    const map = [
      { start: 0, bytes: 64 * 1024, type: MEMORY_RESERVED },
      { start: 64 * 1024, bytes: ramBytes - 64 * 1024 - reserved, type: MEMORY_USABLE },
      { start: ramBytes - reserved, bytes: reserved, type: MEMORY_RESERVED },
    ];
    bootParams.write(this.view, BOOT_PARAMS_GPA, {
      magic: BOOT_PARAMS_MAGIC,
      version,
      vcpus: 1,
      memoryMapEntries: map.length,
      ramPages: ramBytes / PAGE_BYTES,
      commandLineGpa: COMMAND_LINE_GPA,
      commandLineBytes: bytes.length,
      dataEnd: DATA_END,
      seed,
      wallClockNs: 1.7e18,
      consoleBase: CONSOLE_BASE,
      powerBase: POWER_BASE,
      lapicBase: LAPIC_BASE,
      ecamBase: ECAM_BASE,
      ecamBytes: ECAM_BYTES,
      hypervisor: 'FerryVMM',
      serialBase: this.serial === undefined ? 0 : SERIAL_BASE,
    });
    map.forEach((entry, index) => {
      memoryMapEntry.write(
        this.view,
        BOOT_PARAMS_GPA + bootParams.offset.memoryMap + index * memoryMapEntry.size,
        entry,
      );
    });
  }

  /** Runs `run` when the clock reaches `time`, at the guest's next look at it. */
  at(time: number, run: () => void): this {
    this.#events.push({ at: time, run });
    this.#events.sort((left, right) => left.at - right.at);
    return this;
  }

  /** Interrupts the guest: the vector is taken as soon as interrupts are enabled. */
  interrupt(vector: number): void {
    if (!this.#vectors.includes(vector)) this.#vectors.push(vector);
  }

  /** False if the guest does not want to hear of it. */
  pressPowerButton(): boolean {
    if (this.#buttonVector !== 0) this.interrupt(this.#buttonVector);
    return this.#buttonVector !== 0;
  }

  /** Boots the guest and lets it run until the virtual time `until`, or until it ends by itself. */
  run(until: number): End {
    this.#limit = until;
    try {
      this.#entry(BOOT_PARAMS_GPA);
    } catch (thrown) {
      if (!(thrown instanceof EndOfRun)) throw thrown;
    }
    return this.#end;
  }

  #due(): void {
    while (this.#events.length > 0 && this.#events[0]!.at <= this.now) this.#events.shift()!.run();
    this.devices?.run();
    if (this.now >= this.#limit) throw new EndOfRun();
  }

  #clock(): number {
    this.now += CLOCK_READ_NS;
    this.#due();
    this.#deliver();
    return this.now;
  }

  #deliver(): boolean {
    if (!this.#irqEnabled) return false;
    let vector = this.#vectors.shift();
    if (vector === undefined) {
      if (this.#deadline < 0 || this.#deadline > this.now) return false;
      this.#deadline = -1;
      vector = TIMER_VECTOR;
    }
    this.interrupts++;
    this.#irqEnabled = false;
    this.#irqEntry(vector);
    this.#irqEnabled = true;
    return true;
  }

  #halt(): void {
    this.halts++;
    while (!this.#deliver()) {
      if (this.devices?.run() === true || this.#vectors.length > 0) continue;
      const next = Math.min(
        this.#irqEnabled && this.#deadline >= 0 ? this.#deadline : Number.POSITIVE_INFINITY,
        this.#events[0]?.at ?? Number.POSITIVE_INFINITY,
        this.#limit,
      );
      this.now = Math.max(this.now, next);
      this.#due();
    }
  }

  #mmioWrite(address: number, width: number, value: number): void {
    if (width !== 4 && this.devices === undefined)
      throw new Error(`write of ${width} bytes to 0x${address.toString(16)}`);
    const serial = this.#serialAt(address);
    if (serial !== undefined) serial.write(address - SERIAL_BASE, width as AccessWidth, value);
    else if (address === CONSOLE_BASE + 4) this.#consoleAddress = value;
    else if (address === CONSOLE_BASE + 8) this.#print(this.#consoleAddress, value);
    else if (address === POWER_BASE) {
      this.#end = value === POWER_PANIC ? 'panic' : value === POWER_RESET ? 'reset' : 'power-off';
      throw new EndOfRun();
    } else if (address === POWER_BASE + powerRegisters.reg.BUTTON.offset)
      this.#buttonVector = powerRegisters.reg.BUTTON.fields.VECTOR.get(value);
    else if (this.devices !== undefined) this.devices.write(address, width, value);
    else throw new Error(`write to 0x${address.toString(16)}`);
  }

  #print(address: number, length: number): void {
    if (length > 4096) throw new Error(`console write of ${length} bytes`);
    this.#text += new TextDecoder().decode(this.u8.slice(address, address + length));
    const lines = this.#text.split('\n');
    this.#text = lines.pop()!;
    this.lines.push(...lines);
  }

  /** Numbers of the pages below the end of RAM that are not all zero. */
  nonZeroPages(): number[] {
    const words = new BigUint64Array(this.memory.buffer);
    const pages: number[] = [];
    for (let page = 0; page < words.length / 512; page++) {
      for (let word = page * 512; word < page * 512 + 512; word++) {
        if (words[word] === 0n) continue;
        pages.push(page);
        break;
      }
    }
    return pages;
  }

  /** Console lines without their timestamps that match `pattern`. */
  printed(pattern: RegExp): string[] {
    return this.lines
      .map((line) => line.replace(/^\[ *\d+\.\d{6}\] /, ''))
      .filter((line) => pattern.test(line));
  }
}
