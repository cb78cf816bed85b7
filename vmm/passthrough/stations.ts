/**
 * Which of the guest's NICs a frame from the cable is for: the host's bridge, of which the 82599's own switch is a part. A
 * standby has its function's address; it hears what is for that while the function has no ring for it: before its driver has
 * started it, and after the guest has let go of it.
 */
import { isGroupMac, MAC_BYTES, sameMac } from '../../devices/ethernet/addresses.js';
import type { FrameSink } from '../../devices/ethernet/frame-sink.js';
import type { Nic82599 } from '../../devices/nic82599/device.js';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import type { GuestFunction } from './guest-function.js';
import type { VirtioNic } from './virtio-nic.js';

interface Station {
  readonly nic: VirtioNic;
  /** The function with the same address. */
  readonly primary: GuestFunction | undefined;
}

export class Stations {
  readonly #nic: Nic82599;
  /** Of the VMM's own NICs. */
  readonly #stations: readonly Station[];

  constructor(
    nic: Nic82599,
    functions: readonly GuestFunction[],
    macs: readonly MacAddress[],
    virtio: readonly VirtioNic[],
  ) {
    this.#nic = nic;
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
    this.#nic.receiveBytes(bytes, at, length);
  };
}

/** Whether the function hears what is for its address. */
const isReached = ({ primary }: Station): boolean =>
  primary?.port.endpoint !== undefined && primary.vf.pool.receives;
