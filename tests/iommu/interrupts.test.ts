import { describe, expect, it } from 'vitest';
import { requesterOf } from '../../base/dma.js';
import { iova } from '../../base/units.js';
import { TranslatedBus } from '../../iommu/dma.js';
import { FAULT } from '../../iommu/fault-reasons.js';
import { reg } from '../../iommu/registers.js';
import { CFI, IRE, interruptEntryGlobal, interruptEntryIndex, SIRTP, World } from './world.js';

const DEVICE = requesterOf(0x0310);

/** Address and data of a request for entry `index`, with or without a subhandle. */
const address = (handle: number, withSubhandle = false): number =>
  (0xfee0_0010 | ((handle & 0x7fff) << 5) | ((handle >> 15) << 2) | (withSubhandle ? 8 : 0)) >>> 0;

const remapped = (vector: number, destination: number, extra = 0n): bigint =>
  1n | (BigInt(vector) << 16n) | (BigInt(destination) << 40n) | extra;
const source = (id: number, svt = 1n, qualifier = 0n): bigint =>
  BigInt(id) | (qualifier << 16n) | (svt << 18n);

function world(size = 7, extended = false) {
  const w = new World();
  w.start(false);
  w.startQueue();
  const table = w.allocate(16 * 2 ** (size + 1));
  w.write64(reg.IRTA.offset, BigInt(table) | BigInt(size) | (extended ? 0x800n : 0n));
  w.command(SIRTP);
  w.command(IRE);
  const bus = new TranslatedBus(w.unit, w.memory);
  const entry = (index: number, low: bigint, high = 0n): void => {
    w.set64(table + 16 * index + 8, high);
    w.set64(table + 16 * index, low);
  };
  const send = (at: number, data = 0): void => bus.send(DEVICE, iova(at), data);
  const take = () => w.interrupts.splice(0);
  return { w, table, bus, entry, send, take };
}

describe('interrupt remapping', () => {
  it('passes messages as they are while it is off', () => {
    const w = new World();
    new TranslatedBus(w.unit, w.memory).send(DEVICE, iova(0xfee0_3000), 0x4041);
    expect(w.interrupts).toEqual([['message', 0xfee0_3000, 0, 0x4041]]);
  });

  it('takes vector, destination and mode from the entry, not from the device', () => {
    const { entry, send, take } = world();
    entry(5, remapped(0x61, 3, 1n << 2n), source(DEVICE));
    entry(6, remapped(0x62, 4, (4n << 5n) | (1n << 4n)), 0n);
    send(address(5));
    send(address(4, true), 2);
    expect(take()).toEqual([
      ['remapped', 3, 0x61, 0, true, false],
      ['remapped', 4, 0x62, 4, false, true],
    ]);
  });

  it('has 32-bit destinations in extended mode and reaches entry 65535', () => {
    const { w, table, entry, send, take } = world(15, true);
    entry(65535, 1n | (0x33n << 16n) | (0x1234_5678n << 32n));
    send(address(0xffff));
    send(address(0x7fff, true), 0x8000);
    expect(take()).toEqual([
      ['remapped', 0x1234_5678, 0x33, 0, false, false],
      ['remapped', 0x1234_5678, 0x33, 0, false, false],
    ]);
    expect(table % 4096).toBe(0);
    expect(w.takeFaults()).toEqual([]);
  });

  it.each([
    ['its own id', source(DEVICE), true],
    ['another id', source(DEVICE + 8), false],
    ['function bit 2 ignored', source(DEVICE ^ 4, 1n, 1n), true],
    ['function bit 2 ignored, bit 1 differs', source(DEVICE ^ 2, 1n, 1n), false],
    ['all function bits ignored', source(DEVICE ^ 7, 1n, 3n), true],
    ['bus range around it', source(0x0205, 2n), true],
    ['bus range that ends with it', source(0x0203, 2n), true],
    ['bus range that starts with it', source(0x0305, 2n), true],
    ['bus range below it', source(0x0102, 2n), false],
    ['bus range above it', source(0x0405, 2n), false],
    ['no validation', source(0xffff, 0n), true],
  ] as const)('verifies the source: %s', (_what, high, accepted) => {
    const { w, entry, send, take } = world();
    entry(5, remapped(0x61, 3), high);
    send(address(5));
    expect(take().length).toBe(accepted ? 1 : 0);
    expect(w.takeFaults().map(({ reason }) => reason)).toEqual(
      accepted ? [] : [FAULT.IR_SOURCE_VERIFICATION],
    );
  });

  it.each([
    ['compatibility format', FAULT.IR_COMPATIBILITY_BLOCKED, 0xfee0_3000, 0, 0n, 0n],
    ['data with a plain handle', FAULT.IR_REQUEST_RESERVED, address(5), 1, remapped(1, 1), 0n],
    [
      'upper data with a subhandle',
      FAULT.IR_REQUEST_RESERVED,
      address(5, true),
      0x1_0000,
      remapped(1, 1),
      0n,
    ],
    ['an index beyond the table', FAULT.IR_INDEX_BEYOND_TABLE, address(256), 0, 0n, 0n],
    ['an absent entry', FAULT.IR_ENTRY_NOT_PRESENT, address(5), 0, 0n, 0n],
    ['reserved bits', FAULT.IR_ENTRY_RESERVED, address(5), 0, remapped(1, 1, 1n << 12n), 0n],
    ['reserved bits, high', FAULT.IR_ENTRY_RESERVED, address(5), 0, remapped(1, 1), 1n << 20n],
    ['a wide destination in xAPIC mode', FAULT.IR_ENTRY_RESERVED, address(5), 0, remapped(1, 256), 0n],
    ['a reserved delivery mode', FAULT.IR_ENTRY_RESERVED, address(5), 0, remapped(1, 1, 3n << 5n), 0n],
    ['reserved validation', FAULT.IR_ENTRY_RESERVED, address(5), 0, remapped(1, 1), 3n << 18n],
    [
      'a descriptor nowhere',
      FAULT.IR_POSTED_DESCRIPTOR_ACCESS,
      address(5),
      0,
      1n | (1n << 15n),
      0xffn << 32n,
    ],
  ] as const)('blocks %s and records the index', (_what, reason, at, data, low, high) => {
    const { w, entry, send, take } = world();
    entry(5, low, high);
    send(at, data);
    expect(take()).toEqual([]);
    const [fault] = w.takeFaults();
    expect(fault).toMatchObject({ reason, source: DEVICE });
    if (at !== 0xfee0_3000)
      expect(fault!.page >> 48n).toBe(
        BigInt((at >>> 5) & 0x7fff) + BigInt(data & 0xffff & (at & 8 ? -1 : 0)),
      );
  });

  it('blocks everything when its table lies nowhere', () => {
    const { w, send } = world();
    w.write64(reg.IRTA.offset, 0xf_ffff_0000_0007n);
    w.command(SIRTP);
    send(address(5));
    expect(w.takeFaults()[0]?.reason).toBe(FAULT.IR_TABLE_ACCESS);
  });

  it('lets compatibility format pass when software allows it, but never in extended mode', () => {
    for (const extended of [false, true]) {
      const { w, send, take } = world(7, extended);
      w.command(CFI);
      send(0xfee0_3000, 0x77);
      expect(take().length).toBe(extended ? 0 : 1);
    }
  });

  it('keeps quiet about qualified faults of an entry that says so', () => {
    const { w, entry, send } = world();
    entry(5, 2n);
    send(address(5));
    expect(w.takeFaults()).toEqual([]);
  });

  it('caches entries until they are invalidated, by index, index mask or all', () => {
    for (const [descriptor, gone] of [
      [interruptEntryGlobal, true],
      [interruptEntryIndex(5), true],
      [interruptEntryIndex(4), false],
      [interruptEntryIndex(4, 1), true],
      [interruptEntryIndex(0, 2), false],
      [interruptEntryIndex(0, 15), true],
    ] as const) {
      const { w, entry, send, take } = world();
      entry(4, remapped(0x60, 3));
      send(address(4));
      expect(take()[0]![2]).toBe(0x60);
      entry(5, remapped(0x61, 3));
      send(address(5));
      entry(5, remapped(0x99, 3));
      send(address(5));
      expect(take().map(([, , vector]) => vector)).toEqual([0x61, 0x61]);
      w.submit(descriptor);
      send(address(5));
      expect(take()[0]![2]).toBe(gone ? 0x99 : 0x61);
    }
  });

  it('caches no absent entry', () => {
    const { entry, send, take } = world();
    send(address(5));
    entry(5, remapped(0x61, 3));
    send(address(5));
    expect(take().length).toBe(1);
  });

  it('takes a dword of DMA into the range for an interrupt, and blocks and records all else there', () => {
    const { w, bus, entry, take } = world();
    entry(5, remapped(0x61, 3));
    bus.write(DEVICE, iova(address(5)), new Uint8Array(4), 0, 4);
    expect(take().length).toBe(1);
    bus.write(DEVICE, iova(address(5)), new Uint8Array(8), 0, 8);
    bus.write(DEVICE, iova(address(5) + 2), new Uint8Array(4), 0, 4);
    expect(take()).toEqual([]);
    expect(bus.read(DEVICE, iova(address(5)), new Uint8Array(4), 0, 4)).toBe(false);
    const reasons = w.takeFaults().map(({ reason }) => reason);
    expect(reasons.length).toBeGreaterThan(0);
    expect(new Set(reasons)).toEqual(new Set([FAULT.OUTPUT_IN_INTERRUPT_RANGE]));
  });
});

describe('posted interrupts', () => {
  const posted = (vector: number, descriptor: number, urgent = false): [bigint, bigint] => [
    1n |
      (1n << 15n) |
      (urgent ? 1n << 14n : 0n) |
      (BigInt(vector) << 16n) |
      ((BigInt(descriptor) & 0xffff_ffffn) << 32n),
    (BigInt(descriptor) >> 32n) << 32n,
  ];

  it('set the request bit and notify once until the vCPU has taken notice', () => {
    const { w, entry, send, take } = world();
    const descriptor = w.allocate(64, 64);
    w.set64(descriptor + 32, (0xf2n << 16n) | (0x0300n << 32n));
    entry(5, ...posted(0x61, descriptor));
    entry(6, ...posted(0xff, descriptor));
    send(address(5));
    send(address(6));
    expect(take()).toEqual([['notify', 3, 0xf2]]);
    expect(w.get32(descriptor + 12)).toBe(1 << 1);
    expect(w.get32(descriptor + 28)).toBe(0x8000_0000);
    expect(w.get32(descriptor + 32) & 3).toBe(1);
    w.set64(descriptor + 32, w.get64(descriptor + 32) & ~1n);
    send(address(5));
    expect(take().length).toBe(1);
  });

  it('notify the whole x2APIC id in extended mode', () => {
    const { w, entry, send, take } = world(7, true);
    const descriptor = w.allocate(64, 64);
    w.set64(descriptor + 32, (0xf2n << 16n) | (0x8001_2345n << 32n));
    entry(5, ...posted(0x61, descriptor));
    send(address(5));
    expect(take()).toEqual([['notify', 0x8001_2345, 0xf2]]);
  });

  it('keep quiet for a suppressed descriptor unless the entry is urgent', () => {
    const { w, entry, send, take } = world();
    const descriptor = w.allocate(64, 64);
    w.set64(descriptor + 32, (0xf2n << 16n) | 2n);
    entry(5, ...posted(0x61, descriptor));
    entry(6, ...posted(0x62, descriptor, true));
    send(address(5));
    expect(take()).toEqual([]);
    expect(w.get32(descriptor + 12)).toBe(2);
    expect(w.get32(descriptor + 32) & 1).toBe(0);
    send(address(6));
    expect(take().length).toBe(1);
    expect(w.get32(descriptor + 12)).toBe(6);
  });
});
