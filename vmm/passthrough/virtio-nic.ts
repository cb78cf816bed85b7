/**
 * A virtio-net device of the VMM's own in a port of its own, on the cable of the host's NIC: alone, or as the standby of an
 * assigned function with the same address. What it writes are host writes, and its state travels with the platform's.
 */
import type { DeviceRecord, SaveableDevice } from '../../base/device-record.js';
import { formatMac } from '../../devices/ethernet/addresses.js';
import { type AnnounceRhythm, Announcer } from '../../devices/ethernet/announcer.js';
import type { RootComplex } from '../../devices/pci/topology.js';
import type { RootPort } from '../../devices/root-port/device.js';
import { RUNNING, STOP, stateName } from '../../devices/vfio/states.js';
import { VirtioNet } from '../../devices/virtio/net.js';
import type { DeviceEvent } from './events.js';
import { addPort } from './guest-function.js';
import type { StationPorts } from './guest-vf.js';
import { type VirtioOptions, virtioName, virtioPortName } from './records.js';
import type { PassthroughReport } from './report.js';

export interface VirtioNicPorts extends Omit<StationPorts, 'address' | 'arrived' | 'failure'> {
  event(event: DeviceEvent): void;
  /** Whether the cable takes frames now. */
  ready(): boolean;
  wake(): void;
}

export class VirtioNic implements SaveableDevice {
  readonly name: string;
  readonly version: number;
  readonly mac: Uint8Array;
  readonly standby: boolean;
  readonly net: VirtioNet;
  readonly port: RootPort;
  readonly #announcer: Announcer;
  #refused = 0;
  #halted = false;
  /** Whether the cable is plugged in, and whether the administrator lets it have a link. */
  readonly #link = { cable: false, enabled: true };
  /** The guest came from another host, and the network has not been told. */
  #arrived = false;

  /** Puts number `index` into a new port of `guest`, the `port`th of all. */
  constructor(
    index: number,
    port: number,
    options: VirtioOptions,
    guest: RootComplex,
    ports: VirtioNicPorts,
  ) {
    const { send, event, ready, wake, scheduler } = ports;
    this.mac = Uint8Array.from(options.mac);
    this.standby = options.standby === true;
    const device = virtioName(index);
    const out = (bytes: Uint8Array, at: number, length: number): void => {
      if (!send(bytes, at, length)) this.#refused++;
    };
    this.net = new VirtioNet({
      name: device,
      mac: this.mac,
      standby: this.standby,
      send: out,
      ready,
      wake,
      standbyNegotiated: () => event({ kind: 'failover-negotiated', device }),
    });
    this.name = device;
    this.version = this.net.transport.version;
    this.#announcer = new Announcer(scheduler, out);
    this.port = addPort(guest, virtioPortName(index), port);
    this.port.populate(this.net.transport);
  }

  /** The vCPUs stop. */
  halt(): void {
    this.#halted = true;
    this.#announcer.stop();
    this.net.halt();
  }

  /** The vCPUs run. */
  start(): void {
    this.#halted = false;
    this.net.resume();
    // A state that came from another host has the link that there was.
    this.setLink({});
    if (!this.#arrived) return;
    this.#arrived = false;
    this.announce();
  }

  /** What of its link has changed. */
  setLink(change: { readonly cable?: boolean; readonly enabled?: boolean }): void {
    Object.assign(this.#link, change);
    this.net.setLink(this.#link.cable && this.#link.enabled);
  }

  /** Tells the network where the station is now: by the guest's driver if that can, at its rhythm, else in its place. */
  announce(rhythm?: AnnounceRhythm): void {
    if (!this.net.askToAnnounce()) this.#announcer.announce(this.mac, rhythm);
  }

  report(): PassthroughReport {
    const { counts, drops, link } = this.net;
    return {
      name: this.name,
      mac: formatMac(this.mac, 0),
      state: stateName(this.#halted ? STOP : RUNNING),
      link,
      counters: { 'frames-received': counts.received, 'frames-sent': counts.sent },
      drops: { ...drops, cable: this.#refused },
      faults: { count: 0, last: [] },
    };
  }

  save(): DeviceRecord {
    return this.net.transport.save();
  }

  restore(record: DeviceRecord): void {
    this.net.transport.restore(record);
    this.#arrived = true;
  }

  describe(record: DeviceRecord): readonly (readonly [string, string])[] {
    return this.net.transport.describe(record);
  }
}
