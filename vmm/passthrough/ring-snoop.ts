/**
 * What a virtual function wrote, as a hypervisor can tell that has neither dirty bits nor a log: at each of the function's
 * interrupts, and when it is asked, it reads from the receive rings which buffers were used.
 *
 * A descriptor that the device has written back names its buffer no more. So the snooper remembers the addresses while they
 * stand in the ring, between head and tail, and knows those that it looked at in time. What was posted and used between two
 * looks it has never seen; neither what a ring held that is gone, nor which of two buffers a split header went to. Then
 * everything counts as written. Rings themselves are written without anybody telling, and are in every report.
 */
import type { AtomicBitmap } from '../../base/bitmap.js';
import type { FaultPlan } from '../../base/fault.js';
import { PAGE_BYTES } from '../../base/units.js';
import { FRAME_BYTES_MAX } from '../../devices/ethernet/frame.js';
import { DESCTYPE_ADVANCED, QUEUES_PER_POOL, vfRegisters as reg } from '../../devices/nic82599/registers.js';
import type { VirtualFunction } from '../../devices/nic82599/vf.js';

const DESCRIPTOR_BYTES = 16;

/** A receive ring at the last look. */
interface Ring {
  readonly base: number;
  readonly count: number;
  head: number;
  tail: number;
  /** Address of the buffer of each descriptor, as last seen posted. */
  readonly buffers: Float64Array;
}

export interface SnoopPorts {
  /** Guest RAM, which the function reaches from address 0 on. */
  readonly ram: DataView;
  /** The machine's log of what is written there. */
  readonly written: AtomicBitmap;
  readonly faults: FaultPlan;
  /** Calls `look` at each interrupt of the function; undefined: no more. */
  interrupts(look: (() => void) | undefined): void;
  /** Writes on their way are visible when it returns. */
  drain(): void;
}

export class RingSnoop {
  readonly #vf: VirtualFunction;
  readonly #ports: SnoopPorts;
  #rings: (Ring | undefined)[] = [];
  #frames = 0;
  /** Something was written that no look has seen. */
  #unseen = false;

  constructor(vf: VirtualFunction, ports: SnoopPorts) {
    this.#vf = vf;
    this.#ports = ports;
  }

  /** What is written from here on is in a later report. */
  start(): void {
    this.#rings = Array.from({ length: QUEUES_PER_POOL }, (_, queue) => this.#ringNow(queue));
    for (const [queue, ring] of this.#rings.entries()) if (ring !== undefined) this.#remember(ring, queue);
    this.#frames = this.#received;
    this.#unseen = false;
    this.#ports.interrupts(() => this.#look());
  }

  /** Names what was written since the last report in the machine's log; those writes are visible then. */
  report(): void {
    const { written, faults, drain } = this.#ports;
    drain();
    this.#look();
    if (this.#unseen) written.setRange(0, written.length);
    this.#unseen = false;
    if (faults.strikes('nic/rings-unsnooped') !== undefined) return;
    for (let queue = 0; queue < QUEUES_PER_POOL; queue++) this.#markRings(queue);
  }

  /** Harmless while it does not look. */
  stop(): void {
    this.#ports.interrupts(undefined);
    this.#rings = [];
  }

  get #received(): number {
    return this.#vf.pool.registers.get(reg.GPRC);
  }

  #look(): void {
    const frames = (this.#received - this.#frames) >>> 0;
    this.#frames = this.#received;
    for (let queue = 0; queue < QUEUES_PER_POOL; queue++) this.#lookAt(queue, frames);
  }

  #lookAt(queue: number, frames: number): void {
    const before = this.#rings[queue];
    const now = this.#ringNow(queue);
    if (before === undefined || now === undefined || before.base !== now.base || before.count !== now.count) {
      // A ring that is gone, or was used before it was seen at all.
      if (before !== undefined || (now !== undefined && now.head !== 0)) this.#unseen = true;
      this.#rings[queue] = now;
      if (now !== undefined) this.#remember(now, queue);
      return;
    }
    const bytes = this.#bufferBytes(queue);
    const used = distance(before.head, now.head, before.count);
    const posted = distance(before.head, before.tail, before.count);
    // Heads come round: so many frames may have filled the ring more than once.
    const mayHaveComeRound = frames * Math.ceil(FRAME_BYTES_MAX / Math.max(bytes, 1)) >= before.count;
    const inTime = used <= posted && !mayHaveComeRound && bytes > 0;
    if (!inTime) this.#unseen = this.#unseen || frames > 0 || used > 0;
    else for (let i = 0; i < used; i++) this.#mark(before.buffers[(before.head + i) % before.count]!, bytes);
    before.head = now.head;
    if (!inTime) before.tail = now.head;
    this.#remember(before, queue);
  }

  /** Reads the addresses that were posted since the last look. */
  #remember(ring: Ring, queue: number): void {
    const { ram } = this.#ports;
    const tail = this.#register(reg.RDT.word, queue);
    for (let i = ring.tail; i !== tail; i = (i + 1) % ring.count) {
      const at = ring.base + i * DESCRIPTOR_BYTES;
      ring.buffers[i] = ram.getUint32(at, true) + ram.getUint32(at + 4, true) * 2 ** 32;
    }
    ring.tail = tail;
  }

  /** The ring as its registers have it; undefined for none at work, and for one that no memory of the guest holds. */
  #ringNow(queue: number): Ring | undefined {
    const base = this.#register(reg.RDBAL.word, queue) + this.#register(reg.RDBAH.word, queue) * 2 ** 32;
    const count = this.#register(reg.RDLEN.word, queue) / DESCRIPTOR_BYTES;
    const head = this.#register(reg.RDH.word, queue);
    const enabled = reg.RXDCTL.fields.ENABLE.get(this.#register(reg.RXDCTL.word, queue)) === 1;
    const inside = base + count * DESCRIPTOR_BYTES <= this.#ports.ram.byteLength;
    const tail = this.#register(reg.RDT.word, queue);
    if (!enabled || !inside || head >= count || tail >= count) return undefined;
    return { base, count, head, tail: head, buffers: new Float64Array(count) };
  }

  /** What one buffer holds; 0 if it can't be told what is written where. */
  #bufferBytes(queue: number): number {
    const control = this.#register(reg.SRRCTL.word, queue);
    return reg.SRRCTL.fields.DESCTYPE.get(control) === DESCTYPE_ADVANCED
      ? reg.SRRCTL.fields.PACKET_KIB.get(control) * 1024
      : 0;
  }

  /** Descriptors are written back, of both directions; and the transmit head, where a driver wants that. */
  #markRings(queue: number): void {
    const at = (low: number, high: number): number =>
      this.#register(low, queue) + this.#register(high, queue) * 2 ** 32;
    this.#mark(at(reg.RDBAL.word, reg.RDBAH.word), this.#register(reg.RDLEN.word, queue));
    this.#mark(at(reg.TDBAL.word, reg.TDBAH.word), this.#register(reg.TDLEN.word, queue));
    const head = this.#register(reg.TDWBAL.word, queue);
    if (reg.TDWBAL.fields.ENABLE.get(head) === 1) this.#mark(at(reg.TDWBAL.word, reg.TDWBAH.word), 4);
  }

  #mark(address: number, bytes: number): void {
    const { written } = this.#ports;
    const first = Math.floor(address / PAGE_BYTES);
    const end = Math.min(Math.ceil((address + bytes) / PAGE_BYTES), written.length);
    for (let page = first; page < end; page++) written.set(page);
  }

  #register(word: number, queue: number): number {
    return this.#vf.pool.words[word + (queue * reg.RDBAL.stride) / 4]!;
  }
}

const distance = (from: number, to: number, count: number): number => (to - from + count) % count;
