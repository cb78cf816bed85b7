/**
 * Guest RAM as the bus of devices that the VMM itself emulates: bus addresses are guest physical ones, as the guest's DMA
 * API gives them to every device, and what is written is a host write, of which the machine's log knows. Beyond the RAM
 * that migrates nothing answers.
 */
import { copyBytes } from '../../base/copy.js';
import type { DmaPort, RequesterId } from '../../base/dma.js';
import { gpa, type Iova, PAGE_BYTES } from '../../base/units.js';
import type { GuestRam } from './guest-ram.js';

export class RamDma implements DmaPort {
  readonly #ram: GuestRam;
  readonly #end: number;
  /** RAM in words of 16 bits, for what the other side waits on. */
  readonly #words: Uint16Array;

  constructor(ram: GuestRam) {
    this.#ram = ram;
    this.#end = ram.deviceLog.length * PAGE_BYTES;
    this.#words = new Uint16Array(ram.u8.buffer);
  }

  /** A word of 16 bits is read at once, and after it whatever the guest wrote before it is there. */
  read(_requester: RequesterId, address: Iova, target: Uint8Array, at: number, length: number): boolean {
    if (!this.#holds(address, length)) return false;
    if (length === 2 && address % 2 === 0) {
      const word = Atomics.load(this.#words, address / 2);
      target[at] = word;
      target[at + 1] = word >>> 8;
    } else {
      copyBytes(target, at, this.#ram.u8, address, length);
    }
    return true;
  }

  /** A word of 16 bits is written at once, after whatever was written before, and before anything is read after it. */
  write(_requester: RequesterId, address: Iova, source: Uint8Array, at: number, length: number): void {
    if (!this.#holds(address, length)) return;
    if (length === 2 && address % 2 === 0) {
      Atomics.store(this.#words, address / 2, source[at]! | (source[at + 1]! << 8));
    } else {
      copyBytes(this.#ram.u8, address, source, at, length);
    }
    // Data first, then the mark, as in `GuestRam.write`.
    this.#ram.markDirty(gpa(address), length);
  }

  writeDescriptor(requester: RequesterId, address: Iova, d0: number, d1: number, d2: number, d3: number) {
    const bytes = new Uint8Array(Uint32Array.of(d0, d1, d2, d3).buffer);
    this.write(requester, address, bytes, 0, bytes.length);
  }

  #holds(address: number, length: number): boolean {
    return address >= 0 && address + length <= this.#end;
  }
}
