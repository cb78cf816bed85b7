/**
 * The bus behind the unit: memory and interrupt requests of devices, translated, carried out in host memory, or
 * blocked. This is what devices are given as their `DmaPort` and `MsiPort`.
 *
 * Posted writes may be held back, as fabric and caches do: `writesInFlight` of them have been translated but are not
 * visible yet. They become visible in order: when newer writes push them out, before a read or an interrupt of the
 * bus, and when the unit drains, which is what an invalidation with write drain is for.
 */
import { copyBytes } from '../base/copy.js';
import type { DmaPort, MsiPort, RequesterId } from '../base/dma.js';
import { invariant } from '../base/errors.js';
import type { Iova } from '../base/units.js';
import type { HostMemory, HostRegion } from './host-memory.js';
import { INTERRUPT, TRANSLATED, type VtdUnit } from './unit.js';
import { ACCESS_READ, ACCESS_WRITE } from './walk.js';

const highOf = (address: number): number => (address / 2 ** 32) | 0;

interface HeldWrite {
  readonly region: HostRegion;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

export class TranslatedBus implements DmaPort, MsiPort {
  private readonly unit: VtdUnit;
  private readonly memory: HostMemory;
  private readonly writesInFlight: number;
  private readonly held: HeldWrite[] = [];
  private readonly descriptor = new Uint8Array(16);
  private readonly descriptorView = new DataView(this.descriptor.buffer);

  /** With `writesInFlight` 0, every write is visible when `write` returns. */
  constructor(unit: VtdUnit, memory: HostMemory, writesInFlight = 0) {
    invariant(Number.isInteger(writesInFlight) && writesInFlight >= 0, 'writes in flight');
    this.unit = unit;
    this.memory = memory;
    this.writesInFlight = writesInFlight;
    unit.onDrain(() => this.retire(0));
  }

  read(requester: RequesterId, address: Iova, target: Uint8Array, at: number, length: number): boolean {
    if (this.held.length > 0) this.retire(0);
    const { unit, memory } = this;
    for (let done = 0; done < length; ) {
      const from = address + done;
      if (unit.translate(requester, -1, from | 0, highOf(from), ACCESS_READ) !== TRANSLATED) return false;
      const host = unit.result[0]!;
      const count = Math.min(length - done, unit.result[1]!);
      const region = memory.find(host, count);
      if (region === undefined) return false;
      copyBytes(target, at + done, region.bytes, host - region.base, count);
      done += count;
    }
    return true;
  }

  write(requester: RequesterId, address: Iova, source: Uint8Array, at: number, length: number): void {
    const { unit, memory } = this;
    for (let done = 0; done < length; ) {
      const to = address + done;
      const outcome = unit.translate(requester, -1, to | 0, highOf(to), ACCESS_WRITE);
      if (outcome !== TRANSLATED) {
        // Only a dword of its own is an interrupt.
        if (outcome === INTERRUPT) {
          if (length === 4 && to % 4 === 0) this.interrupt(requester, to, dwordOf(source, at));
          else unit.refuseInInterruptRange(requester, to | 0, ACCESS_WRITE);
        }
        return;
      }
      const host = unit.result[0]!;
      const count = Math.min(length - done, unit.result[1]!);
      const region = memory.find(host, count);
      if (region === undefined) return;
      if (this.writesInFlight === 0) copyBytes(region.bytes, host - region.base, source, at + done, count);
      else this.hold(region, host - region.base, source, at + done, count);
      done += count;
    }
  }

  writeDescriptor(
    requester: RequesterId,
    address: Iova,
    d0: number,
    d1: number,
    d2: number,
    d3: number,
  ): void {
    if (address % 16 !== 0 || this.writesInFlight > 0) {
      const { descriptorView: view } = this;
      view.setUint32(0, d0, true);
      view.setUint32(4, d1, true);
      view.setUint32(8, d2, true);
      view.setUint32(12, d3, true);
      this.write(requester, address, this.descriptor, 0, 16);
      return;
    }
    const { unit, memory } = this;
    if (unit.translate(requester, -1, address | 0, highOf(address), ACCESS_WRITE) !== TRANSLATED) return;
    const host = unit.result[0]!;
    const region = memory.find(host, 16);
    if (region === undefined) return;
    const { words } = region;
    const index = region.index(host);
    words[index] = d0;
    words[index + 1] = d1;
    words[index + 2] = d2;
    // Sequentially consistent: whoever sees this word sees everything written before it.
    Atomics.store(words, index + 3, d3 | 0);
  }

  send(requester: RequesterId, address: Iova, data: number): void {
    if (this.unit.translate(requester, -1, address | 0, highOf(address), ACCESS_WRITE) === INTERRUPT) {
      this.interrupt(requester, address, data);
      return;
    }
    this.descriptorView.setUint32(0, data, true);
    this.write(requester, address, this.descriptor, 0, 4);
  }

  /** An interrupt pushes posted writes ahead of it. */
  private interrupt(requester: RequesterId, address: number, data: number): void {
    this.retire(0);
    this.unit.interrupt(requester, address >>> 0, data >>> 0);
  }

  private hold(region: HostRegion, offset: number, source: Uint8Array, at: number, count: number): void {
    this.held.push({ region, offset, bytes: source.slice(at, at + count) });
    this.retire(this.writesInFlight);
  }

  /** Makes the oldest writes visible until no more than `left` are held. */
  private retire(left: number): void {
    const { held } = this;
    while (held.length > left) {
      const { region, offset, bytes } = held.shift()!;
      writeBytes(region, offset, bytes);
    }
  }
}

/** The last dword of an aligned piece becomes visible after the rest, as for `writeDescriptor`. */
function writeBytes(region: HostRegion, offset: number, bytes: Uint8Array): void {
  const tail = bytes.length === 16 && offset % 16 === 0 ? 4 : 0;
  region.bytes.set(tail === 0 ? bytes : bytes.subarray(0, 12), offset);
  if (tail > 0) Atomics.store(region.words, (offset + 12) >>> 2, dwordOf(bytes, 12));
}

const dwordOf = (bytes: Uint8Array, at: number): number =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
