/**
 * The root complex: bus 0 with its functions and ports, and the way that configuration, memory and upstream requests
 * take through it. Software numbers the buses and sets the windows; this routes by what the registers say now.
 */
import type { DmaPort, MsiPort } from '../../base/dma.js';
import { deviceErrors } from '../errors.js';
import type { PciFunction, Upstream } from './function.js';
import type { BarSpec } from './registers.js';

/** A device behind a port: its functions by routing id relative to device 0, function 0 of the port's bus. */
export interface Endpoint {
  /** All functions that exist now. */
  functions(): readonly PciFunction[];
  functionAt(relativeId: number): PciFunction | undefined;
  /** Connects all functions, those that appear later too; `undefined` disconnects them. */
  attach(upstream: Upstream | undefined): void;
  /** Hot reset of the whole device. */
  reset(): void;
}

/** A memory range [base, base + bytes) that a bridge forwards. */
export interface MemoryWindow {
  readonly base: number;
  readonly bytes: number;
}

/** What the topology needs of a root port. */
export interface RootPortLike {
  readonly fn: PciFunction;
  /** The device behind the port while its link is up. */
  readonly endpoint: Endpoint | undefined;
  readonly secondaryBus: number;
  readonly subordinateBus: number;
  readonly ariForwarding: boolean;
  /** Windows forwarded now; none while Memory Space Enable is clear. */
  windows(): readonly MemoryWindow[];
  /** A read that nobody below answered. */
  masterAbort(): void;
  /** Connects the port to the fabric above. */
  connect(fabric: Fabric): void;
}

/** What a port needs of the root complex. */
export interface Fabric {
  readonly dma: DmaPort;
  readonly msi: MsiPort;
  decodeChanged(): void;
}

interface Region {
  readonly base: number;
  readonly end: number;
  /** Address of the BAR's first byte, which a window may cut off. */
  readonly barBase: number;
  readonly fn: PciFunction;
  readonly bar: BarSpec;
}

const allOnes = (size: number): number => (size === 4 ? 0xffff_ffff : 2 ** (size * 8) - 1);
const hex = (value: number): string => `0x${value.toString(16)}`;

/** Configuration address within ECAM: bus [27:20], device and function [19:12], register [11:0]. 7.2.2 */
const ECAM_BUS_SHIFT = 20;
const ECAM_FUNCTION_SHIFT = 12;
const ECAM_REGISTER_MASK = 0xfff;
export const ecamOffset = (bus: number, devfn: number, register: number): number =>
  bus * 2 ** ECAM_BUS_SHIFT + devfn * 2 ** ECAM_FUNCTION_SHIFT + register;

export class RootComplex implements Fabric {
  readonly dma: DmaPort;
  readonly msi: MsiPort;
  private readonly integrated = new Map<number, PciFunction>();
  private readonly ports: RootPortLike[] = [];
  private regions: Region[] = [];
  private regionsStale = true;
  private lastHit: Region | undefined;

  constructor(dma: DmaPort, msi: MsiPort) {
    this.dma = dma;
    this.msi = msi;
    this.busZero = {
      open: true,
      bus: 0,
      dma,
      msi,
      decodeChanged: () => this.decodeChanged(),
      errorMessage: () => {},
    };
  }

  /** Puts a function on bus 0. */
  addFunction(devfn: number, fn: PciFunction): void {
    if (this.integrated.has(devfn)) {
      const address = `00:${hex(devfn >>> 3)
        .slice(2)
        .padStart(2, '0')}.${devfn & 7}`;
      throw deviceErrors.error('addressTaken', { device: fn.name, address });
    }
    this.integrated.set(devfn, fn);
    fn.relativeId = devfn;
    fn.attach(this.busZero);
    this.decodeChanged();
  }

  /** Puts a root port on bus 0. */
  addPort(devfn: number, port: RootPortLike): void {
    this.addFunction(devfn, port.fn);
    this.ports.push(port);
    port.connect(this);
  }

  /** Functions in the order a scan meets them, with the bus each is on. */
  functions(): { readonly bus: number; readonly devfn: number; readonly fn: PciFunction }[] {
    const found = [...this.integrated.entries()].map(([devfn, fn]) => ({ bus: 0, devfn, fn }));
    for (const port of this.ports) {
      for (const fn of port.endpoint?.functions() ?? []) {
        found.push({ bus: fn.routingId >>> 8, devfn: fn.routingId & 0xff, fn });
      }
    }
    return found.sort((a, b) => a.bus - b.bus || a.devfn - b.devfn);
  }

  /** Reads 1, 2 or 4 bytes of the ECAM window; all ones where no function answers. */
  configRead(offset: number, size: number): number {
    const fn = this.configTarget(offset);
    return fn === undefined ? allOnes(size) : fn.configRead(offset & ECAM_REGISTER_MASK, size);
  }

  /** Writes 1, 2 or 4 bytes of the ECAM window; dropped where no function answers. */
  configWrite(offset: number, size: number, value: number): void {
    this.configTarget(offset)?.configWrite(offset & ECAM_REGISTER_MASK, size, value);
  }

  /** Reads 1, 2 or 4 bytes of memory space; all ones where no BAR is decoded. */
  memoryRead(address: number, size: number): number {
    const region = this.regionAt(address, size);
    if (region !== undefined) {
      return region.fn.behaviour.readBar(region.bar.index, address - region.barBase, size);
    }
    for (const port of this.ports) {
      if (port.windows().some(({ base, bytes }) => address >= base && address < base + bytes))
        port.masterAbort();
    }
    return allOnes(size);
  }

  /** Writes 1, 2 or 4 bytes of memory space; dropped where no BAR is decoded. */
  memoryWrite(address: number, size: number, value: number): void {
    const region = this.regionAt(address, size);
    region?.fn.behaviour.writeBar(region.bar.index, address - region.barBase, size, value >>> 0);
  }

  decodeChanged(): void {
    this.regionsStale = true;
    this.lastHit = undefined;
  }

  private readonly busZero: Upstream;

  private configTarget(offset: number): PciFunction | undefined {
    const bus = Math.floor(offset / 2 ** ECAM_BUS_SHIFT) & 0xff;
    const devfn = (offset >>> ECAM_FUNCTION_SHIFT) & 0xff;
    if (bus === 0) return this.integrated.get(devfn);
    for (const port of this.ports) {
      if (bus < port.secondaryBus || bus > port.subordinateBus) continue;
      // Below a port without ARI forwarding only device 0 exists on the link's own bus.
      if (bus === port.secondaryBus && devfn >>> 3 !== 0 && !port.ariForwarding) return undefined;
      return port.endpoint?.functionAt(((bus - port.secondaryBus) << 8) + devfn);
    }
    return undefined;
  }

  /** An access that reaches beyond its region is nobody's. */
  private regionAt(address: number, size: number): Region | undefined {
    if (this.regionsStale) this.rebuild();
    const last = this.lastHit;
    if (last !== undefined && address >= last.base && address + size <= last.end) return last;
    // The last region that starts at or below the address; regions don't overlap.
    let low = 0;
    let high = this.regions.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.regions[middle]!.base <= address) low = middle + 1;
      else high = middle;
    }
    const region = this.regions[low - 1];
    if (region === undefined || address + size > region.end) return undefined;
    this.lastHit = region;
    return region;
  }

  private rebuild(): void {
    this.regionsStale = false;
    const found: Region[] = [];
    const add = (fn: PciFunction, windows: readonly MemoryWindow[] | undefined): void => {
      for (const bar of fn.decoder.bars) {
        const barBase = fn.decoder.base(bar);
        if (barBase < 0) continue;
        const barEnd = barBase + fn.decoder.size(bar);
        if (windows === undefined) found.push({ base: barBase, end: barEnd, barBase, fn, bar });
        for (const window of windows ?? []) {
          const base = Math.max(barBase, window.base);
          const end = Math.min(barEnd, window.base + window.bytes);
          if (base < end) found.push({ base, end, barBase, fn, bar });
        }
      }
    };
    for (const fn of this.integrated.values()) add(fn, undefined);
    for (const port of this.ports) {
      const windows = port.windows();
      if (windows.length === 0) continue;
      for (const fn of port.endpoint?.functions() ?? []) add(fn, windows);
    }
    this.regions = withoutOverlap(found);
  }
}

/**
 * Software may lay BARs over each other, which the specification leaves undefined. Here the one that starts first keeps
 * its whole range and others lose theirs, so that one address has one owner.
 */
function withoutOverlap(found: Region[]): Region[] {
  const sorted = found.sort((a, b) => a.base - b.base || a.end - b.end);
  const kept: Region[] = [];
  let end = -1;
  for (const region of sorted) {
    if (region.base < end) continue;
    kept.push(region);
    end = region.end;
  }
  return kept;
}
