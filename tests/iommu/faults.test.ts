import { describe, expect, it } from 'vitest';
import { FAULT } from '../../iommu/fault-reasons.js';
import { reg } from '../../iommu/registers.js';
import { iotlbGlobal, READ, TE, World, WRITE } from './world.js';

const PFO = 1;
const PPF = 2;

/** Every source has an empty table, so that every request faults. */
function world(options: ConstructorParameters<typeof World>[0] = {}) {
  const w = new World(options);
  w.start(false);
  const table = w.allocate();
  for (let source = 0x100; source < 0x140; source++) w.legacyContext(source, table, 4);
  w.write32(reg.FEADDR.offset, 0xfee0_2000);
  w.write32(reg.FEDATA.offset, 0x55);
  w.write32(reg.FECTL.offset, 0);
  return w;
}

const clearRecord = (w: World, i: number): void => w.write32(reg.FRCD_HIGH.offset + 16 * i + 4, 2 ** 31);

describe('fault recording', () => {
  it('says who did what where, and sends one event until software has caught up', () => {
    const w = world();
    w.dma(0x101, 0x1234_5678n, WRITE);
    w.dma(0x102, 0xff_ffff_f123n, READ);
    w.dma(0x103, 0x3000n, READ | WRITE);
    expect(w.interrupts).toEqual([['message', 0xfee0_2000, 0, 0x55]]);
    expect(w.fsts).toBe(PPF);
    expect(w.takeFaults()).toEqual([
      { reason: FAULT.WRITE_PERMISSION, source: 0x101, page: 0x1234_5000n, write: true, pasid: undefined },
      { reason: FAULT.READ_PERMISSION, source: 0x102, page: 0xff_ffff_f000n, write: false, pasid: undefined },
      { reason: FAULT.WRITE_PERMISSION, source: 0x103, page: 0x3000n, write: false, pasid: undefined },
    ]);
    expect(w.fsts & (PPF | PFO)).toBe(0);
    w.dma(0x101, 0x1000n, WRITE);
    expect(w.interrupts.length).toBe(2);
    expect((w.fsts >>> 8) & 0xff).toBe(3);
  });

  it('collapses repeated faults of one source while its record is pending', () => {
    const w = world();
    for (let i = 0; i < 1000; i++) w.dma(0x101, BigInt(i) << 12n, WRITE);
    expect(w.takeFaults().length).toBe(1);
  });

  it('overflows once all records are taken, records nothing until that is cleared, and then goes on', () => {
    const w = world();
    for (let i = 0; i < 12; i++) w.dma(0x100 + i, 0x1000n, WRITE);
    expect(w.fsts & (PFO | PPF)).toBe(PFO | PPF);
    expect(w.interrupts.length).toBe(1);
    clearRecord(w, 0);
    w.dma(0x120, 0x1000n, WRITE);
    expect(w.read64(reg.FRCD_HIGH.offset) >> 63n).toBe(0n);
    w.write32(reg.FSTS.offset, PFO);
    w.dma(0x120, 0x1000n, WRITE);
    expect(w.read64(reg.FRCD_HIGH.offset) & 0xffffn).toBe(0x120n);
    expect(w.fsts & PPF).toBe(PPF);
  });

  it('keeps the pending bit until every record is cleared', () => {
    const w = world();
    w.dma(0x101, 0x1000n, WRITE);
    w.dma(0x102, 0x1000n, WRITE);
    clearRecord(w, 0);
    expect(w.fsts & PPF).toBe(PPF);
    clearRecord(w, 1);
    expect(w.fsts & PPF).toBe(0);
  });

  it('holds a masked event back, sends it on unmasking, and drops it if software was faster', () => {
    const w = world();
    w.write32(reg.FECTL.offset, 2 ** 31);
    w.dma(0x101, 0x1000n, WRITE);
    expect(w.interrupts).toEqual([]);
    expect(w.unit.read(reg.FECTL.offset, 4)).toBe(0xc000_0000);
    w.write32(reg.FECTL.offset, 0);
    expect(w.interrupts.length).toBe(1);
    expect(w.unit.read(reg.FECTL.offset, 4)).toBe(0);
    w.takeFaults();
    w.write32(reg.FECTL.offset, 2 ** 31);
    w.dma(0x101, 0x1000n, WRITE);
    w.takeFaults();
    w.write32(reg.FECTL.offset, 0);
    expect(w.interrupts.length).toBe(1);
  });

  it('sends no second event for an invalidation error while a fault is pending', () => {
    const w = world();
    w.startQueue();
    w.dma(0x101, 0x1000n, WRITE);
    w.submit([0n, 0n]);
    expect(w.interrupts.length).toBe(1);
    w.takeFaults();
    w.write32(reg.FSTS.offset, 0x10);
    expect(w.submit(iotlbGlobal)).toBe(false);
    expect(w.interrupts.length).toBe(2);
  });

  it('leaves out qualified faults where fault processing is disabled, and still blocks', () => {
    const w = world();
    w.legacyContext(0x150, w.allocate(), 4, 1, 0n, 2n);
    expect(w.dma(0x150, 0x1000n, WRITE)).toBeUndefined();
    expect(w.takeFaults()).toEqual([]);
    w.set64(w.contextAt(0x151), 2n);
    expect(w.dma(0x151, 0x1000n, WRITE)).toBeUndefined();
    expect(w.takeFaults()).toEqual([]);
    w.set64(w.contextAt(0x152), 0n);
    expect(w.dma(0x152, 0x1000n, WRITE)).toBeUndefined();
    expect(w.takeFaults()[0]?.reason).toBe(FAULT.CONTEXT_NOT_PRESENT);
  });

  it('leaves them out whichever of context, directory and PASID entry says so', () => {
    const w = new World();
    w.start(true);
    const sources = [0x100, 0x101, 0x102, 0x103];
    for (const source of sources) w.setPasid(source, 0, { type: 2, second: w.allocate(), levels: 4 });
    const quiet = [w.contextAt(0x100), Number(w.get64(w.contextAt(0x101)) & ~0xfffn), w.pasidAt(0x102, 0)];
    for (const at of quiet) w.set64(at, w.get64(at) | 2n);
    for (const source of sources) expect(w.dma(source, 0x1000n, READ)).toBeUndefined();
    expect(w.takeFaults().map(({ source }) => source)).toEqual([0x103]);
  });

  it('starts again at record 0 when translation is turned off', () => {
    const w = world();
    w.dma(0x101, 0x1000n, WRITE);
    w.takeFaults();
    w.command(0, TE);
    w.command(TE);
    w.dma(0x101, 0x1000n, WRITE);
    expect(w.read64(reg.FRCD_HIGH.offset) >> 63n).toBe(1n);
  });
});

const OUTSIDE = 0x7_0000_0000n;
const S = 0x0310;

describe('hostile tables get the architected fault', () => {
  const cases: [string, number, boolean, (w: World, table: number) => void][] = [
    ['root table outside memory', FAULT.ROOT_ACCESS, false, (w) => setRoot(w, OUTSIDE)],
    ['absent root entry', FAULT.ROOT_NOT_PRESENT, false, (w) => w.set64(w.root + 3 * 16, 0n)],
    ['reserved root bit', FAULT.ROOT_RESERVED, false, (w) => w.set64(w.root + 3 * 16 + 8, 1n)],
    [
      'context table outside memory',
      FAULT.CONTEXT_ACCESS,
      false,
      (w) => w.set64(w.root + 3 * 16, OUTSIDE | 1n),
    ],
    ['absent context', FAULT.CONTEXT_NOT_PRESENT, false, (w) => w.set64(w.contextAt(S), 0n)],
    ['reserved context bit', FAULT.CONTEXT_RESERVED, false, (w) => or(w, w.contextAt(S), 0x10n)],
    [
      'reserved context bit, high',
      FAULT.CONTEXT_RESERVED,
      false,
      (w) => or(w, w.contextAt(S) + 8, 1n << 40n),
    ],
    [
      'context address beyond the width',
      FAULT.CONTEXT_RESERVED,
      false,
      (w) => or(w, w.contextAt(S), 1n << 60n),
    ],
    ['translation type 3', FAULT.CONTEXT_INVALID, false, (w) => or(w, w.contextAt(S), 0xcn)],
    ['device TLB where there is none', FAULT.CONTEXT_INVALID, false, (w) => or(w, w.contextAt(S), 4n)],
    ['width code 0', FAULT.CONTEXT_INVALID, false, (w) => w.set64(w.contextAt(S) + 8, 0x100n)],
    ['width code 4', FAULT.CONTEXT_INVALID, false, (w) => w.set64(w.contextAt(S) + 8, 0x104n)],
    ['top table outside memory', FAULT.CONTEXT_INVALID, false, (w) => w.legacyContext(S, Number(OUTSIDE), 4)],
    ['table outside memory', FAULT.PAGING_ENTRY_ACCESS, false, (w, t) => w.set64(t, OUTSIDE | 3n)],
    ['read-only parent', FAULT.WRITE_PERMISSION, false, (w, t) => w.set64(t, w.get64(t) & ~2n)],
    ['snoop bit in a parent', FAULT.PAGING_ENTRY_RESERVED, false, (w, t) => or(w, t, 0x800n)],
    ['large page at level 4', FAULT.PAGING_ENTRY_RESERVED, false, (w, t) => or(w, t, 0x80n)],
    ['misaligned 2 MiB page', FAULT.PAGING_ENTRY_RESERVED, false, (w, t) => large(w, t, 2, 0x1000n)],
    ['misaligned 1 GiB page', FAULT.PAGING_ENTRY_RESERVED, false, (w, t) => large(w, t, 3, 0x20_0000n)],
    ['scalable root entry absent', FAULT.SM_ROOT_NOT_PRESENT, true, (w) => w.set64(w.root + 3 * 16, 0n)],
    ['scalable root outside memory', FAULT.SM_ROOT_ACCESS, true, (w) => setRoot(w, OUTSIDE | 0x400n)],
    ['scalable root reserved', FAULT.SM_ROOT_RESERVED, true, (w) => or(w, w.root + 3 * 16, 2n)],
    ['mode 2', FAULT.SM_ROOT_ADDRESS_INVALID, true, (w) => setRoot(w, BigInt(w.root) | 0x800n)],
    ['scalable context absent', FAULT.SM_CONTEXT_NOT_PRESENT, true, (w) => w.set64(w.contextAt(S), 0n)],
    ['scalable context reserved', FAULT.SM_CONTEXT_RESERVED, true, (w) => or(w, w.contextAt(S) + 16, 1n)],
    ['scalable context with device TLB', FAULT.SM_CONTEXT_RESERVED, true, (w) => or(w, w.contextAt(S), 4n)],
    [
      'scalable context table outside',
      FAULT.SM_CONTEXT_ACCESS,
      true,
      (w) => w.set64(w.root + 48, OUTSIDE | 1n),
    ],
    ['RID_PASID beyond the directory', FAULT.SM_RID_PASID, true, (w) => smallDirectory(w)],
    [
      'directory outside memory',
      FAULT.PASID_DIRECTORY_ACCESS,
      true,
      (w) => w.set64(w.contextAt(S), OUTSIDE | 1n),
    ],
    ['directory entry absent', FAULT.PASID_DIRECTORY_NOT_PRESENT, true, (w) => w.set64(directory(w), 0n)],
    ['directory entry reserved', FAULT.PASID_DIRECTORY_RESERVED, true, (w) => or(w, directory(w), 4n)],
    [
      'PASID table outside memory',
      FAULT.PASID_ENTRY_ACCESS,
      true,
      (w) => w.set64(directory(w), OUTSIDE | 1n),
    ],
    ['PASID entry absent', FAULT.PASID_ENTRY_NOT_PRESENT, true, (w) => w.set64(w.pasidAt(S, 0), 0n)],
    ['PASID entry reserved', FAULT.PASID_ENTRY_RESERVED, true, (w) => or(w, w.pasidAt(S, 0), 0x20n)],
    ['PASID entry reserved, last', FAULT.PASID_ENTRY_RESERVED, true, (w) => or(w, w.pasidAt(S, 0) + 56, 1n)],
    ['PASID entry of type 0', FAULT.PASID_ENTRY_INVALID, true, (w) => type(w, 0)],
    ['PASID entry of type 5', FAULT.PASID_ENTRY_INVALID, true, (w) => type(w, 5)],
    ['PASID entry of width 0', FAULT.PASID_ENTRY_INVALID, true, (w) => width(w, 0)],
    ['second-stage top outside', FAULT.SS_TOP_ACCESS, true, (w) => second(w, Number(OUTSIDE))],
    ['second-stage table outside', FAULT.SS_ENTRY_ACCESS, true, (w, t) => w.set64(t, OUTSIDE | 3n)],
    ['second-stage entry reserved', FAULT.SS_ENTRY_RESERVED, true, (w, t) => or(w, t, 0x800n)],
    ['second-stage entry absent', FAULT.SS_PERMISSION, true, (w, t) => w.set64(t, 0n)],
  ];

  it.each(cases)('%s', (_what, reason, scalable, damage) => {
    const w = new World({ hostAddressWidth: 46 });
    w.start(scalable);
    const table = w.allocate();
    if (scalable) w.setPasid(S, 0, { type: 2, second: table, levels: 4 });
    else w.legacyContext(S, table, 4);
    w.mapSecond(table, 4, 0x1000n, 0x2000n);
    damage(w, table);
    expect(w.dma(S, 0x1000n, WRITE)).toBeUndefined();
    expect(w.takeFaults()).toEqual([{ reason, source: S, page: 0x1000n, write: true, pasid: undefined }]);
  });

  it('control: the undamaged tables translate', () => {
    for (const scalable of [false, true]) {
      const w = new World({ hostAddressWidth: 46 });
      w.start(scalable);
      const table = w.allocate();
      if (scalable) w.setPasid(S, 0, { type: 2, second: table, levels: 4 });
      else w.legacyContext(S, table, 4);
      w.mapSecond(table, 4, 0x1000n, 0x2000n);
      expect(w.dma(S, 0x1000n, WRITE)).toBe(0x2000n);
    }
  });

  it('PASID requests: in legacy mode, where disabled, and beyond the directory', () => {
    const legacy = new World();
    legacy.start(false);
    legacy.legacyContext(S, legacy.allocate(), 4);
    legacy.dma(S, 0x1000n, READ, 4);
    expect(legacy.takeFaults()).toMatchObject([{ reason: FAULT.SM_PASID_IN_LEGACY_MODE, pasid: 4 }]);
    const w = new World();
    w.start(true);
    w.setPasid(S, 0, { type: 2, second: w.allocate(), levels: 4 });
    const context = w.contextAt(S);
    w.set64(context, w.get64(context) & ~8n);
    w.dma(S, 0x1000n, READ, 0xf_ffff);
    expect(w.takeFaults()).toMatchObject([{ reason: FAULT.SM_PASID_DISABLED, pasid: 0xf_ffff }]);
    w.set64(w.contextAt(S + 1), (w.get64(context) & ~0xe00n) | 8n);
    w.dma(S + 1, 0x1000n, READ, 0x2000);
    expect(w.takeFaults()).toMatchObject([{ reason: FAULT.SM_PASID_TOO_LARGE, pasid: 0x2000 }]);
  });

  it('domain ids beyond the width that the unit has', () => {
    for (const scalable of [false, true]) {
      const w = new World({ domainIdBits: 8 });
      w.start(scalable);
      const bind = (source: number, domain: number): void => {
        const table = w.allocate();
        w.mapSecond(table, 4, 0x1000n, 0x2000n);
        if (scalable) w.setPasid(source, 0, { type: 2, second: table, levels: 4, domain });
        else w.legacyContext(source, table, 4, domain);
      };
      bind(S, 255);
      bind(S + 1, 256);
      expect(w.dma(S, 0x1000n, READ)).toBe(0x2000n);
      expect(w.dma(S + 1, 0x1000n, READ)).toBeUndefined();
      expect(w.takeFaults()[0]?.reason).toBe(scalable ? FAULT.PASID_ENTRY_RESERVED : FAULT.CONTEXT_RESERVED);
    }
  });

  it('a table that points to itself ends after as many levels as there are', () => {
    const w = new World();
    w.start(false);
    const table = w.allocate();
    w.legacyContext(S, table, 5);
    w.set64(table, BigInt(table) | 3n);
    expect(w.dma(S, 0x123n, READ)).toBe(BigInt(table) + 0x123n);
  });

  it('the abort mode blocks without a record', () => {
    const w = new World();
    w.start(true);
    setRoot(w, BigInt(w.root) | 0xc00n);
    expect(w.dma(S, 0x1000n, READ)).toBeUndefined();
    expect(w.takeFaults()).toEqual([]);
  });

  it('a unit without scalable mode refuses it', () => {
    const w = new World({ scalableMode: false });
    w.start(true);
    expect(w.dma(S, 0x1000n, READ)).toBeUndefined();
    expect(w.takeFaults()[0]?.reason).toBe(FAULT.SM_ROOT_ADDRESS_INVALID);
  });
});

const or = (w: World, at: number, bits: bigint): void => w.set64(at, w.get64(at) | bits);
function setRoot(w: World, value: bigint): void {
  w.write64(reg.RTADDR.offset, value);
  w.command(2 ** 30);
}
const directory = (w: World): number => Number(w.get64(w.contextAt(S)) & ~0xfffn);
function smallDirectory(w: World): void {
  const context = w.contextAt(S);
  w.set64(context, w.get64(context) & ~0xe00n);
  w.set64(context + 8, 0x2000n);
}
function type(w: World, value: number): void {
  const at = w.pasidAt(S, 0);
  w.set64(at, (w.get64(at) & ~0x1c0n) | (BigInt(value) << 6n));
}
function width(w: World, value: number): void {
  const at = w.pasidAt(S, 0);
  w.set64(at, (w.get64(at) & ~0x1cn) | (BigInt(value) << 2n));
}
function second(w: World, table: number): void {
  const at = w.pasidAt(S, 0);
  w.set64(at, (w.get64(at) & 0xfffn) | BigInt(table));
}
function large(w: World, table: number, level: number, misaligned: bigint): void {
  w.set64(w.entryAt(table, 4, 0x1000n, level, 3n), misaligned | 0x83n);
}
