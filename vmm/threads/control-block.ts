/**
 * The host-side control block of one vCPU, in shared memory that no guest can reach. The protocol, word by word
 * (32-bit words; "vCPU" is the vCPU's own thread):
 *
 * | word | written by | meaning |
 * |---|---|---|
 * | PIR 0-7 | all set bits, the vCPU takes them | vectors requested: a posted-interrupt descriptor as VT-d has it |
 * | ON | posters set, the vCPU clears | a notification is on its way; further posters need not send one |
 * | NDST | nobody | the vCPU's number, for VT-d to notify it |
 * | DOORBELL | all increment | the one word the vCPU sleeps on |
 * | COMMANDS | machine increments, vCPU decrements | messages that wait in the vCPU's port |
 * | START | other vCPUs set, the vCPU clears | start-up IPI received |
 * | STATE | the vCPU | index into VCPU_STATES |
 * | THROTTLE | machine | percent of time to be kept from running |
 * | MMIO_* | see below | one synchronous access |
 * | POSTED_HEAD / POSTED_TAIL | vCPU / device thread | ring of posted writes |
 * | ALARM (2 words) | the vCPU | host time in ns at which the timer thread kicks it; Infinity for never |
 * | counters | the vCPU | statistics, read by anybody |
 *
 * *Waking.* Whoever wants the vCPU's attention first stores what it wants (PIR bit, COMMANDS, START), then sets the
 * kick word in guest RAM, then increments DOORBELL and notifies. The vCPU reads DOORBELL, clears the kick word and ON,
 * and only then looks for work; it sleeps on the DOORBELL value it read before it looked. So work stored after it
 * looked finds either the kick word cleared already and sets it anew, or changes DOORBELL and the sleep returns at
 * once. No order of the two loses a wake-up.
 *
 * *MMIO.* The vCPU owns MMIO_ADDRESS, _ACCESS and _VALUE while MMIO_STATE is idle, fills them, sets it to requested and
 * rings the device thread; that thread owns them until it sets MMIO_STATE to done, after storing the value read.
 *
 * *Posted writes.* Entry i of the ring belongs to the device thread while TAIL <= i < HEAD, else to the vCPU. The
 * device thread empties the ring of a vCPU before it serves a synchronous access of the same vCPU.
 */

import { PAGE_BYTES } from '../../base/units.js';

export const VCPU_STATES = ['off', 'running', 'halted', 'paused', 'crashed'] as const;
export type VcpuState = (typeof VCPU_STATES)[number];

// Line 0: posted-interrupt descriptor.
export const PIR = 0;
export const PIR_WORDS = 8;
export const ON = 8;
/** Of the descriptor as VT-d has it: whom to notify, an APIC id in bits [15:8]. */
const NDST = 9;
const NDST_SHIFT = 8;
// Line 1: attention.
export const DOORBELL = 16;
export const COMMANDS = 17;
export const START = 18;
export const THROTTLE = 19;
// Line 2: what the vCPU tells.
export const STATE = 32;
export const EXITS = 33;
export const INTERRUPTS = 34;
export const MMIO_ACCESSES = 35;
export const HALTS = 36;
export const THREAD_ID = 37;
export const ALARM = 38;
// Line 3: the MMIO mailbox.
export const MMIO_STATE = 48;
export const MMIO_ADDRESS = 49;
export const MMIO_ACCESS = 50;
export const MMIO_VALUE = 51;
// Lines 4 and 5: indices of the posted ring, one line each.
export const POSTED_HEAD = 64;
export const POSTED_TAIL = 80;
// The ring: address, width, value, unused.
export const POSTED_RING = 96;
export const POSTED_ENTRIES = 64;
export const POSTED_ENTRY_WORDS = 4;

export const MMIO_IDLE = 0;
export const MMIO_REQUESTED = 1;
export const MMIO_DONE = 2;

/** MMIO_ACCESS: the width in bytes, and this bit for a write. */
export const MMIO_WRITE = 0x100;

const BLOCK_WORDS = POSTED_RING + POSTED_ENTRIES * POSTED_ENTRY_WORDS;

/** The blocks of all vCPUs of a machine, in one buffer of whole pages that is posted to every thread. */
export function allocateControl(vcpus: number): SharedArrayBuffer {
  const bytes = Math.ceil((BLOCK_WORDS * 4 * vcpus) / PAGE_BYTES) * PAGE_BYTES;
  const control = new SharedArrayBuffer(bytes);
  for (let i = 0; i < vcpus; i++) {
    const block = controlBlock(control, i);
    block[NDST] = i << NDST_SHIFT;
    alarmOf(block)[0] = Infinity;
  }
  return control;
}

/** Where the vCPU's posted-interrupt descriptor lies in the buffer, bytes; a multiple of 64. */
export const descriptorOffset = (vcpu: number): number => (vcpu * BLOCK_WORDS + PIR) * 4;

/** The words of one vCPU's block. */
export function controlBlock(control: SharedArrayBuffer, vcpu: number): Int32Array<SharedArrayBuffer> {
  return new Int32Array(control, vcpu * BLOCK_WORDS * 4, BLOCK_WORDS);
}

/** The ALARM words as the double they hold. */
export function alarmOf(block: Int32Array<SharedArrayBuffer>): Float64Array<SharedArrayBuffer> {
  return new Float64Array(block.buffer, block.byteOffset + ALARM * 4, 1);
}

/** What the vCPU counts, each modulo 2^32. */
export interface VcpuCounters {
  /** Times the guest left to the VMM at safepoints and halts. */
  readonly exits: number;
  readonly interrupts: number;
  readonly mmioAccesses: number;
  readonly halts: number;
}

export function countersOf(block: Int32Array): VcpuCounters {
  return {
    exits: block[EXITS]! >>> 0,
    interrupts: block[INTERRUPTS]! >>> 0,
    mmioAccesses: block[MMIO_ACCESSES]! >>> 0,
    halts: block[HALTS]! >>> 0,
  };
}

/** What waits for a vCPU's attention. */
export interface VcpuPending {
  /** The highest interrupt vector that is requested, or 0. */
  readonly vector: number;
  /** Messages in its port. */
  readonly commands: number;
}

export function pendingOf(block: Int32Array): VcpuPending {
  return { vector: highestRequested(block), commands: Atomics.load(block, COMMANDS) };
}

/**
 * The highest vector in a block's PIR, or 0. Plain loads, for this is asked at every exit, and engines make a call of each atomic
 * one: what was set before the notification that the caller took note of, atomically, is seen, and what comes later notifies anew.
 */
export function highestRequested(block: Int32Array): number {
  for (let word = PIR_WORDS - 1; word >= 0; word--) {
    const bits = block[PIR + word]!;
    if (bits !== 0) return word * 32 + 31 - Math.clz32(bits);
  }
  return 0;
}

export function stateOf(block: Int32Array): VcpuState {
  return VCPU_STATES[Atomics.load(block, STATE)]!;
}
