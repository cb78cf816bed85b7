/**
 * The assigned device as the machine drives it: running and stopping with the vCPUs, its migration by VFIO's protocol,
 * the tracking of its writes, and the announcement of its new place.
 */

import type { Scheduler } from '../../base/clock.js';
import type { DeviceRecord } from '../../base/device-record.js';
import { Announcer } from '../../devices/ethernet/announcer.js';
import type { FrameSink } from '../../devices/ethernet/frame-sink.js';
import type { DeviceTracking } from '../../migration/ports.js';
import type { PassthroughHost } from './host.js';
import type { IommuFaults } from './iommu.js';

/** What the host knows of the device, for monitors. */
export interface PassthroughReport {
  readonly faults: IommuFaults;
  /** Configuration space in the format of `lspci -F`. */
  readonly pci: { readonly host: string; readonly guest: string };
}

export class PassthroughDevice {
  readonly #host: PassthroughHost;
  readonly #announcer: Announcer;
  #arrived = false;
  #running = true;

  constructor(host: PassthroughHost, scheduler: Scheduler, send: FrameSink) {
    this.#host = host;
    this.#announcer = new Announcer(scheduler, send);
  }

  track(how: DeviceTracking | undefined): void {
    this.#host.iommu.track(how);
  }

  readDirty(): void {
    this.#host.iommu.readDirty();
  }

  preCopy(): Uint8Array {
    return new Uint8Array(0);
  }

  quiesce(): void {
    this.halt();
  }

  stopCopy(): Uint8Array {
    return new Uint8Array(0);
  }

  resume(): void {
    this.start();
  }

  write(_piece: Uint8Array): void {}

  load(): void {}

  save(): readonly DeviceRecord[] {
    return [this.#host.vf.save(), this.#host.assigned.save()];
  }

  halt(): void {
    if (!this.#running) return;
    this.#host.vf.stop();
    this.#running = false;
  }

  start(): void {
    if (!this.#running) this.#host.vf.start();
    this.#running = true;
    const { address } = this.#host;
    if (this.#arrived && address !== undefined) this.#announcer.announce(Uint8Array.from(address));
    this.#arrived = false;
  }

  report(): PassthroughReport {
    return { faults: this.#host.iommu.recorded, pci: this.#host.dump() };
  }
}
