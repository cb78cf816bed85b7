/**
 * The internal switch: which pools a frame goes to, and whether it leaves on the wire. 82599 datasheet, 7.10.3
 *
 * The physical function's registers are the truth. What a frame needs of them is kept in tables for one lookup each,
 * made anew when a register that feeds them was written. A set of pools is two 32-bit words.
 */
import type { RegisterFile } from '../../base/registers.js';
import type { FrameBuffer } from '../ethernet/frame.js';
import { VLAN_ID_MASK } from '../ethernet/frame.js';
import { POOLS, RECEIVE_ADDRESSES, pfRegisters as reg, VLAN_FILTERS } from './pf-registers.js';

const HASH_SLOTS = 512;
const EMPTY = -1;
const VLAN_COUNT = 4096;

export class PoolSet {
  low = 0;
  high = 0;

  clear(): void {
    this.low = 0;
    this.high = 0;
  }

  add(pool: number): void {
    if (pool < 32) this.low |= 1 << pool;
    else this.high |= 1 << (pool - 32);
  }

  delete(pool: number): void {
    if (pool < 32) this.low &= ~(1 << pool);
    else this.high &= ~(1 << (pool - 32));
  }

  has(pool: number): boolean {
    return ((pool < 32 ? this.low >>> pool : this.high >>> (pool - 32)) & 1) !== 0;
  }

  get isEmpty(): boolean {
    return (this.low | this.high) === 0;
  }
}

export class SwitchTables {
  private readonly words: Uint32Array;
  private stale = true;

  /** Receive addresses by hash: an entry that has the address, and the pools of all entries that have it. */
  private readonly slots = new Int16Array(HASH_SLOTS).fill(EMPTY);
  private readonly slotPoolsLow = new Int32Array(HASH_SLOTS);
  private readonly slotPoolsHigh = new Int32Array(HASH_SLOTS);
  /** VLAN id to its filter, or EMPTY. */
  private readonly vlanFilter = new Int8Array(VLAN_COUNT).fill(EMPTY);
  /** Pools with each of the receive modes of VMOLR. */
  private readonly broadcast = new PoolSet();
  private readonly multicastAll = new PoolSet();
  private readonly multicastHashed = new PoolSet();
  private readonly unicastHashed = new PoolSet();
  private readonly unicastAll = new PoolSet();
  private readonly vlanAll = new PoolSet();
  private readonly untagged = new PoolSet();

  constructor(registers: RegisterFile<unknown>) {
    this.words = registers.words;
  }

  /** A register that feeds the tables was written. */
  invalidate(): void {
    this.stale = true;
  }

  /**
   * Pools that receive `frame` with 802.1Q tag `tag` (or -1), into `pools`. With `fallBack` a unicast frame that no
   * address matches goes to the default pool, as frames from the wire do. Returns whether an exact address matched.
   */
  select(frame: FrameBuffer, tag: number, fallBack: boolean, pools: PoolSet): boolean {
    if (this.stale) this.rebuild();
    pools.clear();
    const { words } = this;
    const exact = this.findAddress(frame, 0);
    if (exact !== EMPTY) {
      pools.low |= this.slotPoolsLow[exact]!;
      pools.high |= this.slotPoolsHigh[exact]!;
    }
    if ((frame.bytes[0]! & 1) === 0) {
      if (exact === EMPTY && this.hashed(reg.UTA.word, frame)) merge(pools, this.unicastHashed);
      merge(pools, this.unicastAll);
      if (pools.isEmpty && exact === EMPTY && fallBack) this.addDefault(pools);
    } else if (isBroadcast(frame)) {
      merge(pools, this.broadcast);
    } else {
      merge(pools, this.multicastAll);
      const enabled = reg.MCSTCTRL.fields.ENABLE.get(words[reg.MCSTCTRL.word]!) === 1;
      if (enabled && this.hashed(reg.MTA.word, frame)) merge(pools, this.multicastHashed);
    }
    this.filterVlan(tag, pools);
    return exact !== EMPTY;
  }

  /** VLAN filter of the whole port: true if a frame with this tag may come in from the wire. */
  admitsVlan(tag: number): boolean {
    if (tag < 0 || reg.VLNCTRL.fields.VFE.get(this.words[reg.VLNCTRL.word]!) === 0) return true;
    const vlan = tag & VLAN_ID_MASK;
    return (this.words[reg.VFTA.word + (vlan >>> 5)]! & (1 << (vlan & 31))) !== 0;
  }

  /** Anti-spoofing: true if `pool` may send `frame` with its source address and this tag. */
  maySend(pool: number, frame: FrameBuffer, tag: number): boolean {
    const control = this.words[reg.VFSPOOF.word + (pool >>> 3)]!;
    const bit = 1 << (pool & 7);
    const { MAC, VLAN } = reg.VFSPOOF.fields;
    if ((MAC.get(control) & bit) !== 0) {
      if (this.stale) this.rebuild();
      const slot = this.findAddress(frame, 6);
      if (slot === EMPTY) return false;
      const pools = pool < 32 ? this.slotPoolsLow[slot]! : this.slotPoolsHigh[slot]!;
      if ((pools & (1 << (pool & 31))) === 0) return false;
    }
    if ((VLAN.get(control) & bit) !== 0 && tag >= 0) {
      if (this.stale) this.rebuild();
      const filter = this.vlanFilter[tag & VLAN_ID_MASK]!;
      if (filter === EMPTY) return false;
      const pools = this.words[reg.VLVFB.word + filter * 2 + (pool >>> 5)]!;
      if ((pools & (1 << (pool & 31))) === 0) return false;
    }
    return true;
  }

  private addDefault(pools: PoolSet): void {
    const control = this.words[reg.VT_CTL.word]!;
    if (reg.VT_CTL.fields.NO_DEFAULT.get(control) === 0)
      pools.add(reg.VT_CTL.fields.DEFAULT_POOL.get(control));
  }

  private filterVlan(tag: number, pools: PoolSet): void {
    if (tag < 0) {
      pools.low &= this.untagged.low;
      pools.high &= this.untagged.high;
      return;
    }
    const filter = this.vlanFilter[tag & VLAN_ID_MASK]!;
    const low = filter === EMPTY ? 0 : this.words[reg.VLVFB.word + filter * 2]!;
    const high = filter === EMPTY ? 0 : this.words[reg.VLVFB.word + filter * 2 + 1]!;
    pools.low &= low | this.vlanAll.low;
    pools.high &= high | this.vlanAll.high;
  }

  /** Twelve bits of the destination address select one bit of a table of 4096. MCSTCTRL.MO says which twelve. */
  private hashed(table: number, frame: FrameBuffer): boolean {
    const fifth = frame.bytes[4]!;
    const sixth = frame.bytes[5]!;
    const address = (sixth << 8) | fifth;
    const mode = reg.MCSTCTRL.fields.OFFSET.get(this.words[reg.MCSTCTRL.word]!);
    const shift = mode === 0 ? 4 : mode === 1 ? 3 : mode === 2 ? 2 : 0;
    const vector = (address >>> shift) & 0xfff;
    return (this.words[table + (vector >>> 5)]! & (1 << (vector & 31))) !== 0;
  }

  /** The slot of the address at `at`, or EMPTY. */
  private findAddress(frame: FrameBuffer, at: number): number {
    const { bytes } = frame;
    const low = (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
    const high = bytes[at + 4]! | (bytes[at + 5]! << 8);
    for (let slot = slotOf(low, high); ; slot = (slot + 1) % HASH_SLOTS) {
      const entry = this.slots[slot]!;
      if (entry === EMPTY) return EMPTY;
      if (
        this.words[reg.RAL.word + entry * 2] === low &&
        reg.RAH.fields.ADDRESS.get(this.words[reg.RAH.word + entry * 2]!) === high
      ) {
        return slot;
      }
    }
  }

  private addAddress(entry: number): void {
    const { words, slots } = this;
    const low = words[reg.RAL.word + entry * 2]!;
    const high = reg.RAH.fields.ADDRESS.get(words[reg.RAH.word + entry * 2]!);
    let slot = slotOf(low, high);
    for (; slots[slot] !== EMPTY; slot = (slot + 1) % HASH_SLOTS) {
      const other = slots[slot]!;
      const otherHigh = reg.RAH.fields.ADDRESS.get(words[reg.RAH.word + other * 2]!);
      if (words[reg.RAL.word + other * 2] === low && otherHigh === high) break;
    }
    if (slots[slot] === EMPTY) {
      slots[slot] = entry;
      this.slotPoolsLow[slot] = 0;
      this.slotPoolsHigh[slot] = 0;
    }
    this.slotPoolsLow[slot]! |= words[reg.MPSAR_LOW.word + entry * 2]!;
    this.slotPoolsHigh[slot]! |= words[reg.MPSAR_HIGH.word + entry * 2]!;
  }

  private rebuild(): void {
    const { words } = this;
    this.stale = false;
    this.slots.fill(EMPTY);
    for (let entry = 0; entry < RECEIVE_ADDRESSES; entry++) {
      if (reg.RAH.fields.VALID.get(words[reg.RAH.word + entry * 2]!) === 1) this.addAddress(entry);
    }
    this.vlanFilter.fill(EMPTY);
    for (let filter = VLAN_FILTERS - 1; filter >= 0; filter--) {
      const entry = words[reg.VLVF.word + filter]!;
      if (reg.VLVF.fields.VALID.get(entry) === 1) this.vlanFilter[reg.VLVF.fields.VLAN.get(entry)] = filter;
    }
    const { UPE, VPE, AUPE, ROMPE, ROPE, BAM, MPE } = reg.VMOLR.fields;
    const sets = [
      [this.broadcast, BAM],
      [this.multicastAll, MPE],
      [this.multicastHashed, ROMPE],
      [this.unicastHashed, ROPE],
      [this.unicastAll, UPE],
      [this.vlanAll, VPE],
      [this.untagged, AUPE],
    ] as const;
    for (const [set, field] of sets) {
      set.clear();
      for (let pool = 0; pool < POOLS; pool++) {
        if (field.get(words[reg.VMOLR.word + pool]!) === 1) set.add(pool);
      }
    }
  }
}

const merge = (into: PoolSet, from: PoolSet): void => {
  into.low |= from.low;
  into.high |= from.high;
};

const slotOf = (low: number, high: number): number =>
  (Math.imul(low ^ Math.imul(high, 0x9e3779b1), 0x85ebca6b) >>> 16) % HASH_SLOTS;

export function isBroadcast(frame: FrameBuffer): boolean {
  for (let i = 0; i < 6; i++) if (frame.bytes[i] !== 0xff) return false;
  return true;
}
