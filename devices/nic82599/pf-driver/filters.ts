/**
 * Programs the switch's tables through the physical function's registers: receive addresses, VLAN filters, multicast
 * hashes. The tables are shared by all functions, so that their contents are worked out from what each one wants.
 */
import { RECEIVE_ADDRESSES, pfRegisters as reg, VLAN_FILTERS } from '../pf-registers.js';
import { change, offsetOf, poolBit, type RegisterPort } from './register-port.js';

export type MacAddress = readonly [number, number, number, number, number, number];

export const isMulticast = (mac: MacAddress): boolean => (mac[0] & 1) === 1;
export const isZero = (mac: MacAddress): boolean => mac.every((byte) => byte === 0);
export const sameMac = (a: MacAddress, b: MacAddress): boolean => a.every((byte, i) => byte === b[i]);
/** A unicast address that is not all zero. */
export const isStationAddress = (mac: MacAddress): boolean => !isMulticast(mac) && !isZero(mac);

export const macWords = (mac: MacAddress): readonly [low: number, high: number] => [
  (mac[0] | (mac[1] << 8) | (mac[2] << 16) | (mac[3] << 24)) >>> 0,
  mac[4] | (mac[5] << 8),
];

export const macFromWords = (low: number, high: number): MacAddress => [
  low & 0xff,
  (low >>> 8) & 0xff,
  (low >>> 16) & 0xff,
  low >>> 24,
  high & 0xff,
  (high >>> 8) & 0xff,
];

interface AddressEntry {
  readonly mac: MacAddress;
  readonly pool: number;
}

export class FilterTables {
  private readonly port: RegisterPort;
  private readonly addresses: (AddressEntry | undefined)[] = new Array(RECEIVE_ADDRESSES).fill(undefined);
  /** VLAN id to the pools that are its members. */
  private readonly vlans = new Map<number, Set<number>>();
  private readonly vlanSlots: (number | undefined)[] = new Array(VLAN_FILTERS).fill(undefined);
  /** What MTA holds. */
  private readonly multicast = new Uint32Array(reg.MTA.count);

  constructor(port: RegisterPort) {
    this.port = port;
  }

  /**
   * Adds an address for a pool; false if the table is full. A VF may have the same one for two reasons, as its own and as
   * an additional one: each has its entry, and goes with it.
   */
  addAddress(pool: number, mac: MacAddress): boolean {
    const index = this.addresses.indexOf(undefined);
    if (index < 0) return false;
    this.addresses[index] = { mac, pool };
    this.writeAddress(index);
    return true;
  }

  /** Removes one entry of an address of a pool, if there is one. */
  removeAddress(pool: number, mac: MacAddress): void {
    const index = this.addresses.findIndex((e) => e !== undefined && e.pool === pool && sameMac(e.mac, mac));
    if (index < 0) return;
    this.addresses[index] = undefined;
    this.writeAddress(index);
  }

  removeAllAddresses(pool: number): void {
    for (let i = 0; i < this.addresses.length; i++) {
      if (this.addresses[i]?.pool !== pool) continue;
      this.addresses[i] = undefined;
      this.writeAddress(i);
    }
  }

  /** Makes a pool member of a VLAN; false if there is no filter left. */
  addVlan(pool: number, vlan: number): boolean {
    let slot = this.vlanSlots.indexOf(vlan);
    if (slot < 0) slot = this.vlanSlots.indexOf(undefined);
    if (slot < 0) return false;
    this.vlanSlots[slot] = vlan;
    const members = this.vlans.get(vlan) ?? new Set<number>();
    members.add(pool);
    this.vlans.set(vlan, members);
    this.writeVlan(slot);
    return true;
  }

  removeVlan(pool: number, vlan: number): void {
    const members = this.vlans.get(vlan);
    const slot = this.vlanSlots.indexOf(vlan);
    if (members === undefined || slot < 0 || !members.delete(pool)) return;
    if (members.size === 0) {
      this.vlans.delete(vlan);
      this.setVlanBit(vlan, false);
      this.vlanSlots[slot] = undefined;
    }
    this.writeVlan(slot);
  }

  removeAllVlans(pool: number): void {
    for (const vlan of [...this.vlans.keys()]) this.removeVlan(pool, vlan);
  }

  /**
   * Sets the multicast table to the hashes given: those of all functions together. Each reset of a function comes here, and
   * changes little or nothing of 128 registers.
   */
  setMulticast(hashes: Iterable<number>): void {
    const table = new Uint32Array(reg.MTA.count);
    for (const hash of hashes) table[hash >>> 5]! |= 1 << (hash & 31);
    for (let i = 0; i < table.length; i++) {
      if (table[i] === this.multicast[i]) continue;
      this.multicast[i] = table[i]!;
      this.port.write(offsetOf(reg.MTA, i), table[i]!);
    }
  }

  /** Forgets everything, as a reset of the device does. */
  clear(): void {
    this.addresses.fill(undefined);
    this.vlans.clear();
    this.vlanSlots.fill(undefined);
    this.multicast.fill(0);
  }

  private writeAddress(index: number): void {
    const entry = this.addresses[index];
    const { port } = this;
    if (entry === undefined) {
      port.write(offsetOf(reg.RAH, index), 0);
      port.write(offsetOf(reg.RAL, index), 0);
      port.write(offsetOf(reg.MPSAR_LOW, index), 0);
      port.write(offsetOf(reg.MPSAR_HIGH, index), 0);
      return;
    }
    const [low, high] = macWords(entry.mac);
    port.write(offsetOf(reg.MPSAR_LOW, index), poolBit(entry.pool, 0));
    port.write(offsetOf(reg.MPSAR_HIGH, index), poolBit(entry.pool, 1));
    port.write(offsetOf(reg.RAL, index), low);
    port.write(offsetOf(reg.RAH, index), (high | reg.RAH.fields.VALID.mask) >>> 0);
  }

  private writeVlan(slot: number): void {
    const vlan = this.vlanSlots[slot];
    const members = vlan === undefined ? undefined : this.vlans.get(vlan);
    const { port } = this;
    let low = 0;
    let high = 0;
    for (const pool of members ?? []) {
      low |= poolBit(pool, 0);
      high |= poolBit(pool, 1);
    }
    port.write(offsetOf(reg.VLVFB, slot * 2), low >>> 0);
    port.write(offsetOf(reg.VLVFB, slot * 2 + 1), high >>> 0);
    port.write(offsetOf(reg.VLVF, slot), vlan === undefined ? 0 : (vlan | reg.VLVF.fields.VALID.mask) >>> 0);
    if (vlan !== undefined) this.setVlanBit(vlan, true);
  }

  private setVlanBit(vlan: number, on: boolean): void {
    const offset = offsetOf(reg.VFTA, vlan >>> 5);
    const bit = 1 << (vlan & 31);
    change(this.port, offset, bit, on ? bit : 0);
  }
}
