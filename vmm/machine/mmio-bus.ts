/**
 * The MMIO bus: regions placed at addresses, without overlap. Devices see offsets; what nobody claims, or what reaches
 * over a region's end, reads as all ones and drops writes, as a master abort does.
 */

import { InvariantError } from '../../base/errors.js';
import { type AccessWidth, allOnes, type MmioRegion } from '../../base/mmio.js';

export class MmioBus {
  /** Ascending, disjoint. */
  readonly regions: readonly MmioRegion[];
  #unassigned = 0;
  #last: MmioRegion | undefined;

  constructor(regions: readonly MmioRegion[]) {
    const ordered = [...regions].sort((a, b) => a.base - b.base);
    for (let i = 1; i < ordered.length; i++) {
      const [below, above] = [ordered[i - 1]!, ordered[i]!];
      if (below.base + below.bytes > above.base) {
        throw new InvariantError(`MMIO regions ${below.name} and ${above.name} overlap`);
      }
    }
    this.regions = ordered;
  }

  /** Accesses that no region claimed. */
  get unassigned(): number {
    return this.#unassigned;
  }

  read(address: number, width: AccessWidth): number {
    const region = this.#find(address, width);
    if (region === undefined) {
      this.#unassigned++;
      return allOnes(width);
    }
    return region.handler.read(address - region.base, width);
  }

  write(address: number, width: AccessWidth, value: number): void {
    const region = this.#find(address, width);
    if (region === undefined) this.#unassigned++;
    else region.handler.write(address - region.base, width, value);
  }

  #find(address: number, width: number): MmioRegion | undefined {
    // Drivers talk to one device at a time, so the last region is nearly always the next.
    const last = this.#last;
    if (last !== undefined && address >= last.base && address + width <= last.base + last.bytes) return last;
    let low = 0;
    let high = this.regions.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const region = this.regions[middle]!;
      if (address < region.base) high = middle - 1;
      else if (address >= region.base + region.bytes) low = middle + 1;
      else if (address + width > region.base + region.bytes) return undefined;
      else {
        this.#last = region;
        return region;
      }
    }
    return undefined;
  }
}
