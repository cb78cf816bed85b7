/** A small machine around one unit: host memory with a bump allocator, table builders, a recorder of interrupts. */

import { hpa } from '../../base/units.js';
import { HostMemory, HostRegion } from '../../iommu/host-memory.js';
import { reg, type VtdOptions } from '../../iommu/registers.js';
import { BLOCKED, INTERRUPT, TRANSLATED, VtdUnit } from '../../iommu/unit.js';

export const READ = 1;
export const WRITE = 2;
export const EXECUTE = 4;
export const PRIVILEGED = 8;

export const TE = 2 ** 31;
export const SRTP = 2 ** 30;
export const QIE = 2 ** 26;
export const IRE = 2 ** 25;
export const SIRTP = 2 ** 24;
export const CFI = 2 ** 23;

/** Second-stage entry bits. */
export const R = 1n;
export const W = 2n;
export const RW = 3n;
export const PS = 0x80n;
export const A2 = 0x100n;
export const D2 = 0x200n;
/** First-stage entry bits. */
export const P = 1n;
export const FW = 2n;
export const US = 4n;
export const A1 = 0x20n;
export const D1 = 0x40n;

export interface PasidSpec {
  readonly type: 1 | 2 | 3 | 4;
  readonly domain?: number;
  readonly second?: number;
  readonly levels?: number;
  readonly first?: number;
  readonly firstLevels?: 4 | 5;
  readonly track?: boolean;
  readonly snooped?: boolean;
  readonly disabled?: boolean;
  readonly writeProtect?: boolean;
  readonly noExecute?: boolean;
  readonly execute?: boolean;
  readonly supervisor?: boolean;
}

export class World {
  readonly buffer: SharedArrayBuffer;
  readonly view: DataView;
  readonly memory: HostMemory;
  readonly unit: VtdUnit;
  readonly interrupts: (readonly (number | string | boolean)[])[] = [];
  readonly base: number;
  private next: number;

  /** PDTS: PASID directories of 2^(code + 7) entries; 7 holds all PASIDs. */
  private readonly directoryCode: number;

  constructor(options: VtdOptions & { bytes?: number; base?: number; directoryCode?: number } = {}) {
    const { bytes = 8 << 20, base = 0x10_0000, directoryCode = 7, ...rest } = options;
    this.directoryCode = directoryCode;
    this.base = base;
    this.buffer = new SharedArrayBuffer(bytes);
    this.view = new DataView(this.buffer);
    this.memory = new HostMemory([new HostRegion(hpa(base), this.buffer)]);
    this.next = base;
    const { interrupts } = this;
    this.unit = new VtdUnit(
      'iommu0',
      {
        memory: this.memory,
        interrupts: {
          message: (low, high, data) => interrupts.push(['message', low, high, data]),
          remapped: (...args) => interrupts.push(['remapped', ...args]),
          notify: (...args) => interrupts.push(['notify', ...args]),
        },
        deviceTlb: {
          invalidate: (...args) => {
            this.deviceCalls.push(args);
            return this.deviceAnswers;
          },
          respond: (...args) => {
            this.deviceCalls.push(args);
          },
        },
      },
      rest,
    );
  }

  readonly deviceCalls: number[][] = [];
  deviceAnswers = true;

  /** A zeroed, aligned block of host memory. */
  allocate(bytes = 4096, align = 4096): number {
    const at = Math.ceil(this.next / align) * align;
    this.next = at + bytes;
    if (this.next > this.base + this.buffer.byteLength) throw new Error('world is full');
    return at;
  }

  get64(address: number): bigint {
    return this.view.getBigUint64(address - this.base, true);
  }

  set64(address: number, value: bigint): void {
    this.view.setBigUint64(address - this.base, value, true);
  }

  get32(address: number): number {
    return this.view.getUint32(address - this.base, true);
  }

  /** Address of the entry for `iova` at `level`, building the tables above it with `flags` as needed. */
  entryAt(root: number, levels: number, iova: bigint, level: number, flags: bigint): number {
    let table = root;
    for (let l = levels; ; l--) {
      const address = table + Number((iova >> BigInt(12 + 9 * (l - 1))) & 511n) * 8;
      if (l === level) return address;
      let entry = this.get64(address);
      if ((entry & 3n) === 0n) {
        entry = BigInt(this.allocate()) | flags;
        this.set64(address, entry);
      }
      table = Number(entry & 0xf_ffff_ffff_f000n);
    }
  }

  /** Maps one page of 2^(12+9(level-1)) bytes in a second-stage table; returns the address of its leaf entry. */
  mapSecond(root: number, levels: number, iova: bigint, target: bigint, flags = RW, level = 1): number {
    const address = this.entryAt(root, levels, iova, level, RW);
    this.set64(address, target | flags | (level > 1 ? PS : 0n));
    return address;
  }

  mapFirst(
    root: number,
    levels: number,
    iova: bigint,
    target: bigint,
    flags = P | FW | US,
    level = 1,
  ): number {
    const address = this.entryAt(root, levels, iova, level, P | FW | US);
    this.set64(address, target | flags | (level > 1 ? PS : 0n));
    return address;
  }

  write32(offset: number, value: number): void {
    this.unit.write(offset, 4, value);
  }

  write64(offset: number, value: bigint): void {
    this.unit.write(offset, 8, Number(value & 0xffff_ffffn), Number(value >> 32n));
  }

  read64(offset: number): bigint {
    const low = this.unit.read(offset, 8);
    return (BigInt(this.unit.registers.high) << 32n) | BigInt(low);
  }

  get fsts(): number {
    return this.unit.read(reg.FSTS.offset, 4);
  }

  /** GSTS level bits that the next command keeps. */
  private levels = 0;

  command(bits: number, clear = 0): void {
    this.levels = (this.levels & ~clear) | (bits & (TE | QIE | IRE | CFI));
    this.write32(reg.GCMD.offset, (this.levels | bits) >>> 0);
  }

  root = 0;
  scalable = false;

  /** Sets an empty root table. */
  start(scalable: boolean): void {
    this.root = this.allocate();
    this.scalable = scalable;
    this.write64(reg.RTADDR.offset, BigInt(this.root) | (scalable ? 0x400n : 0n));
    this.command(SRTP);
    this.command(TE);
  }

  contextAt(source: number): number {
    const bus = source >> 8;
    const devfn = source & 0xff;
    const rootEntry = this.root + bus * 16 + (this.scalable && devfn >= 0x80 ? 8 : 0);
    let entry = this.get64(rootEntry);
    if ((entry & 1n) === 0n) {
      entry = BigInt(this.allocate()) | 1n;
      this.set64(rootEntry, entry);
    }
    const table = Number(entry & ~0xfffn);
    return this.scalable ? table + (devfn & 0x7f) * 32 : table + devfn * 16;
  }

  /** Legacy context entry; type 0 translated, 2 pass-through. */
  legacyContext(source: number, table: number, levels: number, domain = 1, type = 0n, low = 0n): void {
    const at = this.contextAt(source);
    this.set64(at + 8, BigInt(levels - 2) | (BigInt(domain) << 8n));
    this.set64(at, BigInt(table) | (type << 2n) | 1n | low);
  }

  /** Address of the PASID entry, with directory and table built as needed. */
  pasidAt(source: number, pasid: number): number {
    const context = this.contextAt(source);
    if ((this.get64(context) & 1n) === 0n) {
      this.set64(context + 8, 0n);
      const code = this.directoryCode;
      // Present, PASIDE, PDTS.
      this.set64(context, BigInt(this.allocate(2 ** (code + 7) * 8)) | 9n | (BigInt(code) << 9n));
    }
    const directory = Number(this.get64(context) & ~0xfffn);
    const slot = directory + (pasid >> 6) * 8;
    if ((this.get64(slot) & 1n) === 0n) this.set64(slot, BigInt(this.allocate()) | 1n);
    return Number(this.get64(slot) & ~0xfffn) + (pasid & 63) * 64;
  }

  setPasid(source: number, pasid: number, spec: PasidSpec): number {
    const at = this.pasidAt(source, pasid);
    const flag = (on: boolean | undefined, bit: number): bigint => (on ? 1n << BigInt(bit) : 0n);
    this.set64(at + 8, BigInt(spec.domain ?? 1) | flag(spec.snooped ?? true, 23));
    this.set64(
      at + 16,
      BigInt(spec.first ?? 0) |
        flag(spec.supervisor, 0) |
        flag(spec.execute, 1) |
        (spec.firstLevels === 5 ? 4n : 0n) |
        flag(spec.writeProtect, 4) |
        flag(spec.noExecute, 5),
    );
    this.set64(
      at,
      BigInt(spec.second ?? 0) |
        (BigInt((spec.levels ?? 4) - 2) << 2n) |
        (BigInt(spec.type) << 6n) |
        flag(spec.track, 9) |
        flag(spec.disabled, 1) |
        1n,
    );
    return at;
  }

  /** A request without PASID: the host address, 'interrupt', or undefined if it was blocked. */
  dma(source: number, iova: bigint, access: number, pasid = -1): bigint | 'interrupt' | undefined {
    const low = Number(BigInt.asIntN(32, iova));
    const high = Number(BigInt.asIntN(32, iova >> 32n));
    const outcome = this.unit.translate(source, pasid, low, high, access);
    if (outcome === TRANSLATED) return BigInt(this.unit.result[0]!);
    if (outcome === INTERRUPT) return 'interrupt';
    if (outcome !== BLOCKED) throw new Error(`outcome ${outcome}`);
    return undefined;
  }

  /** The pending fault records, as software reads them; clears them. */
  takeFaults(): {
    reason: number;
    source: number;
    page: bigint;
    write: boolean;
    pasid: number | undefined;
  }[] {
    const taken = [];
    for (let i = 0; i < 8; i++) {
      const low = this.read64(reg.FRCD_LOW.offset + 16 * i);
      const high = this.read64(reg.FRCD_HIGH.offset + 16 * i);
      if (high >> 63n === 0n) continue;
      taken.push({
        reason: Number((high >> 32n) & 0xffn),
        source: Number(high & 0xffffn),
        page: low,
        write: ((high >> 62n) & 1n) === 0n,
        pasid: (high >> 31n) & 1n ? Number((high >> 40n) & 0xf_ffffn) : undefined,
      });
      this.write32(reg.FRCD_HIGH.offset + 16 * i + 4, 2 ** 31);
    }
    this.write32(reg.FSTS.offset, 1);
    return taken;
  }

  queueBase = 0;
  wide = false;
  private tail = 0;
  private statusAddress = 0;
  private ticket = 0;

  startQueue(wide = false): void {
    this.queueBase = this.allocate();
    this.statusAddress = this.allocate(64, 64);
    this.wide = wide;
    this.tail = 0;
    this.write64(reg.IQT.offset, 0n);
    this.write64(reg.IQA.offset, BigInt(this.queueBase) | (wide ? 0x800n : 0n));
    this.command(QIE);
  }

  /** Queues descriptors (pairs of quadwords), followed by a wait; true if the wait's status was written. */
  submit(...descriptors: (readonly [bigint, bigint])[]): boolean {
    const ticket = ++this.ticket;
    const bytes = this.wide ? 32 : 16;
    const wait = [5n | 0x20n | (BigInt(ticket) << 32n), BigInt(this.statusAddress)] as const;
    for (const [low, high] of [...descriptors, wait]) {
      this.set64(this.queueBase + this.tail, low);
      this.set64(this.queueBase + this.tail + 8, high);
      if (this.wide) {
        this.set64(this.queueBase + this.tail + 16, 0n);
        this.set64(this.queueBase + this.tail + 24, 0n);
      }
      this.tail = (this.tail + bytes) % 4096;
    }
    this.write64(reg.IQT.offset, BigInt(this.tail));
    return this.get32(this.statusAddress) === ticket;
  }
}

/** Descriptors. */
export const contextGlobal = [1n | (1n << 4n), 0n] as const;
export const contextDomain = (domain: number) => [1n | (2n << 4n) | (BigInt(domain) << 16n), 0n] as const;
export const contextDevice = (source: number, domain: number, mask = 0) =>
  [1n | (3n << 4n) | (BigInt(domain) << 16n) | (BigInt(source) << 32n) | (BigInt(mask) << 48n), 0n] as const;
export const iotlbGlobal = [2n | (1n << 4n) | 0xc0n, 0n] as const;
export const iotlbDomain = (domain: number) =>
  [2n | (2n << 4n) | 0xc0n | (BigInt(domain) << 16n), 0n] as const;
export const iotlbPages = (domain: number, address: bigint, mask: number, hint = false) =>
  [2n | (3n << 4n) | 0xc0n | (BigInt(domain) << 16n), address | BigInt(mask) | (hint ? 0x40n : 0n)] as const;
export const pasidIotlb = (domain: number, pasid: number) =>
  [6n | (2n << 4n) | (BigInt(domain) << 16n) | (BigInt(pasid) << 32n), 0n] as const;
export const pasidIotlbPages = (domain: number, pasid: number, address: bigint, mask: number) =>
  [6n | (3n << 4n) | (BigInt(domain) << 16n) | (BigInt(pasid) << 32n), address | BigInt(mask)] as const;
export const pasidCacheDomain = (domain: number) => [7n | (BigInt(domain) << 16n), 0n] as const;
export const pasidCachePasid = (domain: number, pasid: number) =>
  [7n | (1n << 4n) | (BigInt(domain) << 16n) | (BigInt(pasid) << 32n), 0n] as const;
export const pasidCacheGlobal = [7n | (3n << 4n), 0n] as const;
export const interruptEntryGlobal = [4n, 0n] as const;
export const interruptEntryIndex = (index: number, mask = 0) =>
  [4n | 0x10n | (BigInt(mask) << 27n) | (BigInt(index) << 32n), 0n] as const;
