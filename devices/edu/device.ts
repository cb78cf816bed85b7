/**
 * The `edu` device: a DMA engine with one buffer and one interrupt, as unlike a NIC as an endpoint may be. It does one transfer
 * at a time, between its buffer and memory, and says when it is done.
 *
 * What a driver has asked for and has not come about yet stands in its registers, so that they and the buffer are all of its
 * state: one that was restored goes on with it.
 */
import type { DeviceRecord, SaveableDevice } from '../../base/device-record.js';
import { DMA_READS, DMA_WRITES, type DmaPresence, iovaOf } from '../../base/dma.js';
import { RegisterFile, type RegisterTable } from '../../base/registers.js';
import { PciFunction } from '../pci/function.js';
import { Awaited, MemoryWaits } from '../pci/memory-waits.js';
import { Msi } from '../pci/msi.js';
import { SingleFunction } from '../pci/single-function.js';
import { registerSection, SectionedState, type StateSection } from '../pci/state.js';
import {
  EDU_BUFFER,
  EDU_BUFFER_BYTES,
  EDU_DMA_INTERRUPT,
  EDU_FACTORIAL_INTERRUPT,
  eduBars,
  eduLayout,
  eduRegisters,
} from './registers.js';

/** Raised by one, together with its own record format. */
export const EDU_VERSION = 1;

const reg = eduRegisters.reg;
type EduSpecs = typeof eduRegisters extends RegisterTable<infer T> ? T : never;

/** From here on a factorial has 32 factors two, and nothing is left of it in 32 bits. */
const FACTORIAL_ZERO = 34;

export interface EduOptions {
  readonly name: string;
  /** `run` has something to do again. */
  wake(): void;
}

export class EduDevice extends SingleFunction implements SaveableDevice {
  readonly name: string;
  readonly version = EDU_VERSION;
  readonly fn: PciFunction;
  readonly registers: RegisterFile<EduSpecs>;
  readonly msi: Msi;
  readonly #buffer = new Uint8Array(EDU_BUFFER_BYTES);
  /** What a read brings, until all of it is there. */
  readonly #incoming = new Uint8Array(EDU_BUFFER_BYTES);
  readonly #waits = new MemoryWaits();
  /** Memory that the transfer needs which its driver has asked for. */
  readonly #awaited = new Awaited();
  readonly #wake: () => void;
  readonly #state: SectionedState;
  #activity: 'running' | 'quiesced' | 'stopped' = 'running';

  constructor({ name, wake }: EduOptions) {
    super();
    this.name = name;
    this.#wake = wake;
    this.registers = new RegisterFile(eduRegisters, {
      LIVENESS: { write: (written) => this.registers.set(reg.LIVENESS, ~written >>> 0) },
      FACTORIAL: { write: (_written, before) => this.#compute(before) },
      INTERRUPT_RAISE: { write: (written) => this.#raise(written) },
      INTERRUPT_ACKNOWLEDGE: { write: (written) => this.#acknowledge(written) },
      DMA_SOURCE: {
        write: (_written, before, _index, half) => this.#keepWhileBusy('DMA_SOURCE', before, half),
      },
      DMA_DESTINATION: {
        write: (_written, before, _index, half) => this.#keepWhileBusy('DMA_DESTINATION', before, half),
      },
      DMA_COUNT: {
        write: (_written, before, _index, half) => this.#keepWhileBusy('DMA_COUNT', before, half),
      },
      DMA_COMMAND: { write: (_written, before) => this.#command(before) },
    });
    this.fn = new PciFunction(eduLayout, {
      name,
      bars: eduBars,
      readBar: (_bar, offset, size) => this.registers.read(offset, size),
      writeBar: (_bar, offset, size, value) => this.registers.write(offset, size, value),
      reset: () => {
        this.registers.reset('function');
        this.#buffer.fill(0);
        this.#awaited.clear();
        this.#waits.forget(this.fn);
      },
      masterChanged: (mastering) => {
        if (mastering) this.#goOn();
      },
      hooks: {
        'msi.CONTROL': { write: () => this.msi.release() },
        'msi.MASK': { write: () => this.msi.release() },
      },
    });
    this.msi = new Msi({
      config: this.fn.config,
      capability: eduLayout.cap.msi,
      message: (address, data) => this.#activity !== 'stopped' && this.fn.message(address, data),
    });
    this.#state = new SectionedState(name, EDU_VERSION, [
      registerSection('config', this.fn.config),
      registerSection('registers', this.registers),
      this.#bufferSection(),
    ]);
  }

  /** Does what it was asked for; true if there is more. */
  run(): boolean {
    const { registers } = this;
    if (this.#activity === 'stopped') return false;
    if (registers.getField(reg.STATUS, reg.STATUS.fields.COMPUTING) === 1) this.#finishFactorial();
    if (this.#transferring && this.#activity === 'running' && this.fn.mastering) this.#transfer();
    return false;
  }

  /** Memory that may not be there yet: a transfer asks before it begins. Undefined: all of it is there. */
  set presence(presence: DmaPresence | undefined) {
    this.#waits.presence = presence;
    if (presence === undefined) this.#wake();
  }

  /** Some of what was asked for in vain is there: `length` bytes at `address`, or is known to be blocked. */
  memoryArrived(address: number, length: number): void {
    if (this.#awaited.arrives(address, length)) this.#wake();
  }

  /** No DMA, no interrupt and no change from inside from here on; registers still answer. */
  stop(): void {
    this.#activity = 'stopped';
  }

  /** No DMA; all else goes on. From running, or from stopped. */
  quiesce(): void {
    this.#activity = 'quiesced';
    this.#goOn();
  }

  start(): void {
    this.#activity = 'running';
    this.#goOn();
  }

  save(): DeviceRecord {
    return this.#state.save();
  }

  restore(record: DeviceRecord): void {
    this.#state.restore(record);
  }

  describe(record: DeviceRecord): readonly (readonly [string, string])[] {
    return this.#state.describe(record);
  }

  get #transferring(): boolean {
    return this.registers.getField(reg.DMA_COMMAND, reg.DMA_COMMAND.fields.START) === 1;
  }

  /** What was held back goes on, and what waits is done. */
  #goOn(): void {
    // A function is made before its interrupt is.
    this.msi?.release();
    this.#wake();
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Factorials and interrupts

  /** While it computes, the register is the device's. */
  #compute(before: number): void {
    const { registers } = this;
    const { COMPUTING } = reg.STATUS.fields;
    if (registers.getField(reg.STATUS, COMPUTING) === 1) {
      registers.set(reg.FACTORIAL, before);
      return;
    }
    registers.setField(reg.STATUS, COMPUTING, 1);
    this.#wake();
  }

  #finishFactorial(): void {
    const { registers } = this;
    const { COMPUTING, FACTORIAL_INTERRUPT } = reg.STATUS.fields;
    registers.set(reg.FACTORIAL, factorial(registers.get(reg.FACTORIAL)));
    registers.setField(reg.STATUS, COMPUTING, 0);
    if (registers.getField(reg.STATUS, FACTORIAL_INTERRUPT) === 1) this.#raise(EDU_FACTORIAL_INTERRUPT);
  }

  #raise(bits: number): void {
    const { registers } = this;
    registers.set(reg.INTERRUPT_STATUS, (registers.get(reg.INTERRUPT_STATUS) | bits) >>> 0);
    if (registers.get(reg.INTERRUPT_STATUS) !== 0) this.msi.trigger();
  }

  #acknowledge(bits: number): void {
    const { registers } = this;
    registers.set(reg.INTERRUPT_STATUS, (registers.get(reg.INTERRUPT_STATUS) & ~bits) >>> 0);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // DMA

  /** A transfer is described by the registers until it is done: nobody changes them. */
  #keepWhileBusy(name: 'DMA_SOURCE' | 'DMA_DESTINATION' | 'DMA_COUNT', before: number, half: number): void {
    if (this.#transferring) this.registers.words[(reg[name].offset >>> 2) + half] = before;
  }

  #command(before: number): void {
    const { START } = reg.DMA_COMMAND.fields;
    if (START.get(before) === 1) this.registers.set(reg.DMA_COMMAND, before);
    else if (this.#transferring) this.#wake();
  }

  /** One that does not fit the buffer, or that memory does not answer, moves nothing, and ends as any other. */
  #transfer(): void {
    const { registers } = this;
    const { START, TO_MEMORY, INTERRUPT } = reg.DMA_COMMAND.fields;
    const count = registers.get64(reg.DMA_COUNT);
    const toMemory = registers.getField(reg.DMA_COMMAND, TO_MEMORY) === 1;
    const [own, other] = toMemory
      ? ([reg.DMA_SOURCE, reg.DMA_DESTINATION] as const)
      : ([reg.DMA_DESTINATION, reg.DMA_SOURCE] as const);
    const at = registers.get64(own) - EDU_BUFFER;
    const memory = iovaOf(registers.get(other), registers.getHigh(other));
    const fits = at >= 0 && at + count <= EDU_BUFFER_BYTES && count > 0;
    const access = toMemory ? DMA_WRITES : DMA_READS;
    // As it was asked for it stands in the registers, and begins when memory has come.
    if (fits && !this.#waits.ask(this.fn, memory, count, access, this.#awaited)) return;
    if (fits && toMemory) this.fn.dmaWrite(memory, this.#buffer, at, count);
    else if (fits && this.fn.dmaRead(memory, this.#incoming, 0, count)) {
      this.#buffer.set(this.#incoming.subarray(0, count), at);
    }
    if (fits) this.#waits.release(this.fn, memory, count);
    registers.setField(reg.DMA_COMMAND, START, 0);
    if (registers.getField(reg.DMA_COMMAND, INTERRUPT) === 1) this.#raise(EDU_DMA_INTERRUPT);
  }

  #bufferSection(): StateSection {
    return {
      name: 'buffer',
      save: () => this.#buffer.slice(),
      restore: (bytes) => {
        if (bytes.length !== EDU_BUFFER_BYTES)
          return `${bytes.length} bytes of a buffer of ${EDU_BUFFER_BYTES}`;
        this.#buffer.set(bytes);
        return undefined;
      },
      describe: (bytes) => [
        ['BYTES', `${bytes.length}, of which ${bytes.filter((byte) => byte !== 0).length} are not 0`],
      ],
    };
  }
}

/** Modulo 2^32, as the register holds it. */
function factorial(value: number): number {
  if (value >= FACTORIAL_ZERO) return 0;
  let product = 1;
  for (let factor = 2; factor <= value; factor++) product = Math.imul(product, factor);
  return product >>> 0;
}
