/**
 * Guest RAM: a table of slots. Slot 0 is a shared WebAssembly memory from guest physical address 0, which is also the
 * linear memory of the vCPUs; further slots are plain SharedArrayBuffers, reached by DMA and page transfer.
 *
 * Every thread of the VMM builds its own `GuestRam` over the same buffers and the same device log. Nothing here reads
 * or writes RAM that it was not asked for: untouched pages cost the host nothing.
 */
import {
  MMIO_BASE,
  RAM_BYTES_MAX,
  RAM_BYTES_MIN,
  RAM_BYTES_STEP,
  VCPUS_MAX,
} from '../../base/abi/platform.js';
import { AtomicBitmap } from '../../base/bitmap.js';
import { invariant } from '../../base/errors.js';
import type { GuestMemory, MemorySlot } from '../../base/guest-memory.js';
import { type Gpa, gpa, MIB, PAGE_SHIFT } from '../../base/units.js';
import { vmmErrors } from '../errors.js';

invariant(RAM_BYTES_MAX <= MMIO_BASE, 'RAM ends below the MMIO range');

const mebibytes = (bytes: number): string => `${bytes / MIB} MiB`;

/** Throws `vmm/machine-option` unless a machine can have this much RAM (bytes) and this many vCPUs. */
export function checkMachineSize(ramBytes: number, vcpus: number): void {
  const refuse = (why: string): never => {
    throw vmmErrors.error('machine-option', { option: 'memory', value: mebibytes(ramBytes), why });
  };
  if (!Number.isInteger(ramBytes) || ramBytes % RAM_BYTES_STEP !== 0) {
    refuse(`it comes in steps of ${RAM_BYTES_STEP / 1024} KiB`);
  }
  if (ramBytes < RAM_BYTES_MIN) refuse(`the least is ${mebibytes(RAM_BYTES_MIN)}`);
  if (ramBytes > RAM_BYTES_MAX) refuse(`the most is ${mebibytes(RAM_BYTES_MAX)}`);
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > VCPUS_MAX) {
    const why = `it has 1 to ${VCPUS_MAX} of them`;
    throw vmmErrors.error('machine-option', { option: 'vcpus', value: String(vcpus), why });
  }
}

/**
 * The memory of slot 0, all zeros; `ramBytes` has been checked. The host commits its pages as they are touched.
 * Throws `vmm/ram-unavailable` when the host refuses the address range.
 */
export function allocateRam(ramBytes: number): WebAssembly.Memory {
  const pages = ramBytes / RAM_BYTES_STEP;
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw vmmErrors.error('ram-unavailable', { ramBytes, reason }, cause);
  }
}

export interface ExtraSlot {
  readonly gpa: Gpa;
  readonly buffer: SharedArrayBuffer;
}

/** What another thread needs to build the same GuestRam; survives a post to it. */
export interface RamHandle {
  readonly memory: WebAssembly.Memory;
  readonly deviceLog: SharedArrayBuffer;
  /** Pages that migrate as RAM; the log ends there. */
  readonly loggedPages: number;
  readonly extra: readonly ExtraSlot[];
}

export class GuestRam implements GuestMemory {
  readonly slots: readonly MemorySlot[];
  readonly memory: WebAssembly.Memory;
  /** Slot 0 as bytes and as words, for those that know their addresses to be in it. */
  readonly u8: Uint8Array<SharedArrayBuffer>;
  readonly i32: Int32Array<SharedArrayBuffer>;
  /** Pages of slot 0 that the host and devices wrote since the log was last drained. */
  readonly deviceLog: AtomicBitmap;
  readonly handle: RamHandle;

  constructor(handle: RamHandle) {
    const buffer = handle.memory.buffer as SharedArrayBuffer;
    this.handle = handle;
    this.memory = handle.memory;
    this.u8 = new Uint8Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.deviceLog = new AtomicBitmap(handle.loggedPages, handle.deviceLog);
    const slots: MemorySlot[] = [{ gpa: gpa(0), bytes: this.u8.length, u8: this.u8 }];
    for (const slot of handle.extra) {
      const below = slots[slots.length - 1]!;
      invariant(slot.gpa >= below.gpa + below.bytes, 'memory slots ascend and do not overlap');
      slots.push({ gpa: slot.gpa, bytes: slot.buffer.byteLength, u8: new Uint8Array(slot.buffer) });
    }
    this.slots = slots;
  }

  /** Makes the table and its device log over `memory`; `loggedPages` is where the reserved range begins. */
  static create(memory: WebAssembly.Memory, loggedPages: number, extra: readonly ExtraSlot[] = []): GuestRam {
    const deviceLog = new SharedArrayBuffer(AtomicBitmap.byteLength(loggedPages));
    return new GuestRam({ memory, deviceLog, loggedPages, extra });
  }

  contains(at: Gpa, lengthBytes: number): boolean {
    return this.#slotOf(at, lengthBytes) !== undefined;
  }

  view(at: Gpa, lengthBytes: number): Uint8Array | undefined {
    const slot = this.#slotOf(at, lengthBytes);
    return slot?.u8.subarray(at - slot.gpa, at - slot.gpa + lengthBytes);
  }

  write(at: Gpa, data: Uint8Array): boolean {
    const slot = this.#slotOf(at, data.length);
    if (slot === undefined) return false;
    // Data first, then the mark: a harvest in between leaves the mark for the next one, and no write is missed.
    slot.u8.set(data, at - slot.gpa);
    this.markDirty(at, data.length);
    return true;
  }

  markDirty(at: Gpa, lengthBytes: number): void {
    if (lengthBytes === 0) return;
    const last = Math.min(this.deviceLog.length, Math.floor((at + lengthBytes - 1) / (1 << PAGE_SHIFT)) + 1);
    for (let page = Math.floor(at / (1 << PAGE_SHIFT)); page < last; page++) this.deviceLog.set(page);
  }

  #slotOf(at: number, lengthBytes: number): MemorySlot | undefined {
    if (!(at >= 0 && lengthBytes >= 0)) return undefined;
    for (const slot of this.slots) {
      if (at >= slot.gpa && at + lengthBytes <= slot.gpa + slot.bytes) return slot;
    }
    return undefined;
  }
}
