import { describe, expect, it } from 'vitest';
import { requesterOf } from '../../base/dma.js';
import { isFerryError } from '../../base/errors.js';
import { iova } from '../../base/units.js';
import { FAULT } from '../../iommu/fault-reasons.js';
import { Hwpt } from '../../iommu/host/hwpt.js';
import { InterruptTable } from '../../iommu/host/interrupt-table.js';
import { Ioas } from '../../iommu/host/ioas.js';
import { addressMask, descriptors } from '../../iommu/host/queue-client.js';
import { reg } from '../../iommu/registers.js';
import { DEVICE, HostWorld, RAM_BASE, TABLES_BASE } from './host-world.js';

describe('the driver', () => {
  it('brings the unit up: queue, root table, translation; unknown requesters are blocked', () => {
    const world = new HostWorld();
    const { TE, QIE, SRTP } = reg.GSTS.fields;
    const status = world.unit.read(reg.GSTS.offset, 4);
    for (const field of [TE, QIE, SRTP]) expect(field.get(status)).toBe(1);
    expect(world.unit.read(reg.FSTS.offset, 4)).toBe(0);
    expect(world.peek(0)).toBeUndefined();
    expect(world.driver.takeFaults()).toEqual([
      { source: DEVICE, reason: FAULT.SM_ROOT_NOT_PRESENT, address: 0, write: false, pasid: undefined },
    ]);
  });

  it('refuses a unit without scalable mode', () => {
    expect(() => new HostWorld({ scalableMode: false })).toThrow(/EOPNOTSUPP/);
  });

  it('takes faults in order, goes round the records, and clears an overflow', () => {
    const world = new HostWorld();
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 3; i++) world.poke(0x1000 * (i + 1), 1, requesterOf(0x0400 + i));
      expect(world.driver.takeFaults().map(({ source }) => source)).toEqual([0x0400, 0x0401, 0x0402]);
      expect(world.driver.takeFaults()).toEqual([]);
    }
    for (let i = 0; i < 20; i++) world.poke(0x1000, 1, requesterOf(0x0400 + i));
    expect(world.driver.takeFaults().length).toBe(8);
    expect(world.unit.read(reg.FSTS.offset, 4) & 3).toBe(0);
  });

  it('attaches nested tables that a guest keeps in its own memory', () => {
    const world = new HostWorld();
    const ioas = new Ioas(world.driver);
    ioas.map(0, RAM_BASE, 16 << 20, { read: true, write: true });
    const hwpt = new Hwpt(world.driver, ioas, { dirtyTracking: true });
    const ram = new BigInt64Array(world.ram.words.buffer);
    // A first-stage table of four levels at guest addresses 0x1000 to 0x4fff that maps page 0x123 to 0x7000.
    ram[0x1000 / 8] = 0x2007n;
    ram[0x2000 / 8] = 0x3007n;
    ram[0x3000 / 8] = 0x4007n;
    ram[0x4000 / 8 + 0x123] = 0x7007n;
    hwpt.attachNested(DEVICE, 40, 0x1000, 4);
    expect(world.unit.translate(DEVICE, 40, 0x12_3456, 0, 2)).toBe(0);
    expect(world.unit.result[0]).toBe(RAM_BASE + 0x7456);
    expect(ram[0x4000 / 8 + 0x123]! & 0x60n).toBe(0x60n);
    hwpt.detach(DEVICE, 40);
    expect(world.unit.translate(DEVICE, 40, 0x12_3456, 0, 2)).toBe(1);
  });

  it('passes requesters through that it trusts', () => {
    const world = new HostWorld();
    world.driver.attach(DEVICE, { kind: 'pass-through', domain: 1 });
    world.poke(RAM_BASE + 5, 66);
    expect(world.ram.bytes[5]).toBe(66);
  });

  it('says so when the unit rejects a descriptor, or never completes one', () => {
    const world = new HostWorld();
    let thrown: unknown;
    try {
      world.driver.queue.submit([15, 0, 0, 0, 0, 0, 0, 0]);
    } catch (error) {
      thrown = error;
    }
    expect(isFerryError(thrown, 'iommu/unit-error')).toBe(true);
    expect((thrown as Error).message).toMatch(/rejected an invalidation descriptor \(FSTS 0x10\)/);
  });
});

describe('ranges for invalidation', () => {
  it('hold every page of the range, in the smallest aligned block', () => {
    const blocks = [
      [0x1000, 0x2000, 1, 0],
      [0x1000, 0x3000, 0, 2],
      [0x2000, 0x4000, 2, 1],
      [0, 1 << 30, 0, 18],
      [0x1fff, 0x2001, 0, 2],
    ] as const;
    for (const [first, end, page, mask] of blocks) expect(addressMask(first, end)).toEqual({ page, mask });
    expect(addressMask(0, (1 << 30) + 1)).toBeUndefined();
    expect(addressMask(0x3fff_f000, 0x4000_1000)).toBeUndefined();
    expect(descriptors.range(5, 0, 2 ** 31, true)).toEqual(descriptors.domain(5));
  });
});

describe('the interrupt table', () => {
  it('gives each device messages of its own that reach the target, and moves them without a gap', () => {
    const world = new HostWorld();
    const table = new InterruptTable(world.driver);
    const other = requesterOf(0x0500);
    const index = table.allocate(DEVICE, { kind: 'remapped', destination: 2, vector: 0x51 });
    const { address, data } = table.message(index);
    world.bus.send(DEVICE, iova(address), data);
    expect(world.interrupts.splice(0)).toEqual([['remapped', 2, 0x51, 0, false, false]]);
    world.bus.send(other, iova(address), data);
    expect(world.interrupts).toEqual([]);
    expect(world.driver.takeFaults()).toMatchObject([
      { reason: FAULT.IR_SOURCE_VERIFICATION, source: other },
    ]);
    table.retarget(index, DEVICE, { kind: 'remapped', destination: 3, vector: 0x52 });
    world.bus.send(DEVICE, iova(address), data);
    expect(world.interrupts.splice(0)).toEqual([['remapped', 3, 0x52, 0, false, false]]);
    table.release(index);
    world.bus.send(DEVICE, iova(address), data);
    expect(world.interrupts).toEqual([]);
  });

  it('posts to a descriptor', () => {
    const world = new HostWorld();
    const table = new InterruptTable(world.driver);
    const descriptor = TABLES_BASE + world.tables.bytes.length - 4096;
    const index = table.allocate(DEVICE, { kind: 'posted', descriptor, vector: 0x61 });
    const { address, data } = table.message(index);
    world.bus.send(DEVICE, iova(address), data);
    expect(world.interrupts).toEqual([['notify', 0, 0]]);
    expect(world.tables.words[world.tables.index(descriptor) + 3]).toBe(2);
  });

  it('reaches indices above 32767 and says when it is full', () => {
    const world = new HostWorld();
    const table = new InterruptTable(world.driver, 65536);
    let last = 0;
    for (let i = 0; i < 65536; i++)
      last = table.allocate(DEVICE, { kind: 'remapped', destination: 1, vector: 0x40 });
    const { address, data } = table.message(last);
    world.bus.send(DEVICE, iova(address), data);
    expect(last).toBe(65535);
    expect(world.interrupts.length).toBe(1);
    expect(() => table.allocate(DEVICE, { kind: 'remapped', destination: 1, vector: 0x40 })).toThrow(
      /ENOSPC/,
    );
  });
});
