/** What the guest has made of its PCI Express: every function with its place, ids and BARs, as the registers say now. */
import type { PciFunction } from '../../devices/pci/function.js';
import { WINDOW_SHIFT } from '../../devices/pci/registers.js';
import type { RootComplex } from '../../devices/pci/topology.js';

export interface PciRegion {
  readonly bar: number;
  /** -1 while it is not decoded. */
  readonly address: number;
  readonly bytes: number;
  readonly prefetchable: boolean;
  readonly wide: boolean;
}

/** Addresses that a bridge lets through, both ends included; a base above the limit: none. */
export interface PciWindow {
  readonly base: number;
  readonly limit: number;
}

export interface PciBridge {
  readonly primary: number;
  readonly secondary: number;
  readonly subordinate: number;
  readonly memory: PciWindow;
  readonly prefetchable: PciWindow;
}

export interface PciInfo {
  readonly name: string;
  readonly bus: number;
  readonly devfn: number;
  readonly classCode: number;
  readonly vendorId: number;
  readonly deviceId: number;
  /** Of functions that are no bridges. */
  readonly subsystem?: { readonly vendorId: number; readonly deviceId: number };
  readonly interruptPin: number;
  readonly regions: readonly PciRegion[];
  readonly bridge?: PciBridge;
}

// Of any header, and of either type. 7.5.1
const CLASS = 0x0a;
const HEADER_TYPE = 0x0e;
const INTERRUPT_PIN = 0x3d;
const BRIDGE = 1;
const SUBSYSTEM = 0x2c;
const BUS_NUMBERS = 0x18;
const MEMORY_WINDOW = 0x20;
const PREFETCHABLE_WINDOW = 0x24;
const PREFETCHABLE_UPPER = 0x28;

/** Every function, in the order of a scan. */
export const pciInfoOf = (complex: RootComplex): readonly PciInfo[] =>
  complex.functions().map(({ bus, devfn, fn }) => {
    const read = (offset: number, size: number): number => fn.configRead(offset, size);
    const isBridge = (read(HEADER_TYPE, 1) & 0x7f) === BRIDGE;
    return {
      name: fn.name,
      bus,
      devfn,
      classCode: read(CLASS, 2),
      vendorId: read(0, 2),
      deviceId: read(2, 2),
      interruptPin: read(INTERRUPT_PIN, 1),
      regions: regionsOf(fn),
      ...(isBridge
        ? { bridge: bridgeOf(read) }
        : { subsystem: { vendorId: read(SUBSYSTEM, 2), deviceId: read(SUBSYSTEM + 2, 2) } }),
    };
  });

const regionsOf = ({ behaviour, decoder }: PciFunction): readonly PciRegion[] =>
  behaviour.bars.map((bar) => ({
    bar: bar.index,
    address: decoder.base(bar),
    bytes: bar.bytes,
    prefetchable: bar.prefetchable === true,
    wide: bar.kind === 'memory64',
  }));

function bridgeOf(read: (offset: number, size: number) => number): PciBridge {
  const window = (at: number, upper: number): PciWindow => {
    const end = (offset: number, high: number): number =>
      high * 2 ** 32 + (read(offset, 2) >>> 4) * 2 ** WINDOW_SHIFT;
    const high = (offset: number): number => (upper === 0 ? 0 : read(offset, 4));
    return {
      base: end(at, high(upper)),
      limit: end(at + 2, high(upper + 4)) + 2 ** WINDOW_SHIFT - 1,
    };
  };
  return {
    primary: read(BUS_NUMBERS, 1),
    secondary: read(BUS_NUMBERS + 1, 1),
    subordinate: read(BUS_NUMBERS + 2, 1),
    memory: window(MEMORY_WINDOW, 0),
    prefetchable: window(PREFETCHABLE_WINDOW, PREFETCHABLE_UPPER),
  };
}
