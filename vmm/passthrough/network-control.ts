/** What a monitor asks of the guest's NICs, wherever they come from: their links, what they let in, that they announce themselves. */
import { formatMac } from '../../devices/ethernet/addresses.js';
import type { AnnounceRhythm } from '../../devices/ethernet/announcer.js';
import type { Nic82599 } from '../../devices/nic82599/device.js';
import type { PfDriver } from '../../devices/nic82599/pf-driver/driver.js';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import { pfRegisters as reg } from '../../devices/nic82599/pf-registers.js';
import type { DeviceEvent } from './events.js';
import type { VirtioNic } from './virtio-nic.js';

/** Which frames of the network a NIC lets in; of each kind those that are named, all, or none. */
export interface RxFilter {
  readonly name: string;
  readonly promiscuous: boolean;
  readonly broadcast: boolean;
  readonly unicast: 'normal' | 'all' | 'none';
  readonly multicast: 'normal' | 'all' | 'none';
  readonly vlan: 'normal' | 'all' | 'none';
  /** Its station address; undefined until it has one. */
  readonly mac: string | undefined;
  /** Addresses beside that. */
  readonly addresses: readonly string[];
  /** Twelve bits of each group address, which is all that the part is told. */
  readonly groupHashes: readonly number[];
  readonly vlans: readonly number[];
}

/** A virtual function as a station: `GuestVf`, or one that is served to another VMM. */
export interface FunctionStation {
  /** Its number with the physical function. */
  readonly index: number;
  readonly assigned: { readonly name: string };
  announce(rhythm: AnnounceRhythm): void;
}

interface NetworkParts {
  readonly nic: Nic82599;
  readonly driver: PfDriver;
  readonly functions: readonly FunctionStation[];
  readonly virtio: readonly VirtioNic[];
  event(event: DeviceEvent): void;
}

export class NetworkControl {
  readonly #parts: NetworkParts;
  /** Of whose filters a change was told, and which nobody has asked for since. */
  readonly #told = new Set<string>();

  constructor(parts: NetworkParts) {
    this.#parts = parts;
  }

  /** The cable was plugged in or out: for all that are at it. */
  setCable(up: boolean): void {
    const { nic, functions, virtio } = this.#parts;
    nic.setLink(up);
    for (const own of virtio) own.setLink({ cable: up });
    for (const fn of functions) this.#tell(fn.assigned.name, this.linkOf(fn.index));
    for (const own of virtio) this.#tell(own.name, own.net.link);
  }

  /**
   * The administrator takes the link of one NIC away, or gives it back: of a function by its physical function's driver, which
   * has the guest's start over. False if there is none of that name.
   */
  setLink(name: string, up: boolean): boolean {
    const { driver, functions, virtio } = this.#parts;
    const own = virtio.find((one) => one.name === name);
    const fn = functions.find(({ assigned }) => assigned.name === name);
    own?.setLink({ enabled: up });
    if (fn !== undefined) driver.setPolicy(fn.index, { linkEnabled: up });
    if (own !== undefined) this.#tell(name, own.net.link);
    if (fn !== undefined) this.#tell(name, this.linkOf(fn.index));
    return own !== undefined || fn !== undefined;
  }

  /** Whether function `index` has a link that it may use. */
  linkOf(index: number): boolean {
    const { nic, driver } = this.#parts;
    return nic.forwarding.linkUp && driver.info(index).policy.linkEnabled;
  }

  /** Of all NICs, functions first, or of those of that name. Their next change is told again. */
  rxFilters(name?: string): readonly RxFilter[] {
    const { functions, virtio } = this.#parts;
    const all = [...functions.map((fn) => this.#filterOf(fn)), ...virtio.map(virtioFilter)];
    const asked = name === undefined ? all : all.filter((one) => one.name === name);
    for (const one of asked) this.#told.delete(one.name);
    return asked;
  }

  /** Which frames function `index` lets in has changed: told once until somebody asks, however often a guest does it. */
  filterChanged(index: number): void {
    const fn = this.#parts.functions.find((one) => one.index === index);
    if (fn === undefined || this.#told.has(fn.assigned.name)) return;
    this.#told.add(fn.assigned.name);
    this.#parts.event({ kind: 'rx-filter', device: fn.assigned.name });
  }

  /** Those NICs tell the network where they are, all of them if `names` is absent; a name that there is not is passed over. */
  announce(rhythm: AnnounceRhythm, names?: readonly string[]): void {
    const { functions, virtio } = this.#parts;
    const meant = (name: string): boolean => names?.includes(name) ?? true;
    for (const fn of functions) if (meant(fn.assigned.name)) fn.announce(rhythm);
    for (const own of virtio) if (meant(own.name)) own.announce(rhythm);
  }

  /** The pool's receive mode as its register has it, and what the physical function's driver has put into the tables for it. */
  #filterOf({ index, assigned }: FunctionStation): RxFilter {
    const { nic, driver } = this.#parts;
    const { VMOLR } = reg;
    const { UPE, MPE, ROMPE, BAM, VPE } = VMOLR.fields;
    const mode = nic.pf.read(VMOLR.offset + index * VMOLR.stride, 4);
    const { mac, macvlans, hashes, vlans } = driver.info(index);
    return {
      name: assigned.name,
      promiscuous: UPE.get(mode) === 1,
      broadcast: BAM.get(mode) === 1,
      unicast: UPE.get(mode) === 1 ? 'all' : 'normal',
      multicast: MPE.get(mode) === 1 ? 'all' : ROMPE.get(mode) === 1 ? 'normal' : 'none',
      vlan: VPE.get(mode) === 1 ? 'all' : 'normal',
      mac: mac && textOf(mac),
      addresses: macvlans.map(textOf),
      groupHashes: [...hashes].sort((a, b) => a - b),
      vlans: [...vlans].sort((a, b) => a - b),
    };
  }

  #tell(device: string, up: boolean): void {
    this.#parts.event({ kind: 'link', device, up });
  }
}

const textOf = (mac: MacAddress): string => formatMac(Uint8Array.from(mac), 0);

/** It has no filters that its driver could set: it hears what is for its address, and for groups. */
const virtioFilter = ({ name, mac }: VirtioNic): RxFilter => ({
  name,
  promiscuous: false,
  broadcast: true,
  unicast: 'normal',
  multicast: 'all',
  vlan: 'all',
  mac: formatMac(mac, 0),
  addresses: [],
  groupHashes: [],
  vlans: [],
});
