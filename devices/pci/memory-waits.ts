/**
 * What a device's queues do where memory may not be there yet: they ask for all that a piece of work needs before they begin
 * it, as a device with address translation services does (PCIe 10.2, 10.4). So a piece that can't be done yet has changed nothing,
 * and is begun again when what it waits for has arrived; there is no half of one that would have to be kept, or to be moved.
 */
import type { DmaPresence } from '../../base/dma.js';
import type { Iova } from '../../base/units.js';
import type { PciFunction } from './function.js';

/** All that a function may reach. */
const EVERYTHING_BYTES = Number.MAX_SAFE_INTEGER;

/** Memory that a queue waits for; of several pieces that were missing, the last: they mostly come in the order of asking. */
export class Awaited {
  private address = -1;
  private length = 0;

  note(address: number, length: number): void {
    this.address = address;
    this.length = length;
  }

  clear(): void {
    this.address = -1;
  }

  /** Whether a part of it is in `[address, address + length)`; then it is worth another look, and nothing is awaited. */
  arrives(address: number, length: number): boolean {
    if (this.address < 0 || this.address >= address + length || this.address + this.length <= address)
      return false;
    this.clear();
    return true;
  }
}

/** Shared by all queues of a device. */
export class MemoryWaits {
  /** Undefined while all memory is there, which is checked before anything is asked. */
  presence: DmaPresence | undefined;

  /** True if `fn` can access the range now; else `awaited` names it. */
  ask(fn: PciFunction, address: Iova, length: number, access: number, awaited: Awaited): boolean {
    const { presence } = this;
    if (presence === undefined || presence.present(fn.routingId, address, length, access)) return true;
    awaited.note(address, length);
    return false;
  }

  /** `fn` has done with a range that it asked for. */
  release(fn: PciFunction, address: Iova, length: number): void {
    this.presence?.release?.(fn.routingId, address, length);
  }

  /** What `fn` asked for is no longer what it needs. */
  forget(fn: PciFunction): void {
    this.presence?.release?.(fn.routingId, 0 as Iova, EVERYTHING_BYTES);
  }
}
