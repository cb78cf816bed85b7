/**
 * Both ends of the way from a vCPU thread to the device thread; the words are explained in `vcpu/control-block.ts`. The
 * device thread listens to one bell for all vCPUs: a word in the devices' own shared buffer, which ringing increments.
 * Whoever rings then looks whether the thread sleeps; the thread says so before it looks at the bell for the last time.
 * Both orders are sequentially consistent, so one of the two sees the other, and a thread that is awake costs no wake.
 */
import { invariant } from '../../base/errors.js';
import type { AccessWidth, MmioRegion } from '../../base/mmio.js';
import {
  controlBlock,
  MMIO_ACCESS,
  MMIO_ADDRESS,
  MMIO_DONE,
  MMIO_IDLE,
  MMIO_REQUESTED,
  MMIO_STATE,
  MMIO_VALUE,
  MMIO_WRITE,
  POSTED_ENTRIES,
  POSTED_ENTRY_WORDS,
  POSTED_HEAD,
  POSTED_RING,
  POSTED_TAIL,
} from './control-block.js';

/** Words of the devices' shared buffer. */
const BELL = 0;
/** 1 while the device thread is about to sleep or asleep: only then a ring has to wake it, by WAKE. */
const LISTENING = 1;
/** What the sleep waits on; counts the wakes, so that one wait is enough for any number of sleeps. */
const WAKE = 2;
const POSTED_COUNT = 3;
const POSTED_RANGES = 4;
const POSTED_RANGES_MAX = 16;

export const DEVICE_BUFFER_BYTES = 4 * (POSTED_RANGES + 2 * POSTED_RANGES_MAX);
invariant((POSTED_ENTRIES & (POSTED_ENTRIES - 1)) === 0, 'ring indices wrap by mask');

/**
 * Accesses come in bursts, so both ends look this often before they sleep, for about as long as a sleep and its end
 * cost: ten microseconds. An access then takes a fraction of one; if one of the two has to be woken, ten and more.
 */
const ANSWER_SPINS = 1000;
const REQUEST_SPINS = 1000;

/** The vCPU's end. */
export class MmioRequester {
  readonly #block: Int32Array;
  readonly #device: Int32Array;
  readonly #ranges: Uint32Array;

  constructor(block: Int32Array, deviceBuffer: SharedArrayBuffer) {
    this.#block = block;
    this.#device = new Int32Array(deviceBuffer);
    this.#ranges = new Uint32Array(deviceBuffer, POSTED_RANGES * 4);
  }

  read(address: number, width: AccessWidth): number {
    return this.#request(address, width, 0);
  }

  write(address: number, width: AccessWidth, value: number): void {
    if (this.#isPosted(address) && this.#post(address, width, value)) return;
    this.#request(address, width | MMIO_WRITE, value);
  }

  #request(address: number, access: number, value: number): number {
    const block = this.#block;
    block[MMIO_ADDRESS] = address;
    block[MMIO_ACCESS] = access;
    block[MMIO_VALUE] = value;
    Atomics.store(block, MMIO_STATE, MMIO_REQUESTED);
    ringDevices(this.#device);
    for (let i = 0; i < ANSWER_SPINS; i++) {
      if (Atomics.load(block, MMIO_STATE) === MMIO_DONE) break;
    }
    while (Atomics.load(block, MMIO_STATE) !== MMIO_DONE) Atomics.wait(block, MMIO_STATE, MMIO_REQUESTED);
    const answer = block[MMIO_VALUE]! >>> 0;
    Atomics.store(block, MMIO_STATE, MMIO_IDLE);
    return answer;
  }

  /** False when the ring is full: the access then waits its turn like any other. */
  #post(address: number, width: number, value: number): boolean {
    const block = this.#block;
    const head = block[POSTED_HEAD]!;
    if (((head - Atomics.load(block, POSTED_TAIL)) | 0) >= POSTED_ENTRIES) return false;
    const at = POSTED_RING + (head & (POSTED_ENTRIES - 1)) * POSTED_ENTRY_WORDS;
    block[at] = address;
    block[at + 1] = width;
    block[at + 2] = value;
    Atomics.store(block, POSTED_HEAD, (head + 1) | 0);
    ringDevices(this.#device);
    return true;
  }

  #isPosted(address: number): boolean {
    const count = Atomics.load(this.#device, POSTED_COUNT);
    for (let i = 0; i < count; i++) {
      if (address >= this.#ranges[2 * i]! && address <= this.#ranges[2 * i + 1]!) return true;
    }
    return false;
  }
}

function ringDevices(device: Int32Array): void {
  Atomics.add(device, BELL, 1);
  if (Atomics.load(device, LISTENING) === 0) return;
  Atomics.add(device, WAKE, 1);
  Atomics.notify(device, WAKE);
}

/** What answers the accesses: the bus, with absolute addresses. */
export interface MmioTarget {
  readonly regions: readonly MmioRegion[];
  read(address: number, width: AccessWidth): number;
  write(address: number, width: AccessWidth, value: number): void;
}

/** The device thread's end. */
export class MmioResponder {
  readonly #blocks: readonly Int32Array[];
  readonly #device: Int32Array;
  readonly #bus: MmioTarget;
  /** A wait for WAKE stands; what is called at its end. */
  #waits = false;
  #then = (): void => {};

  constructor(control: SharedArrayBuffer, vcpus: number, deviceBuffer: SharedArrayBuffer, bus: MmioTarget) {
    this.#blocks = Array.from({ length: vcpus }, (_, i) => controlBlock(control, i));
    this.#device = new Int32Array(deviceBuffer);
    this.#bus = bus;
    const ranges = bus.regions.filter((region) => region.posted === true);
    invariant(ranges.length <= POSTED_RANGES_MAX, 'too many posted regions');
    const words = new Uint32Array(deviceBuffer, POSTED_RANGES * 4);
    ranges.forEach(({ base, bytes }, i) => {
      words[2 * i] = base;
      words[2 * i + 1] = base + bytes - 1;
    });
    Atomics.store(this.#device, POSTED_COUNT, ranges.length);
  }

  /** Serves everything that waits; returns how much it was. */
  serve(): number {
    let served = 0;
    for (const block of this.#blocks) {
      served += this.#servePosted(block);
      if (Atomics.load(block, MMIO_STATE) !== MMIO_REQUESTED) continue;
      // The request may have come after the ring was emptied, and writes posted before it must arrive first.
      served += this.#servePosted(block) + 1;
      const address = block[MMIO_ADDRESS]! >>> 0;
      const access = block[MMIO_ACCESS]!;
      const width = (access & ~MMIO_WRITE) as AccessWidth;
      if ((access & MMIO_WRITE) === 0) block[MMIO_VALUE] = this.#bus.read(address, width);
      else this.#bus.write(address, width, block[MMIO_VALUE]! >>> 0);
      Atomics.store(block, MMIO_STATE, MMIO_DONE);
      Atomics.notify(block, MMIO_STATE);
    }
    return served;
  }

  /** Says that the thread is awake. Returns what the bell shows: wait for it to change after looking for work. */
  attend(): number {
    if (this.#device[LISTENING] !== 0) Atomics.store(this.#device, LISTENING, 0);
    return this.#bell;
  }

  get #bell(): number {
    return Atomics.load(this.#device, BELL);
  }

  /** Looks at the bell for a moment; true if it shows something other than `seen`. */
  rangSoon(seen: number): boolean {
    for (let i = 0; i < REQUEST_SPINS; i++) {
      if (this.#bell !== seen) return true;
    }
    return false;
  }

  /** Calls `then` when the bell shows something other than `seen`, and maybe without a reason; of several, the last. */
  whenRung(seen: number, then: () => void): void {
    this.#then = then;
    // Read before the last look at the bell: a ring behind that look changes it, and the wait below does not begin.
    const wakes = Atomics.load(this.#device, WAKE);
    Atomics.store(this.#device, LISTENING, 1);
    if (this.#bell !== seen) {
      then();
      return;
    }
    if (this.#waits) return;
    const wait = Atomics.waitAsync(this.#device, WAKE, wakes);
    if (!wait.async) {
      then();
      return;
    }
    this.#waits = true;
    wait.value.then(() => {
      this.#waits = false;
      this.#then();
    });
  }

  /** Wakes a device thread that listens, from any thread. */
  ring(): void {
    ringDevices(this.#device);
  }

  #servePosted(block: Int32Array): number {
    const head = Atomics.load(block, POSTED_HEAD);
    let tail = block[POSTED_TAIL]!;
    const count = (head - tail) | 0;
    for (; tail !== head; tail = (tail + 1) | 0) {
      const at = POSTED_RING + (tail & (POSTED_ENTRIES - 1)) * POSTED_ENTRY_WORDS;
      const width = block[at + 1]! as AccessWidth;
      this.#bus.write(block[at]! >>> 0, width, block[at + 2]! >>> 0);
      Atomics.store(block, POSTED_TAIL, (tail + 1) | 0);
    }
    return count;
  }
}
