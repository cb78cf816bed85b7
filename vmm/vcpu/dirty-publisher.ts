/**
 * Publishes one vCPU's dirty byte map, as PML publishes its log: called by the thread that runs the vCPU, with the
 * guest at a safepoint, because a store is marked before it is made and nothing may come in between; or by any other
 * thread while the vCPU is paused.
 */
import type { ReservedRange } from '../../base/abi/reserved-range.js';
import type { AtomicBitmap } from '../../base/bitmap.js';

/** `kernels/dirty-map.wat`. */
interface DirtyMapKernel {
  scan(from: number, end: number): number;
  take(at: number): number;
}

const GROUP = 32;

export class DirtyPublisher {
  readonly #kernel: DirtyMapKernel;
  readonly #map: number;
  readonly #pages: number;

  /** `kernel`: an instance of `dirty-map` on the guest's memory. */
  constructor(kernel: WebAssembly.Instance, range: ReservedRange, vcpu: number) {
    this.#kernel = kernel.exports as unknown as DirtyMapKernel;
    this.#map = range.vcpus[vcpu]!.dirtyMap;
    this.#pages = range.firstPage;
  }

  /** Moves the map's marks into `into` (one bit for each page below the reserved range); returns how many were new. */
  publish(into: AtomicBitmap): number {
    const kernel = this.#kernel;
    const end = this.#map + Math.ceil(this.#pages / GROUP) * GROUP;
    let added = 0;
    for (let at = kernel.scan(this.#map, end) >>> 0; at < end; at = kernel.scan(at, end) >>> 0) {
      const page = at - this.#map;
      let mask = kernel.take(at);
      // The last group may reach into the reserved range, whose pages do not travel.
      if (page + GROUP > this.#pages) mask &= (1 << (this.#pages - page)) - 1;
      added += into.orWord(page >>> 5, mask);
      at += GROUP;
    }
    return added;
  }
}
