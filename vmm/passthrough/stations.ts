/**
 * Which of the guest's NICs a frame from the cable is for: the host's bridge, of which the 82599's own switch is a part. A
 * standby has its function's address; it hears what is for that while the function has no ring for it: before its driver has
 * started it, and after the guest has let go of it.
 */
import { isGroupMac, MAC_BYTES, sameMac } from '../../devices/ethernet/addresses.js';
import type { FrameSink } from '../../devices/ethernet/frame-sink.js';
import type { Nic82599 } from '../../devices/nic82599/device.js';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import type { GuestVf } from './guest-vf.js';
import type { VirtioNic } from './virtio-nic.js';

interface Station {
  readonly nic: VirtioNic;
  /** The function with the same address. */
  readonly primary: GuestVf | undefined;
}

export class Stations {
  readonly #nic: Nic82599;
  readonly #functions: readonly GuestVf[];
  /** Of the functions. */
  readonly #addresses: readonly Uint8Array[];
  /** Of the VMM's own NICs. */
  readonly #stations: readonly Station[];

  constructor(
    nic: Nic82599,
    functions: readonly GuestVf[],
    macs: readonly MacAddress[],
    virtio: readonly VirtioNic[],
  ) {
    this.#nic = nic;
    this.#functions = functions;
    this.#addresses = macs.map((mac) => Uint8Array.from(mac));
    this.#stations = virtio.map((own) => ({
      nic: own,
      primary: functions[macs.findIndex((mac) => sameMac(own.mac, 0, Uint8Array.from(mac), 0))],
    }));
  }

  /** A frame comes in from the cable. */
  readonly receive: FrameSink = (bytes, at, length) => {
    for (const station of this.#stations) {
      if (length < MAC_BYTES) break;
      const { net, mac } = station.nic;
      if (isGroupMac(bytes, at)) net.receive(bytes, at, length);
      else if (sameMac(bytes, at, mac, 0) && !isReached(station)) {
        net.receive(bytes, at, length);
        return;
      }
    }
    if (length >= MAC_BYTES && !isGroupMac(bytes, at) && this.#isAway(bytes, at)) return;
    this.#nic.receiveBytes(bytes, at, length);
  };

  /** Whether a frame is for a function that is out of its slot, or that no driver has started: then it is counted as dropped. */
  #isAway(bytes: Uint8Array, at: number): boolean {
    for (let i = 0; i < this.#functions.length; i++) {
      const fn = this.#functions[i]!;
      if (hears(fn) || !sameMac(bytes, at, this.#addresses[i]!, 0)) continue;
      fn.vf.pool.drops.stopped++;
      return true;
    }
    return false;
  }
}

/** Whether the function hears what is for its address. */
const isReached = ({ primary }: Station): boolean => primary !== undefined && hears(primary);

const hears = ({ port, vf }: GuestVf): boolean => port.endpoint !== undefined && vf.pool.receives;
