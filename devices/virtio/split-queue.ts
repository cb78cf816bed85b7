/**
 * The device's half of a split virtqueue: chains of buffers that the driver made available, one at a time, and the ring in
 * which it finds them again. Virtio 1.2, 2.7
 *
 * Whatever the rings say is legal input. What no driver may write makes the queue broken, which is for the device to tell;
 * a chain is judged on a copy of its descriptors, and nothing is allocated for one.
 */
import { DMA_READS, DMA_WRITES, iovaOf } from '../../base/dma.js';
import type { Iova } from '../../base/units.js';
import type { PciFunction } from '../pci/function.js';
import { Awaited, type MemoryWaits } from '../pci/memory-waits.js';

/** Where the driver put the three parts, and how long they are. */
export interface QueuePlace {
  readonly size: number;
  readonly descriptors: Iova;
  readonly driver: Iova;
  readonly device: Iova;
}

/** What there is to take: nothing, a chain, something that no driver may write, or what is known when memory has come (`awaited`). */
export type Taken = 'nothing' | 'chain' | 'broken' | 'waits';

const DESCRIPTOR_BYTES = 16;
const FLAG_NEXT = 1;
const FLAG_WRITE = 2;
const FLAG_INDIRECT = 4;
const AVAILABLE_NO_INTERRUPT = 1;
/** Flags and index in front of both rings. */
const INDEX_AT = 2;
const RING_AT = 4;
const AVAILABLE_BYTES = 2;
const USED_BYTES = 8;
const INDEX_MASK = 0xffff;

export class SplitQueue {
  /** Where the device is in the ring of available chains; where the next used one goes. Modulo 65536. */
  lastAvailable = 0;
  used = 0;
  /** Of the chain that was taken last: its first descriptor, and the bytes that the device may read and write. */
  head = 0;
  readableBytes = 0;
  writableBytes = 0;
  /** Memory that the next chain needs. */
  readonly awaited = new Awaited();
  private readonly memory: PciFunction;
  private readonly waits: MemoryWaits;
  private place: QueuePlace;
  private published = 0;
  /** Pieces of the chain, the readable ones first. */
  private readonly addresses: Float64Array;
  private readonly lengths: Float64Array;
  private readable = 0;
  private pieces = 0;
  private readonly scratch = new Uint8Array(DESCRIPTOR_BYTES);
  private readonly view = new DataView(this.scratch.buffer);

  /** `memory`: requests of the function that the queue belongs to. */
  constructor(memory: PciFunction, waits: MemoryWaits, place: QueuePlace, lastAvailable = 0, used = 0) {
    this.memory = memory;
    this.waits = waits;
    this.place = place;
    this.addresses = new Float64Array(place.size);
    this.lengths = new Float64Array(place.size);
    this.lastAvailable = lastAvailable;
    this.used = used;
    this.published = used;
  }

  /**
   * Takes the next chain that is available. `bytesMax`: so much of its readable and of its writable part is looked at or filled, at
   * most. One that waits is taken another time, and nothing has changed.
   */
  take(bytesMax: number): Taken {
    const { size, driver } = this.place;
    this.awaited.clear();
    if (!this.isThere(driver, RING_AT, DMA_READS)) return 'waits';
    const index = this.word(driver + INDEX_AT);
    if (index < 0) return 'broken';
    const ahead = (index - this.lastAvailable) & INDEX_MASK;
    if (ahead === 0) return 'nothing';
    if (ahead > size) return 'broken';
    const slot = driver + RING_AT + (this.lastAvailable % size) * AVAILABLE_BYTES;
    if (!this.isThere(slot, AVAILABLE_BYTES, DMA_READS)) return 'waits';
    const head = this.word(slot);
    if (head < 0 || head >= size) return 'broken';
    const followed = this.follow(head);
    if (followed !== 'chain') return followed;
    if (this.waits.presence !== undefined && !this.allIsThere(bytesMax)) return 'waits';
    this.head = head;
    this.lastAvailable = (this.lastAvailable + 1) & INDEX_MASK;
    return 'chain';
  }

  /** Reads `length` bytes from byte `from` of the chain's readable part, which has them. False if memory does not answer. */
  read(from: number, target: Uint8Array, at: number, length: number): boolean {
    let skip = from;
    let done = 0;
    for (let i = 0; i < this.readable && done < length; i++) {
      const bytes = this.lengths[i]!;
      if (skip >= bytes) {
        skip -= bytes;
        continue;
      }
      const count = Math.min(bytes - skip, length - done);
      if (!this.memory.dmaRead((this.addresses[i]! + skip) as Iova, target, at + done, count)) return false;
      done += count;
      skip = 0;
    }
    return done === length;
  }

  /** Writes `length` bytes from byte `from` of the chain's writable part on, which has room for them. */
  write(from: number, source: Uint8Array, at: number, length: number): void {
    let skip = from;
    let done = 0;
    for (let i = this.readable; i < this.pieces && done < length; i++) {
      const bytes = this.lengths[i]!;
      if (skip >= bytes) {
        skip -= bytes;
        continue;
      }
      const count = Math.min(bytes - skip, length - done);
      this.memory.dmaWrite((this.addresses[i]! + skip) as Iova, source, at + done, count);
      done += count;
      skip = 0;
    }
  }

  /** Gives the chain that was taken back, `written` bytes of which the device has filled. Seen with the next `publish`. */
  complete(written: number): void {
    const { size, device } = this.place;
    this.view.setUint32(0, this.head, true);
    this.view.setUint32(4, written, true);
    const at = device + RING_AT + (this.used % size) * USED_BYTES;
    this.memory.dmaWrite(at as Iova, this.scratch, 0, USED_BYTES);
    this.used = (this.used + 1) & INDEX_MASK;
  }

  /**
   * Shows the driver what was given back since the last time; true if it wants an interrupt for that. The index is written
   * before the driver's wish is read, and the driver does it the other way round: so one of them sees the other's.
   */
  publish(): boolean {
    if (this.used === this.published) return false;
    this.published = this.used;
    this.view.setUint16(0, this.used, true);
    this.memory.dmaWrite((this.place.device + INDEX_AT) as Iova, this.scratch, 0, 2);
    const flags = this.word(this.place.driver);
    return flags >= 0 && (flags & AVAILABLE_NO_INTERRUPT) === 0;
  }

  /** A word of 16 bits, or -1. */
  private word(address: number): number {
    return this.memory.dmaRead(address as Iova, this.scratch, 0, 2) ? this.view.getUint16(0, true) : -1;
  }

  /** Whether a range is there; else it is awaited. */
  private isThere(address: number, length: number, access: number): boolean {
    const { memory, waits } = this;
    return waits.presence === undefined || waits.ask(memory, address as Iova, length, access, this.awaited);
  }

  /** Where the chain is given back, and its pieces, each asked for even behind one that is missing. */
  private allIsThere(bytesMax: number): boolean {
    const { size, device } = this.place;
    let there = this.isThere(device, RING_AT, DMA_WRITES);
    const slot = device + RING_AT + (this.used % size) * USED_BYTES;
    there = this.isThere(slot, USED_BYTES, DMA_WRITES) && there;
    let left = bytesMax;
    for (let i = 0; i < this.pieces; i++) {
      if (i === this.readable) left = bytesMax;
      const bytes = Math.min(left, this.lengths[i]!);
      left -= bytes;
      const access = i < this.readable ? DMA_READS : DMA_WRITES;
      if (bytes > 0) there = this.isThere(this.addresses[i]!, bytes, access) && there;
    }
    return there;
  }

  /** Collects the pieces of the chain at `head`; broken if no driver may make such a one. */
  private follow(head: number): Exclude<Taken, 'nothing'> {
    const { size, descriptors } = this.place;
    this.pieces = 0;
    this.readable = 0;
    this.readableBytes = 0;
    this.writableBytes = 0;
    for (let index = head; ; ) {
      // A chain that is longer than the table has a loop in it.
      if (index >= size || this.pieces === size) return 'broken';
      const at = (descriptors + index * DESCRIPTOR_BYTES) as Iova;
      if (!this.isThere(at, DESCRIPTOR_BYTES, DMA_READS)) return 'waits';
      if (!this.memory.dmaRead(at, this.scratch, 0, DESCRIPTOR_BYTES)) return 'broken';
      const length = this.view.getUint32(8, true);
      const flags = this.view.getUint16(12, true);
      if ((flags & FLAG_INDIRECT) !== 0) return 'broken';
      this.addresses[this.pieces] = iovaOf(this.view.getUint32(0, true), this.view.getUint32(4, true));
      this.lengths[this.pieces] = length;
      this.pieces++;
      if ((flags & FLAG_WRITE) !== 0) {
        this.writableBytes += length;
      } else {
        if (this.writableBytes > 0 || this.readable + 1 !== this.pieces) return 'broken';
        this.readable++;
        this.readableBytes += length;
      }
      if ((flags & FLAG_NEXT) === 0) return 'chain';
      index = this.view.getUint16(14, true);
    }
  }
}
