/**
 * The reserved range at the top of RAM: what the rewritten guest code itself needs within reach of its loads and
 * stores. Shown as reserved in the memory map; never migrated as RAM: what matters of it travels as vCPU state (the
 * unwind area) or is rebuilt (kick words, maps). A guest that scribbles here harms itself alone, so the host trusts
 * nothing it reads from this range.
 *
 *     top of RAM  ┌────────────────────────────┐
 *                 │ present map (1 byte a page) │   postcopy variant: 0 = not here yet
 *                 │ vCPU 3: dirty map           │   log variant: 1 = dirtied since last published
 *                 │         unwind area         │   asyncify: {current, end} then the saved call stack
 *                 │         control words       │
 *                 │ vCPU 2 ...                  │
 *    reservedBase └────────────────────────────┘   multiple of 64 KiB
 */
import { PAGE_SHIFT } from '../units.js';

/** Control words of one vCPU, byte offsets within its control line. */
export const CONTROL_KICK = 0; // u32: non-zero asks the guest to exit at its next safepoint; VMM sets, VMM clears
export const CONTROL_WINDOW = 4; // u32: non-zero: an interrupt waits for interrupts to be enabled; VMM sets and clears
export const CONTROL_LINE_BYTES = 64;

/** Bytes of call stack one vCPU can be unwound into; running over it is a guest crash. */
export const UNWIND_BYTES = 256 * 1024;

export interface VcpuArea {
  /** Address of the control line. */
  readonly control: number;
  /** Address of the asyncify structure {current u32, end u32}; the saved stack follows it. */
  readonly unwind: number;
  readonly unwindBytes: number;
  /** Address of the dirty byte map, `ramPages` bytes. */
  readonly dirtyMap: number;
}

export interface ReservedRange {
  readonly base: number;
  readonly bytes: number;
  /** First page of the range = number of pages that are migrated as RAM. */
  readonly firstPage: number;
  readonly vcpus: readonly VcpuArea[];
  /** Address of the present map, `ramPages` bytes. */
  readonly presentMap: number;
}

const roundUp = (value: number, step: number): number => Math.ceil(value / step) * step;

/** Where everything in the reserved range of a machine with `ramBytes` and `vcpus` lies. */
export function reservedRange(ramBytes: number, vcpus: number): ReservedRange {
  const mapBytes = roundUp(ramBytes >>> PAGE_SHIFT, 4096);
  const perVcpu = 4096 + UNWIND_BYTES + mapBytes;
  const bytes = roundUp(mapBytes + vcpus * perVcpu, 65536);
  const base = ramBytes - bytes;
  const areas: VcpuArea[] = [];
  for (let i = 0; i < vcpus; i++) {
    const control = base + i * perVcpu;
    areas.push({
      control,
      unwind: control + 4096,
      unwindBytes: UNWIND_BYTES,
      dirtyMap: control + 4096 + UNWIND_BYTES,
    });
  }
  return { base, bytes, firstPage: base >>> PAGE_SHIFT, vcpus: areas, presentMap: base + vcpus * perVcpu };
}
