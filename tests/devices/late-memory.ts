/** Guest memory that is not all there. */
import type { DmaPresence } from '../../base/dma.js';
import { TestMemory } from './machine.js';

export const PAGE = 4096;
/** Numbers of the pages that a range touches. */
export const pagesOf = (address: number, length: number): readonly number[] => {
  const first = Math.floor(address / PAGE);
  return Array.from({ length: Math.floor((address + length - 1) / PAGE) - first + 1 }, (_, i) => first + i);
};

/** Memory of which pages are missing until they arrive; whoever touches one before is found out. */
export class LateMemory extends TestMemory implements DmaPresence {
  readonly missing = new Set<number>();
  readonly asked = new Set<number>();
  readonly touched: number[] = [];
  arrived: (address: number, length: number) => void = () => {};

  present(_requester: number, address: number, length: number): boolean {
    const absent = pagesOf(address, length).filter((page) => this.missing.has(page));
    for (const page of absent) this.asked.add(page);
    return absent.length === 0;
  }

  withhold(address: number, length = 1): void {
    for (const page of pagesOf(address, length)) this.missing.add(page);
  }

  arrive(address: number): void {
    const page = Math.floor(address / PAGE);
    this.missing.delete(page);
    this.arrived(page * PAGE, PAGE);
  }

  override read(requester: number, address: number, target: Uint8Array, at: number, length: number): boolean {
    this.#touch(address, length);
    return super.read(requester, address, target, at, length);
  }

  override write(requester: number, address: number, source: Uint8Array, at: number, length: number): void {
    this.#touch(address, length);
    super.write(requester, address, source, at, length);
  }

  override writeDescriptor(requester: number, address: number, ...dwords: number[]): void {
    this.#touch(address, 16);
    super.writeDescriptor(requester, address, ...dwords);
  }

  #touch(address: number, length: number): void {
    this.touched.push(...pagesOf(address, length).filter((page) => this.missing.has(page)));
  }
}
