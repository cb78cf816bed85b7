/** The standby of an assigned function, as whoever takes the function away has to do with it. */
import type { DeviceEvent } from './events.js';
import type { VirtioNic } from './virtio-nic.js';

export class Standby {
  readonly #nic: VirtioNic;
  readonly #device: string;
  readonly #event: (event: DeviceEvent) => void;

  /** `device`: the function's name. */
  constructor(nic: VirtioNic, device: string, event: (event: DeviceEvent) => void) {
    this.#nic = nic;
    this.#device = device;
    this.#event = event;
  }

  /** Why the guest could not go on by it, in words; undefined if it can. */
  problem(): string | undefined {
    const { net } = this.#nic;
    if (!net.isStandby) return `the guest has not agreed to use ${this.#nic.name} as a standby`;
    return net.link ? undefined : `${this.#nic.name} has no link`;
  }

  /** The function is about to be taken away. */
  takeOver(): void {
    this.#event({ kind: 'unplug-primary', device: this.#device });
  }
}
