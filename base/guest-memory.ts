/**
 * Guest memory as everything but the vCPU sees it. Slot 0 is RAM from guest physical address 0; more slots (plain
 * SharedArrayBuffers above 4 GiB, reached by DMA and page transfer) fit behind the same interface.
 *
 * One door for host writes: whoever writes guest memory on behalf of the host or a device uses `write` (or calls
 * `markDirty` for bytes that a kernel or socket placed itself), so that dirtying is part of writing.
 */
import type { Gpa } from './units.js';

export interface MemorySlot {
  readonly gpa: Gpa;
  readonly bytes: number;
  /** The whole slot. Reading is free; writing goes through `write` or is followed by `markDirty`. */
  readonly u8: Uint8Array;
}

export interface GuestMemory {
  readonly slots: readonly MemorySlot[];
  /** True if [gpa, gpa + length) lies inside one slot. */
  contains(gpa: Gpa, lengthBytes: number): boolean;
  /** A live view; undefined if the range is not RAM. What a guest structure says is judged on a copy. */
  view(gpa: Gpa, lengthBytes: number): Uint8Array | undefined;
  /** Copies `data` to guest memory and marks its pages dirty; false, and nothing written, if not RAM. */
  write(gpa: Gpa, data: Uint8Array): boolean;
  /** Marks the pages of a range that something else wrote. */
  markDirty(gpa: Gpa, lengthBytes: number): void;
}
