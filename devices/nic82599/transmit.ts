/**
 * A transmit queue: takes packets out of a ring, offloads them, hands frames to the switch and reports completion.
 * 82599 datasheet, 7.2
 *
 * A packet is taken only when all its descriptors are there, and all memory that it needs, so that between two steps the ring's
 * head is the whole progress, beside the contexts loaded so far and the segments already sent of the packet at the head.
 */
import { DMA_READS, DMA_WRITES, iovaOf } from '../../base/dma.js';
import { KIB } from '../../base/units.js';
import { storeChecksum, sumBytes } from '../ethernet/checksum.js';
import { FRAME_BYTES_MAX, FrameBuffer, PROTOCOL_TCP } from '../ethernet/frame.js';
import { Awaited } from '../pci/memory-waits.js';
import {
  DESCRIPTOR_DWORDS,
  TX_TYPE_CONTEXT,
  TX_TYPE_DATA,
  txContext,
  txData,
  txLegacy,
} from './descriptors.js';
import {
  insertIpChecksum,
  insertL4Checksum,
  OffloadContext,
  Segmenter,
  type SegmentFlags,
} from './offload.js';
import type { QueueOwner } from './receive.js';
import { DESCRIPTOR_BYTES, vfRegisters as reg } from './registers.js';

/**
 * Descriptors of one packet at most, or of all that is to be segmented: the part counts the transfer, not its segments. A
 * longer chain is not a packet. Drivers stay below it by their WTHRESH. 82599 datasheet, 7.2.1.1
 */
export const PACKET_DESCRIPTORS_MAX = 40;
/** PAYLEN has 18 bits; headers come on top. */
const LARGE_PACKET_BYTES = 2 ** 18 + 512;
/** Of packets behind one that waits, this much is asked for along with it. */
const AHEAD_BYTES = 64 * KIB;
/** The shortest packet that the hardware takes. */
const PACKET_BYTES_MIN = 17;
export const CONTEXT_SLOTS = 2;

/** What is shared by all transmit queues of a NIC: only one runs at a time. */
export class TransmitEngine {
  readonly descriptors = new Uint8Array(PACKET_DESCRIPTORS_MAX * DESCRIPTOR_BYTES);
  readonly dwords = new Uint32Array(this.descriptors.buffer);
  readonly frame = new FrameBuffer();
  readonly context = new OffloadContext();
  readonly segmenter = new Segmenter(LARGE_PACKET_BYTES);
  readonly headPointer = new Uint8Array(4);
}

export interface TransmitOwner extends QueueOwner {
  /** Packets that the hardware does not send: too many descriptors, too short or long, headers that are none. */
  readonly drops: { malformed: number };
  readonly engine: TransmitEngine;
  /** The switch and the physical function let this pool send. */
  readonly maySend: boolean;
  readonly segmentFlags: SegmentFlags;
  /** Hands over the frame in the engine's buffer; `tag` is the VLAN tag to insert, or -1. */
  emit(tag: number): void;
}

export class TransmitQueue {
  /** Context descriptors as last loaded, four dwords a slot: state that no register shows. */
  readonly contexts = new Uint32Array(CONTEXT_SLOTS * DESCRIPTOR_DWORDS);
  /** Segments already sent of the packet at the head. */
  segmentsSent = 0;
  /** Memory that the packet at the head needs. */
  readonly awaited = new Awaited();
  /** Nobody waits for what later packets need. */
  private readonly ahead = new Awaited();
  private readonly owner: TransmitOwner;
  private readonly index: number;
  private readonly at: number;

  constructor(owner: TransmitOwner, index: number) {
    this.owner = owner;
    this.index = index;
    this.at = (index * reg.TDBAL.stride) / 4;
  }

  /**
   * Works until the ring is empty or `budget` descriptors and frames are spent. Returns what is left of it: more than
   * zero means that there is nothing to do until the next doorbell, or until the memory that it waits for has arrived.
   */
  run(budget: number): number {
    const { words } = this.owner;
    let left = budget;
    let reported = false;
    while (left > 0) {
      const fetched = this.fetch();
      if (fetched === 0) break;
      const head = words[reg.TDH.word + this.at]!;
      let i = 0;
      while (i < fetched && left > 0) {
        if (this.isContext(i)) {
          this.segmentsSent = 0;
          this.loadContext(i);
          reported = this.complete(head, i, i) || reported;
          i++;
          left--;
          continue;
        }
        const last = this.packetEnd(i, fetched);
        if (last < 0) break;
        if (!this.buffersAreThere(i, last, this.awaited)) {
          this.askAhead(last + 1, fetched);
          break;
        }
        left -= last - i + 1;
        left = this.send(i, last, left);
        if (this.segmentsSent > 0) break;
        reported = this.complete(head, i, last) || reported;
        i = last + 1;
      }
      // Nothing was taken: the packet at the head is not complete yet, or only partly sent.
      if (i === 0) break;
    }
    if (reported) this.owner.transmitCause(this.index);
    return left;
  }

  /** True if a doorbell for this queue means work. */
  get hasWork(): boolean {
    return this.ready && this.owned() > 0;
  }

  private get ready(): boolean {
    const { words, fn, maySend } = this.owner;
    return maySend && fn.mastering && reg.TXDCTL.fields.ENABLE.get(words[reg.TXDCTL.word + this.at]!) === 1;
  }

  /** Descriptors from head to tail; 0 for indices beyond the ring. */
  private owned(): number {
    const { words } = this.owner;
    const count = this.count;
    const head = words[reg.TDH.word + this.at]!;
    const tail = words[reg.TDT.word + this.at]!;
    if (head >= count || tail >= count) return 0;
    return tail >= head ? tail - head : tail - head + count;
  }

  private get count(): number {
    return this.owner.words[reg.TDLEN.word + this.at]! / DESCRIPTOR_BYTES;
  }

  private slotAddress(slot: number) {
    const { words } = this.owner;
    const base = words[reg.TDBAL.word + this.at]! + slot * DESCRIPTOR_BYTES;
    const carry = base >= 2 ** 32 ? 1 : 0;
    return iovaOf(base >>> 0, words[reg.TDBAH.word + this.at]! + carry);
  }

  /** Reads descriptors from the head on into the engine, up to one packet's worth. Returns how many. */
  private fetch(): number {
    if (!this.ready) return 0;
    const { fn, engine, words } = this.owner;
    const { count } = this;
    const head = words[reg.TDH.word + this.at]!;
    const wanted = Math.min(this.owned(), PACKET_DESCRIPTORS_MAX);
    if (wanted === 0) return 0;
    const there = this.owner.waits.presence === undefined ? wanted : this.descriptorsThere(head, wanted);
    if (there === 0) return 0;
    const first = Math.min(there, count - head);
    if (!fn.dmaRead(this.slotAddress(head), engine.descriptors, 0, first * DESCRIPTOR_BYTES)) return 0;
    if (first === there) return there;
    const done = first * DESCRIPTOR_BYTES;
    const rest = (there - first) * DESCRIPTOR_BYTES;
    return fn.dmaRead(this.slotAddress(0), engine.descriptors, done, rest) ? there : first;
  }

  /** How many of the first `wanted` descriptors can be used; the others have been asked for, and are waited for. */
  private descriptorsThere(head: number, wanted: number): number {
    this.awaited.clear();
    let there = wanted;
    // While the last of them are under way, work goes on with the first.
    for (let awaited = this.awaited; there > 0 && !this.ringIsThere(head, there, awaited); there >>>= 1) {
      awaited = this.ahead;
    }
    return there;
  }

  /** What is fetched, and what completes it: descriptors written back, or the head's copy. */
  private ringIsThere(head: number, wanted: number, awaited: Awaited): boolean {
    const { fn, waits } = this.owner;
    const access = DMA_READS | DMA_WRITES;
    const first = Math.min(wanted, this.count - head);
    let there = waits.ask(fn, this.slotAddress(head), first * DESCRIPTOR_BYTES, access, awaited);
    if (first < wanted) {
      const rest = (wanted - first) * DESCRIPTOR_BYTES;
      there = waits.ask(fn, this.slotAddress(0), rest, access, awaited) && there;
    }
    if (this.writesHeadBack())
      there =
        waits.ask(fn, this.headPointerAddress, this.owner.engine.headPointer.length, DMA_WRITES, awaited) &&
        there;
    return there;
  }

  /** All of a packet are asked for, also behind one that is missing: they are fetched together. */
  private buffersAreThere(from: number, last: number, awaited: Awaited): boolean {
    const { fn, waits, engine } = this.owner;
    if (waits.presence === undefined) return true;
    const { dwords } = engine;
    let there = true;
    for (let i = from; i <= last; i++) {
      const at = i * DESCRIPTOR_DWORDS;
      const bytes = txData.LENGTH.read(dwords, at);
      const address = iovaOf(dwords[at]!, dwords[at + 1]!);
      if (bytes > 0) there = waits.ask(fn, address, bytes, DMA_READS, awaited) && there;
    }
    return there;
  }

  /** Asks for what packets from descriptor `from` on will need, so that they do not wait one after the other. */
  private askAhead(from: number, fetched: number): void {
    const { dwords } = this.owner.engine;
    let bytes = 0;
    for (let i = from; i < fetched; ) {
      if (this.isContext(i)) {
        i++;
        continue;
      }
      const last = this.packetEnd(i, fetched);
      for (let k = i; k <= last; k++) bytes += txData.LENGTH.read(dwords, k * DESCRIPTOR_DWORDS);
      if (last < 0 || bytes > AHEAD_BYTES) return;
      this.buffersAreThere(i, last, this.ahead);
      i = last + 1;
    }
  }

  private isContext(i: number): boolean {
    const d2 = this.owner.engine.dwords[i * DESCRIPTOR_DWORDS + txData.TYPE.word]!;
    return txData.EXTENDED.get(d2) === 1 && txData.TYPE.get(d2) === TX_TYPE_CONTEXT;
  }

  private loadContext(i: number): void {
    const { dwords } = this.owner.engine;
    const at = i * DESCRIPTOR_DWORDS;
    const slot = txContext.INDEX.read(dwords, at) % CONTEXT_SLOTS;
    for (let word = 0; word < DESCRIPTOR_DWORDS; word++) {
      this.contexts[slot * DESCRIPTOR_DWORDS + word] = dwords[at + word]!;
    }
  }

  /**
   * Index of the last descriptor of the packet that starts at `from`, or -1 if it is not there yet. A chain without an
   * end as long as the hardware takes ends there; a context descriptor inside ends it before.
   */
  private packetEnd(from: number, fetched: number): number {
    const { dwords } = this.owner.engine;
    for (let i = from; i < fetched; i++) {
      if (i > from && this.isContext(i)) return i - 1;
      if (txData.EOP.get(dwords[i * DESCRIPTOR_DWORDS + txData.EOP.word]!) === 1) return i;
    }
    return from === 0 && fetched === PACKET_DESCRIPTORS_MAX ? fetched - 1 : -1;
  }

  /** Sends the packet of descriptors `from` to `last`, or drops it if it is none. Returns the budget left. */
  private send(from: number, last: number, budget: number): number {
    const { dwords } = this.owner.engine;
    const first = from * DESCRIPTOR_DWORDS;
    const segmentsSent = this.segmentsSent;
    this.segmentsSent = 0;
    const ended = txData.EOP.read(dwords, last * DESCRIPTOR_DWORDS) === 1;
    if (!ended) {
      this.dropped();
      return budget;
    }
    const d2 = dwords[first + txData.TYPE.word]!;
    if (txData.EXTENDED.get(d2) === 0) {
      if (!this.sendLegacy(from, last)) this.dropped();
      return budget - 1;
    }
    if (txData.TYPE.get(d2) !== TX_TYPE_DATA) {
      this.dropped();
      return budget;
    }
    const slot = txData.CONTEXT_INDEX.read(dwords, first) % CONTEXT_SLOTS;
    this.owner.engine.context.load(this.contexts, slot * DESCRIPTOR_DWORDS);
    if (txData.SEGMENT.get(d2) === 1) return this.sendSegments(from, last, segmentsSent, budget);
    if (!this.sendWhole(from, last)) this.dropped();
    return budget - 1;
  }

  /** False if it is no frame that the part sends. */
  private sendWhole(from: number, last: number): boolean {
    const { engine } = this.owner;
    const { frame, context, dwords } = engine;
    const length = this.gather(from, last, frame.bytes, FRAME_BYTES_MAX);
    if (length < PACKET_BYTES_MIN) return false;
    frame.length = length;
    const first = from * DESCRIPTOR_DWORDS;
    const d3 = dwords[first + txData.IP_CHECKSUM.word]!;
    if (txData.IP_CHECKSUM.get(d3) === 1 && !insertIpChecksum(frame, context)) return false;
    if (txData.L4_CHECKSUM.get(d3) === 1 && !insertL4Checksum(frame, context, 0)) return false;
    this.owner.emit(this.tagOf(first));
    return true;
  }

  /** Sends segments from `next` on, as many as the budget allows, and remembers where it stopped. */
  private sendSegments(from: number, last: number, next: number, budget: number): number {
    const { engine, segmentFlags } = this.owner;
    const { segmenter, context, frame, dwords } = engine;
    const first = from * DESCRIPTOR_DWORDS;
    segmenter.length = this.gather(from, last, segmenter.packet, LARGE_PACKET_BYTES);
    if (!segmenter.begin(context, txData.PAYLOAD.read(dwords, first))) {
      this.dropped();
      return budget - 1;
    }
    const tag = this.tagOf(first);
    let left = budget;
    for (let i = next; i < segmenter.segments; i++) {
      // At least one a step, so that a packet of many segments gets done with any budget.
      if (left <= 0 && i > next) {
        this.segmentsSent = i;
        return 0;
      }
      if (!segmenter.build(i, frame, context, segmentFlags)) {
        this.dropped();
        return left;
      }
      this.owner.emit(tag);
      left--;
    }
    return left;
  }

  /** Legacy descriptors: one optional checksum from a given start, VLAN tag in the descriptor. */
  private sendLegacy(from: number, last: number): boolean {
    const { engine } = this.owner;
    const { frame, dwords } = engine;
    const length = this.gather(from, last, frame.bytes, FRAME_BYTES_MAX);
    if (length < PACKET_BYTES_MIN) return false;
    frame.length = length;
    const first = from * DESCRIPTOR_DWORDS;
    if (txLegacy.INSERT_CHECKSUM.read(dwords, first) === 1) {
      const at = txLegacy.CHECKSUM_OFFSET.read(dwords, first);
      const start = txLegacy.CHECKSUM_START.read(dwords, first);
      if (at + 2 > length || start >= length) return false;
      storeChecksum(frame, at, sumBytes(frame, start, length - start), PROTOCOL_TCP);
    }
    const insert = txData.INSERT_VLAN.read(dwords, first) === 1;
    this.owner.emit(insert ? txLegacy.VLAN.read(dwords, first) : -1);
    return true;
  }

  /** What the driver asked to send can't be sent: it is told as done, like any other, and the host counts it. */
  private dropped(): void {
    this.owner.drops.malformed++;
  }

  private tagOf(first: number): number {
    const { dwords, context } = this.owner.engine;
    return txData.INSERT_VLAN.read(dwords, first) === 1 ? context.vlanTag : -1;
  }

  /** Reads the packet's buffers one after the other. Returns its length, or -1 if it is too long or unreadable. */
  private gather(from: number, last: number, target: Uint8Array, limit: number): number {
    const { fn, engine } = this.owner;
    const { dwords } = engine;
    let length = 0;
    for (let i = from; i <= last; i++) {
      const at = i * DESCRIPTOR_DWORDS;
      const bytes = txData.LENGTH.read(dwords, at);
      if (bytes === 0) continue;
      if (length + bytes > limit) return -1;
      const address = iovaOf(dwords[at]!, dwords[at + 1]!);
      if (!fn.dmaRead(address, target, length, bytes)) return -1;
      length += bytes;
    }
    return length;
  }

  /**
   * Gives descriptors `from` to `last`, counted from `head`, back to the driver: moves the head behind them and reports
   * those that ask for it. Returns whether any did.
   */
  private complete(head: number, from: number, last: number): boolean {
    const { words, engine, fn } = this.owner;
    const { dwords } = engine;
    const { count } = this;
    const next = (head + last + 1) % count;
    words[reg.TDH.word + this.at] = next;
    let reported = false;
    for (let i = from; i <= last; i++) {
      const at = i * DESCRIPTOR_DWORDS;
      if (txData.REPORT_STATUS.get(dwords[at + txData.REPORT_STATUS.word]!) === 0) continue;
      reported = true;
      if (this.writesHeadBack()) continue;
      const d3 = dwords[at + txData.DONE.word]! | txData.DONE.mask;
      const address = this.slotAddress((head + i) % count);
      fn.dmaWriteDescriptor(address, dwords[at]!, dwords[at + 1]!, dwords[at + 2]!, d3 >>> 0);
    }
    if (reported && this.writesHeadBack()) this.writeHeadBack(next);
    if (this.owner.waits.presence !== undefined) this.release(head, from, last);
    return reported;
  }

  /** What was used of the ring, and of memory, is the driver's again. */
  private release(head: number, from: number, last: number): void {
    const { fn, waits, engine } = this.owner;
    const { dwords } = engine;
    for (let i = from; i <= last; i++) {
      const at = i * DESCRIPTOR_DWORDS;
      waits.release(fn, this.slotAddress((head + i) % this.count), DESCRIPTOR_BYTES);
      if (!this.isContext(i))
        waits.release(fn, iovaOf(dwords[at]!, dwords[at + 1]!), txData.LENGTH.read(dwords, at));
    }
  }

  private writesHeadBack(): boolean {
    const low = this.owner.words[reg.TDWBAL.word + this.at]!;
    return reg.TDWBAL.fields.ENABLE.get(low) === 1;
  }

  private get headPointerAddress() {
    const { words } = this.owner;
    const low = words[reg.TDWBAL.word + this.at]! & reg.TDWBAL.fields.ADDRESS.mask;
    return iovaOf(low, words[reg.TDWBAH.word + this.at]!);
  }

  private writeHeadBack(head: number): void {
    const { engine, fn } = this.owner;
    for (let i = 0; i < 4; i++) engine.headPointer[i] = head >>> (i * 8);
    fn.dmaWrite(this.headPointerAddress, engine.headPointer, 0, 4);
  }
}
