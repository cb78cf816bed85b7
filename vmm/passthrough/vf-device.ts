/** An assigned virtual function as the machine drives it: with what its physical function and the network have to hear. */
import { formatMac } from '../../devices/ethernet/addresses.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { PassthroughDevice } from './device.js';
import type { GuestVf } from './guest-vf.js';
import type { PassthroughHost } from './host.js';
import { countersOf, type PassthroughReport } from './report.js';

const DESCRIPTOR_BYTES = 16;

export class VfDevice extends PassthroughDevice {
  readonly #host: PassthroughHost;
  readonly #fn: GuestVf;

  constructor(host: PassthroughHost, fn: GuestVf) {
    super(fn);
    this.#host = host;
    this.#fn = fn;
  }

  override load(): void {
    super.load();
    if (this.#host.faults.strikes('nic/ring-index-off-by-one') !== undefined) this.#skipDescriptor();
  }

  protected override arrived(): void {
    this.#host.arrived(this.#fn.index);
    super.arrived();
  }

  report(): PassthroughReport {
    const { iommu, network } = this.#host;
    const { vf, index, source, refusedByCable, assigned } = this.#fn;
    const address = this.#host.addressOf(index);
    return {
      name: assigned.name,
      mac: address === undefined ? '' : formatMac(Uint8Array.from(address), 0),
      state: this.state,
      link: network.linkOf(index),
      counters: countersOf(vf.pool),
      drops: { ...vf.pool.drops, cable: refusedByCable },
      faults: iommu.faultsOf(source),
    };
  }

  /** The defect of the fault site: the receive head one too far, as if a descriptor had been used. */
  #skipDescriptor(): void {
    const { registers } = this.#fn.vf.pool;
    const count = registers.get(reg.RDLEN) / DESCRIPTOR_BYTES;
    if (count > 0) registers.set(reg.RDH, (registers.get(reg.RDH) + 1) % count);
  }
}
