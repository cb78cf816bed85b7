/**
 * The data path between pools and wire: what comes in is filtered, examined once and copied to the pools that want it;
 * what a pool sends is checked, tagged, and goes to other pools, to the wire, or both. 82599 datasheet, 7.10.3
 */
import type { RegisterFile } from '../../base/registers.js';
import {
  ETHERTYPE_VLAN,
  FCS_BYTES,
  FRAME_BYTES_MAX,
  FrameBuffer,
  type FrameView,
  VLAN_TAG_BYTES,
} from '../ethernet/frame.js';
import { PacketBuffer } from './packet-buffer.js';
import { POOLS, pfRegisters as reg, VLAN_INSERT_DEFAULT, VLAN_INSERT_NEVER } from './pf-registers.js';
import type { Pool } from './pool.js';
import type { Pools } from './pools.js';
import { DROPPED, WAITS } from './receive.js';
import { ReceivedFrame, RssConfig } from './received-frame.js';
import { isBroadcast, PoolSet, SwitchTables } from './switch.js';

/** The wire, as the NIC sees it. */
export interface EthernetPort {
  /** Sends a frame of `pool`. It is the NIC's memory, valid until this returns. */
  send(frame: FrameView, pool: number): void;
  /** Whether it takes frames now; transmit queues stand still while it does not. Always, if absent. */
  ready?(): boolean;
}

const ETHER_HEADER_BYTES = 14;

export class Forwarding {
  readonly tables: SwitchTables;
  readonly rss: RssConfig;
  private readonly words: Uint32Array;
  private readonly pools: Pools;
  private readonly wire: EthernetPort;
  private readonly fromWire = new ReceivedFrame(new FrameBuffer());
  private readonly fromPool: ReceivedFrame;
  /** Frames that could not be put into their rings yet. */
  readonly packetBuffer = new PacketBuffer();
  /** Its first frame was tried, and waits. */
  private stuck = false;
  private readonly fromBuffer = new ReceivedFrame(new FrameBuffer());
  private readonly bufferPools = new PoolSet();
  /** Pools whose ring can't take the frame that is being delivered; empty between two frames. */
  private readonly waiting = new PoolSet();
  private readonly selected = new PoolSet();
  private readonly selectedLocal = new PoolSet();

  /** `transmitFrame` is the buffer in which pools build what they send. */
  constructor(
    registers: RegisterFile<unknown>,
    pools: Pools,
    wire: EthernetPort,
    transmitFrame: FrameBuffer,
  ) {
    this.words = registers.words;
    this.tables = new SwitchTables(registers);
    this.rss = new RssConfig(registers);
    this.pools = pools;
    this.wire = wire;
    this.fromPool = new ReceivedFrame(transmitFrame);
  }

  /** Whether transmit queues may work. */
  get ready(): boolean {
    return this.wire.ready === undefined || this.wire.ready();
  }

  get linkUp(): boolean {
    return reg.LINKS.fields.UP.get(this.words[reg.LINKS.word]!) === 1;
  }

  /** A frame of `length` bytes at `bytes[at]` arrived on the wire. */
  receive(bytes: Uint8Array, at: number, length: number): void {
    const { words, fromWire, selected } = this;
    if (reg.RXCTRL.fields.RXEN.get(words[reg.RXCTRL.word]!) === 0 || !this.linkUp) return;
    if (length < ETHER_HEADER_BYTES || length > FRAME_BYTES_MAX) return;
    fromWire.frame.load(bytes, at, length);
    fromWire.frame.pad();
    fromWire.examine(this.rss, false);
    this.count(reg.TPR.word);
    const tag = fromWire.parsed.vlanTag;
    const limit = reg.MAXFRS.fields.BYTES.get(words[reg.MAXFRS.word]!) + (tag >= 0 ? VLAN_TAG_BYTES : 0);
    if (fromWire.frame.length + FCS_BYTES > limit) {
      this.count(reg.OVERSIZE.word);
      return;
    }
    this.countDirection(fromWire.frame, reg.GPRC.word, reg.MPRC.word, reg.BPRC.word, reg.GORC_LOW.word);
    if (!this.tables.admitsVlan(tag)) return;
    if (reg.VT_CTL.fields.ENABLE.get(words[reg.VT_CTL.word]!) === 0) {
      selected.clear();
      selected.add(0);
    } else {
      this.tables.select(fromWire.frame, tag, true, selected);
    }
    this.deliver(fromWire, selected);
  }

  /** A pool sends the frame in the transmit buffer; `tag` is the one its descriptor wants inserted, or -1. */
  emit(pool: Pool, tag: number): void {
    const { words, fromPool } = this;
    const { frame } = fromPool;
    const inserted = this.insertTag(pool.index, tag);
    frame.pad();
    const tagged = inserted >= 0 || frame.u16(12) === ETHERTYPE_VLAN;
    const effective = tagged ? frame.u16(14) : -1;
    if (!this.tables.maySend(pool.index, frame, effective)) {
      this.count(reg.SPOOF_COUNT.word);
      return;
    }
    pool.countSent(frame.length);
    const switched = reg.TX_SWITCH.fields.LOOPBACK.get(words[reg.TX_SWITCH.word]!) === 1;
    const toWire = !switched || this.deliverLocally(pool.index, effective);
    if (!toWire || !this.linkUp) return;
    this.count(reg.TPT.word);
    this.countDirection(frame, reg.GPTC.word, reg.MPTC.word, reg.BPTC.word, reg.GOTC_LOW.word);
    this.wire.send(frame, pool.index);
  }

  /** Copies to the pools of this NIC that the frame is for. Returns whether it goes to the wire as well. */
  private deliverLocally(sender: number, tag: number): boolean {
    const { words, fromPool, selectedLocal } = this;
    const { frame } = fromPool;
    const exact = this.tables.select(frame, tag, false, selectedLocal);
    const unicast = (frame.bytes[0]! & 1) === 0;
    const toWire = !(unicast && exact && !selectedLocal.isEmpty);
    const toItself = (words[reg.VMTXSW.word + (sender >>> 5)]! & (1 << (sender & 31))) !== 0;
    if (!toItself) selectedLocal.delete(sender);
    if (!selectedLocal.isEmpty) {
      fromPool.examine(this.rss, true);
      this.deliver(fromPool, selectedLocal);
    }
    return toWire;
  }

  /** Whether there is something to do for `work`. */
  get hasWork(): boolean {
    return this.packetBuffer.count > 0 && !this.stuck;
  }

  /** What the first frame of the packet buffer waits for may be there. Returns whether a frame waits. */
  retry(): boolean {
    this.stuck = false;
    return this.packetBuffer.count > 0;
  }

  /** Puts frames of the packet buffer into their rings, until the next one has to wait. Returns how many, at most `budget`. */
  work(budget: number): number {
    const { packetBuffer, fromBuffer, bufferPools, waiting } = this;
    let done = 0;
    for (; done < budget && packetBuffer.count > 0; done++) {
      const loopback = packetBuffer.peek(fromBuffer.frame, bufferPools);
      fromBuffer.examine(this.rss, loopback);
      this.deliverNow(fromBuffer, bufferPools);
      this.stuck = !waiting.isEmpty;
      if (this.stuck) {
        packetBuffer.leave(waiting);
        waiting.clear();
        break;
      }
      packetBuffer.shift();
    }
    return done;
  }

  /** `pool` gets nothing of what waits. */
  forget(pool: Pool): void {
    if (this.packetBuffer.count === 0) return;
    pool.drops.stopped += this.packetBuffer.forget(pool.index);
    this.retry();
  }

  private deliver(received: ReceivedFrame, pools: PoolSet): void {
    const { packetBuffer, waiting } = this;
    // Nothing overtakes what waits.
    if (packetBuffer.count > 0) {
      this.hold(received, pools);
      return;
    }
    this.deliverNow(received, pools);
    if (waiting.isEmpty) return;
    this.hold(received, waiting);
    this.stuck = true;
    waiting.clear();
  }

  private hold(received: ReceivedFrame, pools: PoolSet): void {
    if (pools.isEmpty || this.packetBuffer.push(received.frame, received.loopback, pools)) return;
    this.count(reg.MISSED_PACKETS.word);
    for (let pool = 0; pool < POOLS; pool++) if (pools.has(pool)) this.pools.at(pool).drops.noDescriptor++;
  }

  private deliverNow(received: ReceivedFrame, pools: PoolSet): void {
    // Lowest set bit first; the set is taken apart as it is walked.
    for (let low = pools.low; low !== 0; low &= low - 1)
      this.deliverTo(31 - Math.clz32(low & -low), received);
    for (let high = pools.high; high !== 0; high &= high - 1) {
      this.deliverTo(63 - Math.clz32(high & -high), received);
    }
  }

  private deliverTo(pool: number, received: ReceivedFrame): void {
    const outcome = this.pools.at(pool).deliver(received);
    if (outcome === DROPPED) this.count(reg.QPRDC.word + dropCounterStep(pool));
    else if (outcome === WAITS) this.waiting.add(pool);
  }

  /** Inserts the tag that descriptor and VMVIR ask for. Returns it, or -1. */
  private insertTag(pool: number, wanted: number): number {
    const control = this.words[reg.VMVIR.word + pool]!;
    const action = reg.VMVIR.fields.ACTION.get(control);
    let tag = wanted;
    if (action === VLAN_INSERT_DEFAULT) tag = reg.VMVIR.fields.TAG.get(control);
    else if (action === VLAN_INSERT_NEVER) tag = -1;
    if (tag >= 0) this.fromPool.frame.insertVlan(tag);
    return tag;
  }

  private countDirection(
    frame: FrameBuffer,
    packets: number,
    multicast: number,
    broadcast: number,
    octets: number,
  ): void {
    this.count(packets);
    if ((frame.bytes[0]! & 1) === 1) this.count(isBroadcast(frame) ? broadcast : multicast);
    const sum = this.words[octets]! + frame.length + FCS_BYTES;
    this.words[octets] = sum % 2 ** 32;
    if (sum >= 2 ** 32) this.words[octets + 1]!++;
  }

  private count(word: number): void {
    this.words[word]!++;
  }
}

/** Sixteen drop counters for 64 pools. */
const dropCounterStep = (pool: number): number => ((pool % reg.QPRDC.count) * reg.QPRDC.stride) / 4;
