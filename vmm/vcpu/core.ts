/**
 * The vCPU without its thread: runs a code variant against guest RAM, leaves it at safepoints, unwinds the guest's call
 * stack into the reserved range and rewinds it from there. It knows no thread, clock or device; those are its ports, of
 * which there are two sets (`thread/`, and `../deterministic/`).
 *
 * All decisions fall in one place, the `exit` import: take interrupts, halt, or unwind because someone wants the vCPU
 * outside the guest. What it decides on is the host's own memory, except for the guest's registers.
 */
import { BOOT_PARAMS_GPA } from '../../base/abi/boot-params.js';
import { EXIT_HALT, EXIT_SAFEPOINT, IRQ_ENABLED_REGISTER } from '../../base/abi/code-variant.js';
import { LAPIC_BASE, LAPIC_BYTES, TIMER_VECTOR } from '../../base/abi/platform.js';
import {
  CONTROL_KICK,
  CONTROL_WINDOW,
  type ReservedRange,
  type VcpuArea,
} from '../../base/abi/reserved-range.js';
import { InvariantError, invariant } from '../../base/errors.js';
import { type AccessWidth, allOnes } from '../../base/mmio.js';
import type { VcpuRecord } from '../../migration/ports.js';
import type { GuestRam } from '../ram/guest-ram.js';
import { EXITS, HALTS, INTERRUPTS, MMIO_ACCESSES } from '../threads/control-block.js';
import type { VcpuSignals } from '../threads/signals.js';
import { IMPORT_MODULE, type VcpuCode } from './code.js';
import { classifyCrash, type GuestCrash } from './crash.js';
import { type IpiPort, Lapic } from './lapic.js';
import { checkVcpuRecord, UNWIND_HEADER_BYTES } from './record.js';
import { RegisterFileOfInstance } from './registers.js';

export interface VcpuPorts extends IpiPort {
  /** The virtual clock in ns. */
  now(): number;
  /** An access outside RAM and the local APIC. */
  mmioRead(address: number, width: AccessWidth): number;
  mmioWrite(address: number, width: AccessWidth, value: number): void;
  /** The one-shot timer is due at this virtual time, or disarmed (-1); while the guest runs, something must kick it. */
  timerChanged(deadlineNs: number): void;
  /** At every exit: takes note of kicks and does what can be done here; true if the guest must be unwound. */
  attend(): boolean;
  /** The vCPU halts: sleeps until there may be work and returns true, or returns false to be unwound instead. */
  idle(): boolean;
  /** Blocks until `page` is present (postcopy variant). */
  pageFault(page: number): void;
}

export type Outcome =
  | { readonly kind: 'unwound' }
  /** The entry function returned: halted for good. */
  | { readonly kind: 'returned' }
  | { readonly kind: 'crashed'; readonly crash: GuestCrash };

/** What travels besides the VcpuRecord. */
export interface VcpuExtra {
  readonly icrHigh: number;
  readonly icrLow: number;
}

interface Instance {
  readonly registers: RegisterFileOfInstance;
  readonly irqEnabled: WebAssembly.Global;
  readonly startUnwind: (area: number) => void;
  readonly stopUnwind: () => void;
  readonly startRewind: (area: number) => void;
  readonly stopRewind: () => void;
  readonly enter: () => void;
}

const isWidth = (width: number): width is AccessWidth => width === 1 || width === 2 || width === 4;

export class VcpuCore {
  readonly index: number;
  readonly signals: VcpuSignals;
  readonly #ram: GuestRam;
  readonly #area: VcpuArea;
  readonly #presentMap: number;
  readonly #ports: VcpuPorts;
  readonly #lapic: Lapic;
  readonly #block: Int32Array;

  #code: VcpuCode | undefined;
  #instance: Instance | undefined;
  #life: 'off' | 'started' | 'crashed' = 'off';
  /** Bytes of the call stack in the unwind area; 0 if the guest is not in mid-run. */
  #stackBytes = 0;
  /** Why the guest had left when its stack was unwound. */
  #reason = EXIT_SAFEPOINT;
  #unwinding = false;
  #rewinding = false;
  #timerDeadline = -1;

  constructor(index: number, ram: GuestRam, range: ReservedRange, signals: VcpuSignals, ports: VcpuPorts) {
    this.index = index;
    this.signals = signals;
    this.#ram = ram;
    this.#area = range.vcpus[index]!;
    this.#presentMap = range.presentMap;
    this.#ports = ports;
    this.#lapic = new Lapic(index, range.vcpus.length, ports);
    this.#block = signals.block;
  }

  get variant(): VcpuCode['variant'] | undefined {
    return this.#code?.variant;
  }

  /** Whether `run` has a guest to run. */
  get runnable(): boolean {
    return this.#life === 'started';
  }

  get crashed(): boolean {
    return this.#life === 'crashed';
  }

  /** Unwound while it waited for an interrupt. */
  get halted(): boolean {
    return this.#stackBytes !== 0 && this.#reason === EXIT_HALT;
  }

  /** Absolute virtual time of the one-shot timer, or -1. */
  get timerDeadline(): number {
    return this.#timerDeadline;
  }

  /**
   * Takes on a code variant, before the guest starts or between two runs; registers are carried over. Throws what the
   * engine throws if the code does not fit its imports.
   */
  setCode(code: VcpuCode): void {
    const next = this.#instantiate(code);
    if (this.#instance !== undefined) next.registers.restore(this.#instance.registers.save());
    const logged = this.#code !== undefined && this.#code.variant !== 'run';
    if (code.variant !== 'run' && !logged) this.#clearDirtyMap();
    this.#instance = next;
    this.#code = code;
  }

  /** Makes `run` begin at the entry function. A vCPU that was started before stays as it is. */
  start(): void {
    if (this.#life === 'off') this.#life = 'started';
  }

  /** Runs the guest until it is unwound, returns or crashes. */
  run(): Outcome {
    const instance = this.#instance;
    invariant(instance !== undefined && this.#life === 'started', 'nothing to run');
    try {
      if (this.#stackBytes > 0) {
        // The header is the host's own; only the stack itself was left to the guest's mercy.
        this.#writeUnwindHeader(this.#stackBytes);
        this.#rewinding = true;
        instance.startRewind(this.#area.unwind);
      }
      instance.enter();
      if (this.#unwinding) {
        instance.stopUnwind();
        this.#unwinding = false;
        return this.#unwound();
      }
    } catch (thrown) {
      if (thrown instanceof InvariantError) throw thrown;
      return this.#crash(this.#unwinding ? this.#overflow() : classifyCrash(this.index, thrown));
    }
    if (this.#rewinding) return this.#crash(this.#broken('the saved call stack does not fit the code'));
    this.#life = 'off';
    this.#stackBytes = 0;
    return { kind: 'returned' };
  }

  save(): { readonly record: VcpuRecord; readonly extra: VcpuExtra } {
    const { unwind } = this.#area;
    const stack = unwind + UNWIND_HEADER_BYTES;
    invariant(this.#instance !== undefined, 'no code to save the registers of');
    return {
      record: {
        index: this.index,
        run: this.#life === 'started' ? (this.halted ? 'halted' : 'running') : this.#life,
        registers: this.#instance.registers.save(),
        unwind: new Uint8Array(this.#ram.u8.subarray(stack, stack + this.#stackBytes)),
        pir: this.signals.savePir(),
        timerDeadlineNs: this.#timerDeadline,
      },
      extra: { icrHigh: this.#lapic.icrHigh, icrLow: this.#lapic.icrLow },
    };
  }

  /** Takes over a record, before the guest runs. Throws `vmm/state-refused` and changes nothing if it is not valid. */
  load(record: VcpuRecord, extra: VcpuExtra): void {
    invariant(this.#code !== undefined && this.#instance !== undefined, 'no code to load registers into');
    checkVcpuRecord(record, this.index, this.#code.registers);
    this.#instance.registers.restore(record.registers);
    this.#ram.u8.set(record.unwind, this.#area.unwind + UNWIND_HEADER_BYTES);
    this.#stackBytes = record.unwind.length;
    this.#reason = record.run === 'halted' ? EXIT_HALT : EXIT_SAFEPOINT;
    this.#life = record.run === 'off' || record.run === 'crashed' ? record.run : 'started';
    this.signals.restorePir(record.pir);
    this.#timerDeadline = record.timerDeadlineNs;
    this.#lapic.icrHigh = extra.icrHigh;
    this.#lapic.icrLow = extra.icrLow;
    this.#clearDirtyMap();
  }

  /** Tells the ports the timer's deadline again, after the clock was moved or started. */
  rearmTimer(): void {
    this.#ports.timerChanged(this.#timerDeadline);
  }

  /** Whether a halted vCPU would go on: an interrupt is pending or its timer is due. */
  wakes(): boolean {
    return this.signals.highest() !== 0 || this.#timerDue();
  }

  #clearDirtyMap(): void {
    const pages = this.#ram.u8.length >>> 12;
    this.#ram.u8.fill(0, this.#area.dirtyMap, this.#area.dirtyMap + pages);
  }

  #instantiate(code: VcpuCode): Instance {
    const { control, dirtyMap } = this.#area;
    const instance = new WebAssembly.Instance(code.module, {
      [IMPORT_MODULE]: {
        memory: this.#ram.memory,
        mmio_read: (address: number, width: number) => this.#mmioRead(address >>> 0, width),
        mmio_write: (address: number, width: number, value: number) =>
          this.#mmioWrite(address >>> 0, width, value),
        clock_ns: () => this.#ports.now(),
        timer_program: (deadline: number) => this.#programTimer(deadline),
        exit: (reason: number, irqEnabled: number) => this.#exit(reason, irqEnabled),
        post_fault: (page: number) => this.#ports.pageFault(page >>> 0),
        kick: control + CONTROL_KICK,
        window: control + CONTROL_WINDOW,
        dirty_map: dirtyMap,
        present_map: this.#presentMap,
        cpu: this.index,
      },
    });
    const call = (name: string): WebAssembly.ExportedFunction =>
      instance.exports[name] as WebAssembly.ExportedFunction;
    const [entry, argument] =
      this.index === 0 ? [call('start_kernel'), BOOT_PARAMS_GPA] : [call('secondary_start'), this.index];
    return {
      registers: new RegisterFileOfInstance(code.registers, instance.exports),
      irqEnabled: instance.exports[IRQ_ENABLED_REGISTER] as WebAssembly.Global,
      startUnwind: call('asyncify_start_unwind'),
      stopUnwind: call('asyncify_stop_unwind'),
      startRewind: call('asyncify_start_rewind'),
      stopRewind: call('asyncify_stop_rewind'),
      enter: () => entry(argument),
    };
  }

  /** The one import that may unwind: see `base/abi/code-variant.ts`. */
  #exit(reasonGiven: number, irqEnabledGiven: number): number {
    let reason = reasonGiven;
    let irqEnabled = irqEnabledGiven;
    let resumed = false;
    if (this.#rewinding) {
      // Arguments of a rewound call mean nothing; what they were is in the record and the registers.
      this.#instance!.stopRewind();
      this.#rewinding = false;
      this.#stackBytes = 0;
      reason = this.#reason;
      irqEnabled = Number(this.#instance!.irqEnabled.value);
      resumed = true;
    }
    this.#block[EXITS]!++;
    for (;;) {
      const leave = this.#ports.attend();
      if (this.#timerDue()) {
        this.#timerDeadline = -1;
        this.#ports.timerChanged(-1);
        this.signals.raise(TIMER_VECTOR);
      }
      const vector = this.signals.highest();
      if (leave) {
        // A guest that was just rewound makes some progress first, or a kick already pending stops it forever here.
        const canProceed = reason === EXIT_SAFEPOINT || vector !== 0;
        if (!(resumed && canProceed)) return this.#unwind(reason);
        this.signals.kickSelf();
      }
      if (vector !== 0 && irqEnabled !== 0) {
        this.signals.take(vector);
        this.signals.setWindow(this.signals.highest() !== 0);
        this.signals.setState('running');
        this.#block[INTERRUPTS]!++;
        return vector;
      }
      this.signals.setWindow(vector !== 0);
      if (reason === EXIT_SAFEPOINT || vector !== 0) {
        this.signals.setState('running');
        return 0;
      }
      this.signals.setState('halted');
      this.#block[HALTS]!++;
      if (!this.#ports.idle()) return this.#unwind(reason);
      resumed = false;
    }
  }

  #unwind(reason: number): number {
    this.#reason = reason;
    this.#unwinding = true;
    this.#writeUnwindHeader(0);
    this.#instance!.startUnwind(this.#area.unwind);
    return 0;
  }

  #writeUnwindHeader(stackBytes: number): void {
    const { unwind, unwindBytes } = this.#area;
    this.#ram.i32[unwind >>> 2] = unwind + UNWIND_HEADER_BYTES + stackBytes;
    this.#ram.i32[(unwind >>> 2) + 1] = unwind + unwindBytes;
  }

  #unwound(): Outcome {
    const { unwind, unwindBytes } = this.#area;
    const used = (this.#ram.i32[unwind >>> 2]! >>> 0) - unwind - UNWIND_HEADER_BYTES;
    if (used <= 0 || used > unwindBytes - UNWIND_HEADER_BYTES || used % 4 !== 0) {
      return this.#crash(this.#broken('overwrote its unwind area'));
    }
    this.#stackBytes = used;
    return { kind: 'unwound' };
  }

  #overflow(): GuestCrash {
    return this.#broken(`its call stack exceeds the unwind area of ${this.#area.unwindBytes / 1024} KiB`);
  }

  #broken(reason: string): GuestCrash {
    return { vcpu: this.index, kind: 'unwind-area', reason, frames: [] };
  }

  #crash(crash: GuestCrash): Outcome {
    this.#life = 'crashed';
    this.#stackBytes = 0;
    this.#unwinding = false;
    this.#rewinding = false;
    return { kind: 'crashed', crash };
  }

  #timerDue(): boolean {
    return this.#timerDeadline >= 0 && this.#ports.now() >= this.#timerDeadline;
  }

  #programTimer(deadline: number): void {
    this.#timerDeadline = deadline >= 0 && deadline < Infinity ? deadline : -1;
    this.#ports.timerChanged(this.#timerDeadline);
  }

  #mmioRead(address: number, width: number): number {
    if (!isWidth(width)) return 0xffff_ffff;
    const lapic = address - LAPIC_BASE;
    if (lapic >= 0 && lapic < LAPIC_BYTES) return width === 4 ? this.#lapic.read(lapic) : allOnes(width);
    this.#block[MMIO_ACCESSES]!++;
    return this.#ports.mmioRead(address, width);
  }

  #mmioWrite(address: number, width: number, value: number): void {
    if (!isWidth(width)) return;
    const lapic = address - LAPIC_BASE;
    if (lapic >= 0 && lapic < LAPIC_BYTES) {
      if (width === 4) this.#lapic.write(lapic, value);
      return;
    }
    this.#block[MMIO_ACCESSES]!++;
    this.#ports.mmioWrite(address, width, (width === 4 ? value : value & allOnes(width)) >>> 0);
  }
}
