/**
 * How everybody gets a vCPU's attention, from any thread: posted interrupts, start-up requests, kicks. See
 * `control-block.ts` for the protocol.
 */
import { CONTROL_KICK, CONTROL_WINDOW } from '../../base/abi/reserved-range.js';
import {
  COMMANDS,
  controlBlock,
  DOORBELL,
  highestRequested,
  ON,
  PIR,
  PIR_WORDS,
  START,
  STATE,
  VCPU_STATES,
  type VcpuState,
} from './control-block.js';

/** Vectors below this are the CPU's own exceptions; no interrupt can use them (Intel SDM vol. 3, 11.5.2). */
export const VECTOR_MIN = 16;
export const VECTOR_MAX = 255;
/** Some 20 microseconds. */
const KICKS_IN_A_ROW = 1000;

export class VcpuSignals {
  readonly block: Int32Array<SharedArrayBuffer>;
  readonly #ram: Int32Array;
  readonly #kickWord: number;
  readonly #windowWord: number;

  /** `controlGpa` is the address of the vCPU's control line in the reserved range of `ram`. */
  constructor(control: SharedArrayBuffer, vcpu: number, ram: Int32Array, controlGpa: number) {
    this.block = controlBlock(control, vcpu);
    this.#ram = ram;
    this.#kickWord = (controlGpa + CONTROL_KICK) >>> 2;
    this.#windowWord = (controlGpa + CONTROL_WINDOW) >>> 2;
  }

  /** Requests interrupt `vector`; a vector that no interrupt can have is ignored, as a local APIC does. */
  post(vector: number): void {
    if (vector < VECTOR_MIN || vector > VECTOR_MAX) return;
    Atomics.or(this.block, PIR + (vector >>> 5), 1 << (vector & 31));
    if (Atomics.exchange(this.block, ON, 1) === 0) this.kick();
  }

  /** Start-up IPI. Ignored by a vCPU that was started before. */
  requestStart(): void {
    Atomics.store(this.block, START, 1);
    this.kick();
  }

  /** Announces one message in the vCPU's port. */
  command(): void {
    Atomics.add(this.block, COMMANDS, 1);
    this.kick();
  }

  /** Makes the vCPU look for work: at its next safepoint if it runs, at once if it sleeps. */
  kick(): void {
    Atomics.store(this.#ram, this.#kickWord, 1);
    Atomics.add(this.block, DOORBELL, 1);
    Atomics.notify(this.block, DOORBELL);
  }

  /**
   * Kicks a vCPU whose guest may overwrite its kick word: between such a store and the next safepoint there are a few
   * instructions, which one kick meets or not, and so many in a row hardly miss.
   */
  insist(): void {
    for (let i = 0; i < KICKS_IN_A_ROW; i++) Atomics.store(this.#ram, this.#kickWord, 1);
    this.kick();
  }

  // The rest is for the vCPU's own thread.

  /** Sets the kick word for itself: the next safepoint leaves the guest. */
  kickSelf(): void {
    Atomics.store(this.#ram, this.#kickWord, 1);
  }

  /** Requests an interrupt of the vCPU itself, which is about to look at them. */
  raise(vector: number): void {
    Atomics.or(this.block, PIR + (vector >>> 5), 1 << (vector & 31));
  }

  setState(state: VcpuState): void {
    const index = VCPU_STATES.indexOf(state);
    if (this.block[STATE] !== index) Atomics.store(this.block, STATE, index);
  }

  /** Takes note of all kicks so far; what they were for is looked at after this. */
  acknowledge(): void {
    Atomics.store(this.#ram, this.#kickWord, 0);
    this.acceptPosts();
  }

  /** Takes note of posted interrupts, but leaves the kick word as it is. */
  acceptPosts(): void {
    if (Atomics.load(this.block, ON) !== 0) Atomics.store(this.block, ON, 0);
  }

  /** Whether `irq_restore` shall kick, because an interrupt waits for interrupts to be enabled. */
  setWindow(open: boolean): void {
    const value = open ? 1 : 0;
    if (this.#ram[this.#windowWord] !== value) Atomics.store(this.#ram, this.#windowWord, value);
  }

  /** The highest vector requested, or 0. */
  highest(): number {
    return highestRequested(this.block);
  }

  take(vector: number): void {
    Atomics.and(this.block, PIR + (vector >>> 5), ~(1 << (vector & 31)));
  }

  savePir(): Uint8Array {
    const pir = new Uint8Array(PIR_WORDS * 4);
    const view = new DataView(pir.buffer);
    for (let i = 0; i < PIR_WORDS; i++) view.setInt32(i * 4, Atomics.load(this.block, PIR + i), true);
    return pir;
  }

  restorePir(pir: Uint8Array): void {
    const view = new DataView(pir.buffer, pir.byteOffset, pir.byteLength);
    for (let i = 0; i < PIR_WORDS; i++) Atomics.store(this.block, PIR + i, view.getInt32(i * 4, true));
  }
}
