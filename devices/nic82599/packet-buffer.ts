/**
 * The receive packet buffer: frames that can't go into their rings yet, in their order, with the pools that they are still for. As
 * in the part it is one for all pools, so what waits at its head keeps all behind it; and what finds no room is lost. 82599
 * datasheet, 7.1.2, 7.1.3.1
 */
import { copyBytes } from '../../base/copy.js';
import { KIB } from '../../base/units.js';
import { FRAME_BYTES_MAX, type FrameBuffer, VLAN_TAG_BYTES } from '../ethernet/frame.js';
import type { PoolSet } from './switch.js';

/** RXPBSIZE of the first of its parts, as a reset leaves it: all of it. */
export const PACKET_BUFFER_BYTES = 512 * KIB;
/**
 * RXMEMWRAP: of each of eight packet buffers how often its memory went round, modulo 8, and that it is empty. There is memory in the
 * first alone.
 */
const WRAPS_MASK = 7;
const EMPTY = 8;
const OTHERS_EMPTY = 0x8888_8880;
/** Frames of the shortest kind would be a few more. */
export const PACKET_BUFFER_FRAMES = 8192;

interface Store {
  /** A frame lies in one piece: one that begins before the end may reach beyond it. */
  readonly bytes: Uint8Array;
  readonly at: Int32Array;
  readonly length: Int32Array;
  readonly loopback: Uint8Array;
  readonly low: Int32Array;
  readonly high: Int32Array;
}

export class PacketBuffer {
  /** Made when a frame first waits: most NICs never need it. */
  private store: Store | undefined;
  private first = 0;
  private frames = 0;
  private bytesUsed = 0;
  private next = 0;
  private wraps = 0;

  /** Frames that wait. */
  get count(): number {
    return this.frames;
  }

  get bytes(): number {
    return this.bytesUsed;
  }

  /** What RXMEMWRAP reads as. */
  get wrapState(): number {
    return OTHERS_EMPTY + (this.wraps & WRAPS_MASK) + (this.frames === 0 ? EMPTY : 0);
  }

  /** Puts a frame behind all others; false if there is no room for it. */
  push({ bytes, length }: FrameBuffer, loopback: boolean, { low, high }: PoolSet): boolean {
    if (this.frames === PACKET_BUFFER_FRAMES || this.bytesUsed + length > PACKET_BUFFER_BYTES) return false;
    this.store ??= newStore();
    const { store } = this;
    const slot = (this.first + this.frames) % PACKET_BUFFER_FRAMES;
    copyBytes(store.bytes, this.next, bytes, 0, length);
    store.at[slot] = this.next;
    store.length[slot] = length;
    store.loopback[slot] = loopback ? 1 : 0;
    store.low[slot] = low;
    store.high[slot] = high;
    this.next += length;
    if (this.next >= PACKET_BUFFER_BYTES) {
      this.next = 0;
      this.wraps++;
    }
    this.frames++;
    this.bytesUsed += length;
    return true;
  }

  /** Copies the first frame, which there must be, and its pools. Returns whether it came from a pool of this NIC. */
  peek(frame: FrameBuffer, pools: PoolSet): boolean {
    const { first } = this;
    const store = this.store!;
    frame.load(store.bytes, store.at[first]!, store.length[first]!);
    pools.low = store.low[first]!;
    pools.high = store.high[first]!;
    return store.loopback[first] === 1;
  }

  /** The first frame is for these pools only, all others have it. */
  leave({ low, high }: PoolSet): void {
    this.store!.low[this.first] = low;
    this.store!.high[this.first] = high;
  }

  shift(): void {
    this.bytesUsed -= this.store!.length[this.first]!;
    this.first = (this.first + 1) % PACKET_BUFFER_FRAMES;
    this.frames--;
  }

  /** No frame is for `pool` any more. Returns how many were. */
  forget(pool: number): number {
    const { store } = this;
    if (store === undefined) return 0;
    const words = pool < 32 ? store.low : store.high;
    const bit = 1 << (pool & 31);
    let forgotten = 0;
    for (let i = 0; i < this.frames; i++) {
      const slot = (this.first + i) % PACKET_BUFFER_FRAMES;
      if ((words[slot]! & bit) === 0) continue;
      words[slot]! &= ~bit;
      forgotten++;
    }
    return forgotten;
  }

  clear(): void {
    this.frames = 0;
    this.bytesUsed = 0;
    this.next = 0;
    this.wraps = 0;
  }
}

const newStore = (): Store => ({
  bytes: new Uint8Array(PACKET_BUFFER_BYTES + FRAME_BYTES_MAX + VLAN_TAG_BYTES),
  at: new Int32Array(PACKET_BUFFER_FRAMES),
  length: new Int32Array(PACKET_BUFFER_FRAMES),
  loopback: new Uint8Array(PACKET_BUFFER_FRAMES),
  low: new Int32Array(PACKET_BUFFER_FRAMES),
  high: new Int32Array(PACKET_BUFFER_FRAMES),
});
