/**
 * The memory of another VMM's guest as its device reaches it: ranges of bus addresses, each a part of a file (a memfd, shared
 * memory) whose descriptor came with DMA_MAP; or, where none came, memory that only messages reach (`MessageMemory`).
 *
 * The file is read and written by descriptor, not mapped: a client may cut the file short at any time, and an access to a
 * mapping beyond its end would end this process; a call only comes back short, which is a blocked request.
 */
import { closeSync, fstatSync, readSync, writeSync } from 'node:fs';
import type { DmaPort, DmaPresence, RequesterId } from '../../base/dma.js';
import { type Iova, PAGE_BYTES } from '../../base/units.js';
import { type MemoryMessages, MessageMemory } from './message-memory.js';
import { DMA_MAPS_MAX, EEXIST, EINVAL, ENOENT, ENOSPC, MAP_READ, MAP_WRITE, Refusal } from './protocol.js';

interface Mapping {
  readonly address: number;
  /** First address behind it. */
  readonly end: number;
  readonly flags: number;
  /** Without one the client is asked. */
  readonly fd: number | undefined;
  readonly offset: number;
}

const DESCRIPTOR_BYTES = 16;
const COMPLETION_AT = 12;

export class ClientMemory implements DmaPort, DmaPresence {
  /** By address. */
  #mappings: Mapping[] = [];
  /** Where the last access was: the next one is mostly near. */
  #last: Mapping | undefined;
  readonly #descriptor = new Uint8Array(DESCRIPTOR_BYTES);
  readonly #words = new DataView(this.#descriptor.buffer);
  #blocked = 0;
  readonly #messages = new MessageMemory();
  /** Ranges without a descriptor. */
  #byMessage = 0;
  /** Told whether some memory has to be asked for ahead (`present`): of that of a descriptor it takes no notice. */
  needsAsking: (needed: boolean) => void = () => {};

  /** Whom to ask; undefined while nobody is there. */
  set client(client: MemoryMessages | undefined) {
    this.#messages.client = client;
  }

  /** Told when a range that was asked for in vain is worth another look. */
  set arrived(arrived: (address: number, length: number) => void) {
    this.#messages.arrived = arrived;
  }

  /** Ranges that are mapped; each holds a descriptor, or none. */
  get count(): number {
    return this.#mappings.length;
  }

  /** First address behind all of them. */
  get end(): number {
    return this.#mappings.at(-1)?.end ?? 0;
  }

  /** What can be written by descriptor, of which the client does not hear by itself. */
  get writtenUnheard(): readonly { readonly address: number; readonly bytes: number }[] {
    return this.#mappings
      .filter(({ fd, flags }) => fd !== undefined && (flags & MAP_WRITE) !== 0)
      .map(({ address, end }) => ({ address, bytes: end - address }));
  }

  /**
   * Has the client write a byte that is there once more, so that it hears of a write to that page. For when nobody else writes: what
   * another writes between the two steps would be undone. `whenWritten` tells when it has.
   */
  tellOf(address: number): boolean {
    const byte = new Uint8Array(1);
    return this.#each(address, 1, MAP_READ, byte, 0) && this.#send(address, MAP_WRITE, byte, 0, 1);
  }

  /** Requests that led nowhere. */
  get blocked(): number {
    return this.#blocked + this.#messages.refused;
  }

  /** `then` is called when all that was written so far is where the guest sees it; at once if it is, or nobody is there. */
  whenWritten(then: () => void): void {
    this.#messages.whenWritten(then);
  }

  /** What was asked for ahead may be something else by now. */
  forgetAsked(): void {
    this.#messages.release(0, Number.MAX_SAFE_INTEGER);
  }

  /** Takes `fd` as its own. Throws Refusal, and `fd` stays the caller's. */
  map(address: number, size: number, flags: number, fd: number | undefined, offset: number): void {
    const end = address + size;
    if (size === 0 || address % PAGE_BYTES !== 0 || size % PAGE_BYTES !== 0 || !Number.isSafeInteger(end)) {
      throw new Refusal(EINVAL, `no range: ${size} bytes at ${address}`);
    }
    if ((flags & (MAP_READ | MAP_WRITE)) === 0 || (flags & ~(MAP_READ | MAP_WRITE)) !== 0) {
      throw new Refusal(EINVAL, `flags ${flags}`);
    }
    if (!Number.isSafeInteger(offset + size)) throw new Refusal(EINVAL, `offset ${offset}`);
    const file = fd === undefined ? undefined : fstatSync(fd);
    if (file !== undefined && !(file.isFile() && file.size >= offset + size))
      throw new Refusal(EINVAL, 'the descriptor is no such memory');
    const at = this.#placeOf(address);
    if (at > 0 && this.#mappings[at - 1]!.end > address) throw new Refusal(EEXIST, 'overlaps');
    if (at < this.#mappings.length && this.#mappings[at]!.address < end)
      throw new Refusal(EEXIST, 'overlaps');
    if (this.#mappings.length >= DMA_MAPS_MAX) throw new Refusal(ENOSPC, 'too many ranges');
    this.#mappings.splice(at, 0, { address, end, flags, fd, offset });
    this.forgetAsked();
    if (fd === undefined && this.#byMessage++ === 0) this.needsAsking(true);
  }

  /** Takes away exactly what was mapped. Throws Refusal. */
  unmap(address: number, size: number): void {
    const at = this.#placeOf(address);
    const found = this.#mappings[at];
    if (found === undefined || found.address !== address || found.end !== address + size) {
      throw new Refusal(ENOENT, 'no such range');
    }
    this.#mappings.splice(at, 1);
    this.#last = undefined;
    this.forgetAsked();
    if (found.fd !== undefined) closeSync(found.fd);
    else if (--this.#byMessage === 0) this.needsAsking(false);
  }

  unmapAll(): void {
    for (const { fd } of this.#mappings) if (fd !== undefined) closeSync(fd);
    this.#mappings = [];
    this.#last = undefined;
    this.forgetAsked();
    if (this.#byMessage === 0) return;
    this.#byMessage = 0;
    this.needsAsking(false);
  }

  present(_requester: RequesterId, address: Iova, length: number, access: number): boolean {
    let there = true;
    for (let done = 0; done < length; ) {
      const mapping = this.#find(address + done);
      // What is blocked, is so now.
      if (mapping === undefined || (mapping.flags & access) === 0) return there;
      const part = Math.min(length - done, mapping.end - address - done);
      if (mapping.fd === undefined)
        there = this.#messages.present(address + done, part, access & mapping.flags) && there;
      done += part;
    }
    return there;
  }

  release(_requester: RequesterId, address: Iova, length: number): void {
    this.#messages.release(address, length);
  }

  read(_requester: RequesterId, address: Iova, target: Uint8Array, at: number, length: number): boolean {
    return this.#each(address, length, MAP_READ, target, at);
  }

  write(_requester: RequesterId, address: Iova, source: Uint8Array, at: number, length: number): void {
    this.#each(address, length, MAP_WRITE, source, at);
  }

  writeDescriptor(
    _requester: RequesterId,
    address: Iova,
    d0: number,
    d1: number,
    d2: number,
    d3: number,
  ): void {
    const words = this.#words;
    words.setUint32(0, d0, true);
    words.setUint32(4, d1, true);
    words.setUint32(8, d2, true);
    words.setUint32(COMPLETION_AT, d3, true);
    // Two calls: within one the kernel copies in an order of its own.
    if (!this.#each(address, COMPLETION_AT, MAP_WRITE, this.#descriptor, 0)) return;
    this.#each(
      (address + COMPLETION_AT) as Iova,
      DESCRIPTOR_BYTES - COMPLETION_AT,
      MAP_WRITE,
      this.#descriptor,
      COMPLETION_AT,
    );
  }

  /** Carries a request out range by range, up to the first that blocks it. */
  #each(address: number, length: number, access: number, bytes: Uint8Array, at: number): boolean {
    let done = 0;
    while (done < length) {
      const mapping = this.#find(address + done);
      if (mapping === undefined || (mapping.flags & access) === 0) break;
      const part = Math.min(length - done, mapping.end - address - done);
      const carriedOut =
        mapping.fd === undefined
          ? this.#send(address + done, access, bytes, at + done, part)
          : transfer(
              mapping.fd,
              mapping.offset + address + done - mapping.address,
              access,
              bytes,
              at + done,
              part,
            );
      if (!carriedOut) break;
      done += part;
    }
    if (done < length) this.#blocked++;
    return done === length;
  }

  /** The same of memory that only messages reach: what is written is on its way, and what is read was asked for ahead. */
  #send(address: number, access: number, bytes: Uint8Array, at: number, length: number): boolean {
    if (access === MAP_READ) return this.#messages.read(address, bytes, at, length);
    this.#messages.write(address, bytes, at, length);
    return true;
  }

  #find(address: number): Mapping | undefined {
    const last = this.#last;
    if (last !== undefined && address >= last.address && address < last.end) return last;
    const at = this.#placeOf(address);
    const found = this.#mappings[at]?.address === address ? this.#mappings[at] : this.#mappings[at - 1];
    if (found === undefined || address < found.address || address >= found.end) return undefined;
    this.#last = found;
    return found;
  }

  /** Index of the first range at or behind `address`. */
  #placeOf(address: number): number {
    let low = 0;
    let high = this.#mappings.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#mappings[middle]!.address < address) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function transfer(
  fd: number,
  position: number,
  access: number,
  bytes: Uint8Array,
  at: number,
  length: number,
): boolean {
  try {
    const moved =
      access === MAP_READ
        ? readSync(fd, bytes, at, length, position)
        : writeSync(fd, bytes, at, length, position);
    return moved === length;
  } catch (error) {
    // What the file does not allow is blocked, as what is not mapped.
    if (error instanceof Error && 'syscall' in error) return false;
    throw error;
  }
}
