/**
 * How a device reaches memory and interrupts: as a requester on the bus, never by address alone. A function hands its
 * requests to these ports; behind them stands VT-d (or, for host-side functions, nothing but host memory), which
 * translates, blocks and records. Devices and the IOMMU meet here and nowhere else.
 *
 * Addresses come from guests, so every value is legal input: one that nothing maps is answered, not thrown. An address
 * at or above 2^53 is exact to its page only (`iovaOf`); tables of five levels can map it, our host never does.
 */
import type { Iova } from './units.js';

declare const brand: unique symbol;
/** Requester id as PCIe carries it: bus [15:8], device [7:3], function [2:0]; with ARI the function is [7:0]. */
export type RequesterId = number & { readonly [brand]: 'RequesterId' };

export const requesterId = (bus: number, device: number, fn: number): RequesterId =>
  ((bus << 8) | (device << 3) | fn) as RequesterId;
export const requesterOf = (rid: number): RequesterId => (rid & 0xffff) as RequesterId;

/** Joins the halves of a 64-bit bus address. */
export function iovaOf(low: number, high: number): Iova {
  const exactLow = high >= 0x20_0000 ? low & ~0xfff : low;
  return ((high >>> 0) * 2 ** 32 + (exactLow >>> 0)) as Iova;
}

/**
 * Memory requests of one bus. A request may cross pages; it is then carried out page by page in ascending order and
 * ends at the first page that is blocked.
 */
export interface DmaPort {
  /**
   * Memory read: `length` bytes at `address` into `target` from index `at`. False if any part was answered
   * Unsupported Request or Completer Abort; `target` may then hold part of the data and must not be used.
   */
  read(requester: RequesterId, address: Iova, target: Uint8Array, at: number, length: number): boolean;
  /** Memory write, posted: the requester never learns that it was blocked. */
  write(requester: RequesterId, address: Iova, source: Uint8Array, at: number, length: number): void;
  /**
   * Posted write of one 16-byte descriptor as four dwords. Everything this requester wrote earlier, and `d0` to `d2`,
   * are visible to the vCPUs before `d3` is: completion words (length, DD) live there. An `address` that is not a
   * multiple of 16 is written as `write` would, without that promise.
   */
  writeDescriptor(
    requester: RequesterId,
    address: Iova,
    d0: number,
    d1: number,
    d2: number,
    d3: number,
  ): void;
}

/**
 * Message-signalled interrupts: a posted write of one dword. Inside the interrupt range (0xFEE0_0000 to 0xFEEF_FFFF)
 * it is an interrupt request, remapped by source id; anywhere else it is the memory write that a guest asked for.
 */
export interface MsiPort {
  send(requester: RequesterId, address: Iova, data: number): void;
}

/** Kinds of access, as a page request names them. */
export const DMA_READS = 1;
export const DMA_WRITES = 2;

/**
 * Memory that may not be there yet: pages that are still under way, or that lie with another process. A device asks before it
 * begins a piece of work, and begins it when all that this needs is there; so a request itself is always answered at once, done
 * or blocked, and never has to be taken up again in its middle.
 */
export interface DmaPresence {
  /**
   * False: not yet. What of the range is missing has been asked for, as often as one likes, and whoever looks after the device
   * tells it when some of that has arrived (`memoryArrived`), on the device's own thread. True: a request has its answer now, be it
   * that it is blocked. What was there stays there until the device has been told otherwise.
   */
  present(requester: RequesterId, address: Iova, length: number, access: number): boolean;
  /**
   * The device has done with a range that it asked for, or will not come to it: what it asks for there again is to be what is there
   * then. Not needed of who only brings pages; whoever brings copies has to know.
   */
  release?(requester: RequesterId, address: Iova, length: number): void;
}
