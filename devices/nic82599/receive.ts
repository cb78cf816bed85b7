/**
 * A receive queue: puts frames into the buffers that a driver has posted, and writes descriptors back. 82599 datasheet,
 * 7.1
 *
 * Hardware owns the descriptors from head up to, not including, tail. Everything in the ring's registers and
 * descriptors comes from a guest: indices beyond the ring stop the queue, addresses are the IOMMU's to judge, and what
 * does not fit is dropped whole before anything was written.
 */
import { DMA_READS, DMA_WRITES, iovaOf } from '../../base/dma.js';
import { FRAME_BYTES_MAX, PROTOCOL_TCP, PROTOCOL_UDP, VLAN_TAG_BYTES } from '../ethernet/frame.js';
import type { PciFunction } from '../pci/function.js';
import { Awaited, type MemoryWaits } from '../pci/memory-waits.js';
import {
  RX_DD,
  RX_EOP,
  RX_LOOPBACK,
  RX_UDP_VALID,
  RX_VLAN,
  rxLegacy,
  rxRead,
  rxWriteBack,
} from './descriptors.js';
import type { ReceivedFrame } from './received-frame.js';
import {
  DESCRIPTOR_BYTES,
  DESCTYPE_ADVANCED,
  DESCTYPE_HEADER_ALWAYS,
  DESCTYPE_HEADER_SPLIT,
  DESCTYPE_LEGACY,
  vfRegisters as reg,
} from './registers.js';

/** Descriptors are asked for in pieces of so many, as long as fewer are at hand. */
const AHEAD = 16;
/** The smallest buffer is 1 KiB, so that no frame needs more descriptors than this. */
const CHAIN_MAX = Math.ceil((FRAME_BYTES_MAX + VLAN_TAG_BYTES) / 1024) + 1;
const ADDRESSES_BYTES = 12;
/** What the header's length in a written-back descriptor can say. */
const HEADER_BYTES_MAX = 1023;
const STATUS_CHECKS = 0x70;

/** What became of a frame. */
export const DROPPED = 0;
export const DELIVERED = 1;
/** It can't be put into the ring yet, and nothing of it was. */
export const WAITS = 2;
export type Delivery = typeof DROPPED | typeof DELIVERED | typeof WAITS;

/** What a queue needs of the pool that it belongs to. */
export interface QueueOwner {
  /** Words of the pool's register file. */
  readonly words: Uint32Array;
  /** The function whose requester id the queue's requests carry. */
  readonly fn: PciFunction;
  readonly waits: MemoryWaits;
  /** The switch has the queue drop what there is no descriptor for, whatever its driver says. */
  dropsWithoutDescriptor(queue: number): boolean;
  /** The switch keeps VLAN tags from the guest. */
  hidesVlan(queue: number): boolean;
  receiveCause(queue: number): void;
  transmitCause(queue: number): void;
}

export class ReceiveQueue {
  /** Memory that the frame at the head of the packet buffer needs. */
  readonly awaited = new Awaited();
  /** Nobody waits for what later frames need. */
  private readonly ahead = new Awaited();
  private readonly owner: QueueOwner;
  private readonly index: number;
  /** Word offset of this queue's registers from those of queue 0. */
  private readonly at: number;
  private readonly descriptors = new Uint8Array(CHAIN_MAX * DESCRIPTOR_BYTES);
  private readonly dwords = new Uint32Array(this.descriptors.buffer);

  constructor(owner: QueueOwner, index: number) {
    this.owner = owner;
    this.index = index;
    this.at = (index * reg.RDBAL.stride) / 4;
  }

  /**
   * Delivers a frame. It is dropped if the queue is off, its registers are nonsense, or no descriptors are there and it is to drop
   * then (SRRCTL.DROP_EN, QDE); it waits for descriptors where it is not, and for memory. 7.1.3.1
   */
  deliver(received: ReceivedFrame): Delivery {
    const { words, fn, waits } = this.owner;
    const { at } = this;
    const control = words[reg.RXDCTL.word + at]!;
    if (reg.RXDCTL.fields.ENABLE.get(control) === 0 || !fn.mastering) return DROPPED;
    const count = words[reg.RDLEN.word + at]! / DESCRIPTOR_BYTES;
    const head = words[reg.RDH.word + at]!;
    const tail = words[reg.RDT.word + at]!;
    if (head >= count || tail >= count) return DROPPED;

    const split = words[reg.SRRCTL.word + at]!;
    const bufferBytes = reg.SRRCTL.fields.PACKET_KIB.get(split) * 1024;
    const kind = reg.SRRCTL.fields.DESCTYPE.get(split);
    if (bufferBytes === 0 || !isKnown(kind)) return DROPPED;
    const strip = received.parsed.vlanTag >= 0 && reg.RXDCTL.fields.STRIP_VLAN.get(control) === 1;
    const frameBytes = received.frame.length - (strip ? VLAN_TAG_BYTES : 0);
    const headerBytes = this.headerBytes(received, kind, split, strip, frameBytes);
    const needed = Math.max(1, Math.ceil((frameBytes - headerBytes) / bufferBytes));
    const owned = tail >= head ? tail - head : tail - head + count;
    if (needed > owned) {
      const drops = reg.SRRCTL.fields.DROP.get(split) === 1 || this.owner.dropsWithoutDescriptor(this.index);
      return drops || needed >= count ? DROPPED : WAITS;
    }
    if (waits.presence !== undefined && !this.ringIsThere(head, needed, owned, count)) return WAITS;
    if (!this.fetch(head, needed, count)) return DROPPED;
    if (waits.presence !== undefined && !this.buffersAreThere(frameBytes, headerBytes, needed, bufferBytes))
      return WAITS;

    if (headerBytes > 0) {
      this.writePiece(received, strip, this.headerAddress(), 0, headerBytes);
    }
    let done = headerBytes;
    for (let i = 0; i < needed; i++) {
      const piece = Math.min(bufferBytes, frameBytes - done);
      const low = this.dwords[i * 4 + rxRead.PACKET_LOW.word]!;
      const high = this.dwords[i * 4 + rxRead.PACKET_HIGH.word]!;
      this.writePiece(received, strip, iovaOf(low, high), done, piece);
      done += piece;
      const slot = (head + i) % count;
      if (kind === DESCTYPE_LEGACY) this.writeBackLegacy(received, slot, i, i === needed - 1, piece, strip);
      else this.writeBack(received, slot, i === needed - 1, piece, strip, i === 0 ? headerBytes : 0);
    }
    words[reg.RDH.word + at] = (head + needed) % count;
    this.owner.receiveCause(this.index);
    return DELIVERED;
  }

  /** Asks for the frame's descriptors, and for some behind them, so that frames do not wait one after the other. */
  private ringIsThere(head: number, needed: number, owned: number, count: number): boolean {
    this.awaited.clear();
    const there = this.slotsAreThere(head, needed, count, this.awaited);
    const ahead = Math.ceil((head + needed) / AHEAD + 1) * AHEAD - head;
    if (owned > needed) {
      this.slotsAreThere((head + needed) % count, Math.min(owned, ahead) - needed, count, this.ahead);
    }
    return there;
  }

  /** Descriptors are read, and written back. */
  private slotsAreThere(from: number, slots: number, count: number, awaited: Awaited): boolean {
    const { fn, waits } = this.owner;
    const access = DMA_READS | DMA_WRITES;
    const first = Math.min(slots, count - from);
    let there = waits.ask(fn, this.slotAddress(from), first * DESCRIPTOR_BYTES, access, awaited);
    if (first < slots) {
      const rest = (slots - first) * DESCRIPTOR_BYTES;
      there = waits.ask(fn, this.slotAddress(0), rest, access, awaited) && there;
    }
    return there;
  }

  /** All are asked for, also behind one that is missing: they are fetched together. */
  private buffersAreThere(
    frameBytes: number,
    headerBytes: number,
    needed: number,
    bufferBytes: number,
  ): boolean {
    const { fn, waits } = this.owner;
    const { awaited, dwords } = this;
    let there = headerBytes === 0 || waits.ask(fn, this.headerAddress(), headerBytes, DMA_WRITES, awaited);
    let left = frameBytes - headerBytes;
    for (let i = 0; i < needed; i++) {
      const piece = Math.min(bufferBytes, left);
      left -= piece;
      const low = dwords[i * 4 + rxRead.PACKET_LOW.word]!;
      const high = dwords[i * 4 + rxRead.PACKET_HIGH.word]!;
      if (piece > 0) there = waits.ask(fn, iovaOf(low, high), piece, DMA_WRITES, awaited) && there;
    }
    return there;
  }

  private headerAddress() {
    return iovaOf(this.dwords[rxRead.HEADER_LOW.word]! & ~1, this.dwords[rxRead.HEADER_HIGH.word]!);
  }

  /** Bytes that go to the header buffer: 0 unless the driver asked for a split and the header fits. */
  private headerBytes(
    received: ReceivedFrame,
    kind: number,
    split: number,
    strip: boolean,
    frameBytes: number,
  ): number {
    if (kind !== DESCTYPE_HEADER_SPLIT && kind !== DESCTYPE_HEADER_ALWAYS) return 0;
    const capacity = Math.min(reg.SRRCTL.fields.HEADER_64B.get(split) * 64, HEADER_BYTES_MAX);
    const { parsed } = received;
    const header = parsed.headerEnd - (strip ? VLAN_TAG_BYTES : 0);
    const wanted = this.owner.words[reg.PSRTYPE.word]!;
    const { TCP, UDP, IPV4, IPV6, L2 } = reg.PSRTYPE.fields;
    const matches =
      (parsed.l4Protocol === PROTOCOL_TCP && TCP.get(wanted) === 1) ||
      (parsed.l4Protocol === PROTOCOL_UDP && UDP.get(wanted) === 1) ||
      (parsed.ipVersion === 4 && IPV4.get(wanted) === 1) ||
      (parsed.ipVersion === 6 && IPV6.get(wanted) === 1) ||
      L2.get(wanted) === 1;
    if (matches && header <= capacity) return Math.min(header, frameBytes);
    return kind === DESCTYPE_HEADER_ALWAYS ? Math.min(capacity, frameBytes) : 0;
  }

  /** Reads the descriptors of a chain, in two parts where the ring wraps. */
  private fetch(head: number, needed: number, count: number): boolean {
    const { fn } = this.owner;
    const first = Math.min(needed, count - head);
    if (!fn.dmaRead(this.slotAddress(head), this.descriptors, 0, first * DESCRIPTOR_BYTES)) return false;
    if (first === needed) return true;
    const done = first * DESCRIPTOR_BYTES;
    return fn.dmaRead(this.slotAddress(0), this.descriptors, done, (needed - first) * DESCRIPTOR_BYTES);
  }

  private slotAddress(slot: number) {
    const { words } = this.owner;
    const base = words[reg.RDBAL.word + this.at]! + slot * DESCRIPTOR_BYTES;
    const carry = base >= 2 ** 32 ? 1 : 0;
    return iovaOf(base >>> 0, words[reg.RDBAH.word + this.at]! + carry);
  }

  /** Writes bytes of the frame as the driver will see it, which without its tag is in two parts. */
  private writePiece(
    received: ReceivedFrame,
    strip: boolean,
    address: ReturnType<typeof iovaOf>,
    from: number,
    length: number,
  ): void {
    const { fn } = this.owner;
    const { bytes } = received.frame;
    if (!strip || from >= ADDRESSES_BYTES) {
      fn.dmaWrite(address, bytes, from + (strip ? VLAN_TAG_BYTES : 0), length);
      return;
    }
    const before = Math.min(length, ADDRESSES_BYTES - from);
    fn.dmaWrite(address, bytes, from, before);
    if (before === length) return;
    const rest = (address + before) as ReturnType<typeof iovaOf>;
    fn.dmaWrite(rest, bytes, ADDRESSES_BYTES + VLAN_TAG_BYTES, length - before);
  }

  private writeBack(
    received: ReceivedFrame,
    slot: number,
    last: boolean,
    length: number,
    strip: boolean,
    headerBytes: number,
  ): void {
    const { fn } = this.owner;
    const address = this.slotAddress(slot);
    const header =
      headerBytes > 0 ? rxWriteBack.SPLIT_HEADER.mask | (headerBytes << rxWriteBack.HEADER_BYTES.shift) : 0;
    const kinds = received.rssKind | received.packetType | header;
    if (!last) {
      fn.dmaWriteDescriptor(address, kinds >>> 0, 0, RX_DD, length);
      return;
    }
    const tag = strip && !this.owner.hidesVlan(this.index) ? received.parsed.vlanTag : -1;
    const udp = received.parsed.l4Protocol === PROTOCOL_UDP ? RX_UDP_VALID : 0;
    const status =
      RX_DD |
      RX_EOP |
      received.checks |
      (received.checks === 0 ? 0 : udp) |
      (tag >= 0 ? RX_VLAN : 0) |
      (received.loopback ? RX_LOOPBACK : 0);
    const lengthAndTag = length | (tag >= 0 ? tag << 16 : 0);
    fn.dmaWriteDescriptor(address, kinds >>> 0, received.rssHash, status >>> 0, lengthAndTag >>> 0);
  }

  /** The legacy format keeps the buffer address and has eight bits each of status and error. */
  private writeBackLegacy(
    received: ReceivedFrame,
    slot: number,
    chained: number,
    last: boolean,
    length: number,
    strip: boolean,
  ): void {
    const { dwords } = this;
    const tag = last && strip && !this.owner.hidesVlan(this.index) ? received.parsed.vlanTag : -1;
    const status = RX_DD | (last ? RX_EOP | (received.checks & STATUS_CHECKS) : 0) | (tag >= 0 ? RX_VLAN : 0);
    const errors = last ? received.checks >>> 24 : 0;
    const d3 = status | (errors << rxLegacy.ERROR.shift) | (tag >= 0 ? tag << rxLegacy.VLAN.shift : 0);
    this.owner.fn.dmaWriteDescriptor(
      this.slotAddress(slot),
      dwords[chained * 4]!,
      dwords[chained * 4 + 1]!,
      length,
      d3 >>> 0,
    );
  }
}

const isKnown = (kind: number): boolean =>
  kind === DESCTYPE_ADVANCED ||
  kind === DESCTYPE_LEGACY ||
  kind === DESCTYPE_HEADER_SPLIT ||
  kind === DESCTYPE_HEADER_ALWAYS;
