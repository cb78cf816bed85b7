/**
 * What firmware and an operating system's PCI core do to a root complex before drivers run: number the buses, size and
 * place BARs, open windows, turn on ARI and SR-IOV. All of it through configuration accesses, as the host side of the
 * machine does it for its own devices.
 */
import {
  at,
  CAPABILITIES_POINTER,
  type Capability,
  configLayout,
  EXTENDED_FIRST,
  type Registers,
} from './capability.js';
import {
  accessControl,
  EXT_ID_ACS,
  EXT_ID_ARI,
  EXT_ID_SRIOV,
  sriovCapability,
  VF_BAR_OFFSET,
} from './extended-capabilities.js';
import { CAP_ID_PCIE, pcieCapability } from './pcie-capability.js';
import {
  BAR_FLAG_64,
  BAR_FLAG_IO,
  BAR_FLAGS_MEMORY,
  BAR_OFFSET,
  type0Header,
  type1Header,
} from './registers.js';
import { ecamOffset, type RootComplex } from './topology.js';

/** A function that a scan found. */
export interface FoundFunction {
  readonly bus: number;
  readonly devfn: number;
  readonly vendorId: number;
  readonly deviceId: number;
  readonly bridge: boolean;
  readonly bars: readonly PlacedBar[];
}

export interface PlacedBar {
  readonly index: number;
  readonly base: number;
  readonly bytes: number;
}

/** Addresses that may be given out. */
export interface MemoryRange {
  readonly base: number;
  readonly bytes: number;
}

const nobody = { vendorId: 0, deviceId: 0, revision: 0, classCode: 0 };
const endpointHeader = configLayout('endpoint-header', type0Header(nobody, []), {}).header;
const bridgeHeader = configLayout('bridge-header', type1Header(nobody), {}).header;
/** Registers of a capability relative to its start. */
const relative = <T>(capability: Capability<T>, start: number): Registers<T> =>
  (
    configLayout('relative', {}, { it: at(start, capability as Capability) }) as unknown as {
      cap: { it: Registers<T> };
    }
  ).cap.it;
const PCIE_AT = 0x40;
const SRIOV_AT = 0x100;
const ACS_AT = 0x100;
const pcie = relative(pcieCapability({ kind: 'endpoint', speed: 1, width: 1 }), PCIE_AT);
const sriov = relative(sriovCapability({ totalVfs: 1, vfDeviceId: 0, functionLink: 0, bars: [] }), SRIOV_AT);
const acs = relative(accessControl, ACS_AT);

const ABSENT = 0xffff;
const BRIDGE_HEADER = 1;
const BARS_MAX = 6;
/** Bridge windows come in units of a megabyte. */
const WINDOW_BYTES = 0x10_0000;
/** Buses for each port: its own, and one more for virtual functions without ARI. */
const BUSES_PER_PORT = 2;
const CAPABILITIES_MAX = 48;
const EXTENDED_CAPABILITIES_MAX = 96;

/** Configuration space of one function. */
class Config {
  private readonly complex: RootComplex;
  readonly bus: number;
  readonly devfn: number;

  constructor(complex: RootComplex, bus: number, devfn: number) {
    this.complex = complex;
    this.bus = bus;
    this.devfn = devfn;
  }

  read(offset: number, size: number): number {
    return this.complex.configRead(ecamOffset(this.bus, this.devfn, offset), size);
  }

  write(offset: number, size: number, value: number): void {
    this.complex.configWrite(ecamOffset(this.bus, this.devfn, offset), size, value);
  }

  /** Offset of a capability of the standard list, or 0. */
  capability(id: number): number {
    let offset = this.read(endpointHeader.STATUS.offset, 2) === 0 ? 0 : this.read(CAPABILITIES_POINTER, 1);
    for (let i = 0; i < CAPABILITIES_MAX && offset !== 0; i++) {
      if (this.read(offset, 1) === id) return offset;
      offset = this.read(offset + 1, 1);
    }
    return 0;
  }

  /** Offset of a capability of the extended list, or 0. */
  extendedCapability(id: number): number {
    let offset: number = EXTENDED_FIRST;
    for (let i = 0; i < EXTENDED_CAPABILITIES_MAX && offset !== 0; i++) {
      const header = this.read(offset, 4);
      if (header === 0 || header === 0xffff_ffff) return 0;
      if ((header & 0xffff) === id) return offset;
      offset = header >>> 20;
    }
    return 0;
  }
}

/** Gives out addresses, aligned to their own size. */
class Allocator {
  private next: number;
  private readonly end: number;

  constructor(range: MemoryRange) {
    this.next = range.base;
    this.end = range.base + range.bytes;
  }

  /** The first address of `bytes` bytes, or -1 if there is no room. */
  take(bytes: number, alignment = bytes): number {
    const base = Math.ceil(this.next / alignment) * alignment;
    if (base + bytes > this.end) return -1;
    this.next = base + bytes;
    return base;
  }

  align(alignment: number): number {
    this.next = Math.ceil(this.next / alignment) * alignment;
    return this.next;
  }
}

/** Sizes and places the BARs at `offset`; `copies` apertures lie behind each other (virtual functions). */
function placeBars(config: Config, offset: number, count: number, copies: number, allocator: Allocator) {
  const placed: PlacedBar[] = [];
  for (let index = 0; index < count; index++) {
    const at32 = offset + index * 4;
    config.write(at32, 4, 0xffff_ffff);
    const probe = config.read(at32, 4);
    if (probe === 0 || (probe & BAR_FLAG_IO) !== 0) {
      config.write(at32, 4, 0);
      continue;
    }
    const wide = (probe & BAR_FLAG_64) !== 0;
    const bytes = (~(probe & ~BAR_FLAGS_MEMORY) >>> 0) + 1;
    const base = allocator.take(bytes * copies, bytes);
    if (base >= 0) placed.push({ index, base, bytes });
    config.write(at32, 4, Math.max(0, base) % 2 ** 32);
    if (wide) config.write(at32 + 4, 4, Math.floor(Math.max(0, base) / 2 ** 32));
    if (wide) index++;
  }
  return placed;
}

/**
 * Numbers buses, places BARs in `range`, opens windows, and enables memory decode and bus mastering everywhere. SR-IOV
 * BARs get their room, but virtual functions stay off. Functions are returned in scan order.
 */
export function enumerate(complex: RootComplex, range: MemoryRange): readonly FoundFunction[] {
  const found: FoundFunction[] = [];
  const allocator = new Allocator(range);
  let nextBus = 1;
  for (let devfn = 0; devfn < 256; devfn++) {
    const config = new Config(complex, 0, devfn);
    const seen = identify(config);
    if (seen === undefined) continue;
    if (!seen.bridge) {
      found.push({ ...seen, bars: placeBars(config, BAR_OFFSET, BARS_MAX, 1, allocator) });
      enable(config);
      continue;
    }
    const secondary = nextBus;
    nextBus += BUSES_PER_PORT;
    config.write(bridgeHeader.PRIMARY_BUS.offset, 1, 0);
    config.write(bridgeHeader.SECONDARY_BUS.offset, 1, secondary);
    config.write(bridgeHeader.SUBORDINATE_BUS.offset, 1, nextBus - 1);
    found.push({ ...seen, bars: [] });
    const first = allocator.align(WINDOW_BYTES);
    found.push(...enumerateBelow(complex, config, secondary, allocator));
    openWindow(config, first, allocator.align(WINDOW_BYTES));
    enable(config);
  }
  return found;
}

/** The device behind a port: its functions, found one after the other or by ARI's next-function chain. */
function enumerateBelow(
  complex: RootComplex,
  port: Config,
  bus: number,
  allocator: Allocator,
): FoundFunction[] {
  const found: FoundFunction[] = [];
  for (let devfn = 0; devfn < 8; devfn++) {
    const config = new Config(complex, bus, devfn);
    const seen = identify(config);
    if (seen === undefined) continue;
    const ari = config.extendedCapability(EXT_ID_ARI) !== 0 && enableAriForwarding(port);
    const bars = placeBars(config, BAR_OFFSET, BARS_MAX, 1, allocator);
    const sriovAt = config.extendedCapability(EXT_ID_SRIOV);
    if (sriovAt !== 0) prepareSriov(config, sriovAt, ari, allocator);
    enable(config);
    found.push({ ...seen, bars });
  }
  return found;
}

/** Turns on `count` virtual functions of the function at `bus` and `devfn`. Returns their routing ids. */
export function enableVirtualFunctions(
  complex: RootComplex,
  bus: number,
  devfn: number,
  count: number,
): readonly number[] {
  const config = new Config(complex, bus, devfn);
  const start = config.extendedCapability(EXT_ID_SRIOV);
  if (start === 0) return [];
  const at16 = (register: { readonly offset: number }): number => start + register.offset - SRIOV_AT;
  const control = config.read(at16(sriov.CONTROL), 2);
  const { VF_ENABLE, VF_MEMORY } = sriov.CONTROL.fields;
  config.write(at16(sriov.CONTROL), 2, control & ~(VF_ENABLE.mask | VF_MEMORY.mask));
  config.write(at16(sriov.NUM_VFS), 2, count);
  config.write(at16(sriov.CONTROL), 2, control | VF_ENABLE.mask | VF_MEMORY.mask);
  const offset = config.read(at16(sriov.FIRST_VF_OFFSET), 2);
  const stride = config.read(at16(sriov.VF_STRIDE), 2);
  return Array.from({ length: count }, (_, n) => (bus << 8) + devfn + offset + n * stride);
}

function identify(config: Config): Omit<FoundFunction, 'bars'> | undefined {
  const vendorId = config.read(endpointHeader.VENDOR_ID.offset, 2);
  if (vendorId === ABSENT) return undefined;
  const { LAYOUT } = endpointHeader.HEADER_TYPE.fields;
  return {
    bus: config.bus,
    devfn: config.devfn,
    vendorId,
    deviceId: config.read(endpointHeader.DEVICE_ID.offset, 2),
    bridge: LAYOUT.get(config.read(endpointHeader.HEADER_TYPE.offset, 1)) === BRIDGE_HEADER,
  };
}

function enable(config: Config): void {
  const { MEMORY, MASTER } = endpointHeader.COMMAND.fields;
  const command = config.read(endpointHeader.COMMAND.offset, 2);
  config.write(endpointHeader.COMMAND.offset, 2, command | MEMORY.mask | MASTER.mask);
}

function openWindow(port: Config, base: number, end: number): void {
  // Base above limit closes a window. Ours lies where 64-bit BARs may, in the prefetchable one.
  port.write(bridgeHeader.MEMORY_BASE.offset, 2, 0xfff0);
  port.write(bridgeHeader.MEMORY_LIMIT.offset, 2, 0);
  const [first, last] = base < end ? [base, end - WINDOW_BYTES] : [WINDOW_BYTES, 0];
  const field = (address: number): number => (Math.floor(address / WINDOW_BYTES) % 0x1000) << 4;
  port.write(bridgeHeader.PREFETCHABLE_BASE.offset, 2, field(first));
  port.write(bridgeHeader.PREFETCHABLE_LIMIT.offset, 2, field(last));
  port.write(bridgeHeader.PREFETCHABLE_BASE_UPPER.offset, 4, Math.floor(first / 2 ** 32));
  port.write(bridgeHeader.PREFETCHABLE_LIMIT_UPPER.offset, 4, Math.floor(last / 2 ** 32));
}

/**
 * Turns on all that the port at `bus` and `devfn` can do to keep what is behind it apart, as an operating system with an
 * IOMMU does before it gives functions away. 6.12
 */
export function enableAccessControl(complex: RootComplex, bus: number, devfn: number): void {
  const port = new Config(complex, bus, devfn);
  const start = port.extendedCapability(EXT_ID_ACS);
  if (start === 0) return;
  const offset = (register: { readonly offset: number }): number => start + register.offset - ACS_AT;
  port.write(offset(acs.CONTROL), 2, port.read(offset(acs.CAPABILITIES), 2));
}

function enableAriForwarding(port: Config): boolean {
  const start = port.capability(CAP_ID_PCIE);
  if (start === 0) return false;
  const offset = (register: { readonly offset: number }): number => start + register.offset - PCIE_AT;
  const capable = pcie.DEVICE_CAPABILITIES_2.fields.ARI_FORWARDING;
  if (capable.get(port.read(offset(pcie.DEVICE_CAPABILITIES_2), 4)) === 0) return false;
  const control = port.read(offset(pcie.DEVICE_CONTROL_2), 2);
  port.write(offset(pcie.DEVICE_CONTROL_2), 2, control | pcie.DEVICE_CONTROL_2.fields.ARI_FORWARDING.mask);
  return true;
}

function prepareSriov(config: Config, start: number, ari: boolean, allocator: Allocator): void {
  const offset = (register: { readonly offset: number }): number => start + register.offset - SRIOV_AT;
  const { ARI_HIERARCHY } = sriov.CONTROL.fields;
  config.write(offset(sriov.CONTROL), 2, ari ? ARI_HIERARCHY.mask : 0);
  config.write(offset(sriov.SYSTEM_PAGE_SIZE), 4, 1);
  const total = config.read(offset(sriov.TOTAL_VFS), 2);
  placeBars(config, start + VF_BAR_OFFSET, BARS_MAX, total, allocator);
}
