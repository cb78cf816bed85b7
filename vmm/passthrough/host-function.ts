/** What a host can do to the function that it assigned without asking anybody: cut it off, give it back, report an error of it. */
import type { RequesterId } from '../../base/dma.js';
import type { AssignedFunction } from '../../devices/pci/assigned-function.js';
import type { RootPort } from '../../devices/root-port/device.js';
import type { HostIommu } from './iommu.js';

/** What it needs of a function. */
interface IsolatedParts {
  /** What its requests carry. */
  readonly source: RequesterId;
  readonly assigned: AssignedFunction;
  readonly port: RootPort;
  announce(): void;
  /** It is about to be isolated, and reset. */
  aboutToReset(): void;
}

export class HostFunction {
  readonly #fn: IsolatedParts;
  readonly #iommu: HostIommu;
  #isolated = false;
  /** The network is to hear of its place as soon as its driver takes what comes. */
  #toAnnounce = false;

  constructor(fn: IsolatedParts, iommu: HostIommu) {
    this.#fn = fn;
    this.#iommu = iommu;
  }

  /** The function masters no bus, whatever the guest's registers say. Returns whether they let it. */
  closeGate(): boolean {
    this.#fn.assigned.setGate(false);
    return this.#fn.assigned.fn.mastering;
  }

  openGate(): void {
    this.#fn.assigned.setGate(true);
  }

  /** Tells the network that the function's station is here, if it has one. */
  announce(): void {
    this.#fn.announce();
  }

  /** The same when its driver next begins to take what comes for it, at that moment: once. */
  announceOnceReceiving(): void {
    this.#toAnnounce = true;
  }

  /** Its driver begins to take what comes. */
  receives(): void {
    if (!this.#toAnnounce) return;
    this.#toAnnounce = false;
    this.announce();
  }

  /** No bus mastering, no mappings, reset: what it would still write is blocked, and the guest reads all ones. Harmless twice. */
  isolate(): void {
    if (this.#isolated) return;
    this.#isolated = true;
    this.#toAnnounce = false;
    this.#fn.aboutToReset();
    this.#fn.port.sever(true);
    this.#iommu.detach(this.#fn.source);
  }

  /** It answers again, at its place, as after power-on. Harmless if it was not isolated. */
  restore(): void {
    if (!this.#isolated) return;
    this.#isolated = false;
    this.#iommu.attach(this.#fn.source);
    this.#fn.port.sever(false);
  }

  /**
   * The root port reports an uncorrectable error of the function. False if the guest has not enabled that, and so never hears
   * of it.
   */
  reportError(severity: 'fatal' | 'nonfatal'): boolean {
    const { assigned, port } = this.#fn;
    const { errors } = assigned.aer;
    // Of those that a function raises by itself, one that is fatal by default and one that is not (7.8.4.4).
    const sent = assigned.aer.uncorrectable(
      severity === 'fatal' ? errors.MALFORMED : errors.COMPLETION_TIMEOUT,
    );
    return sent || port.receiveError(severity, assigned.fn.routingId);
  }
}
