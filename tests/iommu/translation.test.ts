import { describe, expect, it } from 'vitest';
import { FAULT } from '../../iommu/fault-reasons.js';
import { A1, A2, D1, D2, EXECUTE, FW, P, PRIVILEGED, R, READ, RW, US, W, World, WRITE } from './world.js';

const DEVICE = 0x0310;

describe('legacy translation', () => {
  it.each([3, 4, 5])('walks %i levels with 4 KiB, 2 MiB and 1 GiB leaves', (levels) => {
    const world = new World();
    world.start(false);
    const table = world.allocate();
    world.legacyContext(DEVICE, table, levels);
    const top = 1n << BigInt(12 + 9 * levels);
    world.mapSecond(table, levels, 0x1234_5000n, 0xabc_d000n);
    world.mapSecond(table, levels, top - 0x20_0000n, 0x4000_0000n, RW, 2);
    world.mapSecond(table, levels, 0x40_0000_0000n - 0x4000_0000n, 0x1_c000_0000n, RW, 3);
    expect(world.dma(DEVICE, 0x1234_5678n, READ)).toBe(0xabc_d678n);
    expect(world.dma(DEVICE, top - 1n, WRITE)).toBe(0x401f_ffffn);
    expect(world.dma(DEVICE, 0x3f_d234_5678n, READ | WRITE)).toBe(0x1_d234_5678n);
    // Again, from the IOTLB.
    expect(world.dma(DEVICE, 0x1234_5fffn, READ)).toBe(0xabc_dfffn);
    expect(world.dma(DEVICE, top - 0x20_0000n, WRITE)).toBe(0x4000_0000n);
    expect(world.dma(DEVICE, 0x3f_c000_0001n, READ)).toBe(0x1_c000_0001n);
    expect(world.takeFaults()).toEqual([]);
    expect(world.dma(DEVICE, top, READ)).toBeUndefined();
    expect(world.takeFaults()).toEqual([
      { reason: FAULT.ADDRESS_BEYOND_WIDTH, source: DEVICE, page: top, write: false, pasid: undefined },
    ]);
  });

  it('says how far the page goes', () => {
    const world = new World();
    world.start(false);
    const table = world.allocate();
    world.legacyContext(DEVICE, table, 4);
    world.mapSecond(table, 4, 0x1000n, 0x2000n);
    world.mapSecond(table, 4, 0x20_0000n, 0x4000_0000n, RW, 2);
    for (let warm = 0; warm < 2; warm++) {
      world.dma(DEVICE, 0x1234n, READ);
      expect(world.unit.result[1]).toBe(0x1000 - 0x234);
      world.dma(DEVICE, 0x20_1001n, READ);
      expect(world.unit.result[1]).toBe(0x20_0000 - 0x1001);
    }
  });

  it('keeps devices apart that share a domain id but not a table', () => {
    const world = new World();
    world.start(false);
    const [a, b] = [world.allocate(), world.allocate()];
    world.legacyContext(DEVICE, a, 4, 7);
    world.legacyContext(DEVICE + 1, b, 4, 7);
    world.mapSecond(a, 4, 0x1000n, 0x2000n);
    world.mapSecond(b, 4, 0x1000n, 0x3000n);
    expect(world.dma(DEVICE, 0x1000n, READ)).toBe(0x2000n);
    expect(world.dma(DEVICE + 1, 0x1000n, READ)).toBe(0x3000n);
  });

  it('keeps no accessed or dirty bits', () => {
    const world = new World();
    world.start(false);
    const table = world.allocate();
    world.legacyContext(DEVICE, table, 4);
    const leaf = world.mapSecond(table, 4, 0x1000n, 0x2000n);
    expect(world.dma(DEVICE, 0x1000n, WRITE)).toBe(0x2000n);
    expect(world.get64(leaf)).toBe(0x2000n | RW);
  });

  it('passes everything that hosts have while translation is off, and pass-through contexts below the width', () => {
    const world = new World();
    expect(world.dma(DEVICE, 0x12_3456_7890n, WRITE)).toBe(0x12_3456_7890n);
    // No host address is that wide, and without translation there is no record either.
    expect(world.dma(DEVICE, 1n << 52n, WRITE)).toBeUndefined();
    expect(world.takeFaults()).toEqual([]);
    world.start(false);
    world.legacyContext(DEVICE, 0, 5, 1, 2n);
    expect(world.dma(DEVICE, 0x12_3456_7890n, WRITE)).toBe(0x12_3456_7890n);
    expect(world.dma(DEVICE, 1n << 52n, WRITE)).toBeUndefined();
    expect(world.takeFaults()[0]?.reason).toBe(FAULT.ADDRESS_BEYOND_WIDTH);
  });

  it('takes writes to the interrupt range for interrupts, and lets nothing else in or out there', () => {
    const world = new World();
    world.start(false);
    const table = world.allocate();
    world.legacyContext(DEVICE, table, 4);
    world.mapSecond(table, 4, 0xfee0_0000n, 0x2000n);
    world.mapSecond(table, 4, 0x5000n, 0xfee0_1000n);
    expect(world.dma(DEVICE, 0xfee0_0000n, WRITE)).toBe('interrupt');
    expect(world.dma(DEVICE, 0xfee0_0000n, READ)).toBeUndefined();
    expect(world.takeFaults()).toMatchObject([{ reason: FAULT.OUTPUT_IN_INTERRUPT_RANGE, source: DEVICE }]);
    expect(world.dma(DEVICE, 0x5000n, WRITE)).toBeUndefined();
    expect(world.takeFaults()[0]?.reason).toBe(FAULT.OUTPUT_IN_INTERRUPT_RANGE);
  });

  it('blocks the interrupt range inside a large page, and only that', () => {
    const world = new World();
    world.start(false);
    const table = world.allocate();
    world.legacyContext(DEVICE, table, 4);
    world.mapSecond(table, 4, 0n, 0xc000_0000n, RW, 3);
    expect(world.dma(DEVICE, 0x3ed0_0000n, WRITE)).toBe(0xfed0_0000n);
    expect(world.dma(DEVICE, 0x3ee0_0000n, WRITE)).toBeUndefined();
    expect(world.dma(DEVICE, 0x3eef_ffffn, READ)).toBeUndefined();
    expect(world.dma(DEVICE, 0x3ef0_0000n, WRITE)).toBe(0xfef0_0000n);
  });
});

describe('scalable-mode translation', () => {
  it('takes the upper context table for devfn 0x80 and above, and RID_PASID for requests without PASID', () => {
    const world = new World();
    world.start(true);
    for (const [source, target] of [
      [0x0100, 0x2000n],
      [0x0180, 0x3000n],
      [0x02ff, 0x4000n],
    ] as const) {
      const table = world.allocate();
      world.setPasid(source, 0, { type: 2, second: table, levels: 4 });
      world.mapSecond(table, 4, 0x1000n, target);
      expect(world.dma(source, 0x1000n, READ)).toBe(target);
    }
    const context = world.contextAt(0x0188);
    const table = world.allocate();
    world.setPasid(0x0188, 77, { type: 2, second: table, levels: 4 });
    world.mapSecond(table, 4, 0x1000n, 0x9000n);
    world.set64(context + 8, 77n);
    expect(world.dma(0x0188, 0x1000n, READ)).toBe(0x9000n);
  });

  it.each([4, 5] as const)(
    'walks %i first-stage levels with all leaf sizes, both canonical halves',
    (levels) => {
      const world = new World();
      world.start(true);
      const table = world.allocate();
      world.setPasid(DEVICE, 5, { type: 1, first: table, firstLevels: levels });
      const half = 1n << BigInt(12 + 9 * levels - 1);
      const upper = (1n << 64n) - half;
      world.mapFirst(table, levels, half - 0x1000n, 0x5000n);
      world.mapFirst(table, levels, upper, 0x60_0000n, P | FW | US, 2);
      world.mapFirst(table, levels, 0x4000_0000n, 0x8000_0000n, P | FW | US, 3);
      expect(world.dma(DEVICE, half - 0x1000n + 5n, WRITE, 5)).toBe(0x5005n);
      expect(world.dma(DEVICE, upper + 0x1_2000n, WRITE, 5)).toBe(0x61_2000n);
      expect(world.dma(DEVICE, 0x5234_5678n, READ, 5)).toBe(0x9234_5678n);
      expect(world.dma(DEVICE, half, READ, 5)).toBeUndefined();
      expect(world.takeFaults()).toMatchObject([{ reason: FAULT.FS_NON_CANONICAL, pasid: 5, page: half }]);
    },
  );

  it('keeps second-stage accessed and dirty bits under SSADE: accessed on the way, dirty in the leaf of a write', () => {
    const world = new World();
    world.start(true);
    const table = world.allocate();
    world.setPasid(DEVICE, 0, { type: 2, second: table, levels: 4, track: true });
    const leaf = world.mapSecond(table, 4, 0x1000n, 0x2000n);
    const parent = world.entryAt(table, 4, 0x1000n, 2, RW);
    const other = world.mapSecond(table, 4, 0x2000n, 0x3000n);
    world.dma(DEVICE, 0x1000n, READ);
    expect(world.get64(leaf)).toBe(0x2000n | RW | A2);
    expect(world.get64(parent) & (A2 | D2)).toBe(A2);
    expect(world.get64(table) & (A2 | D2)).toBe(A2);
    world.dma(DEVICE, 0x1000n, READ | WRITE);
    expect(world.get64(leaf)).toBe(0x2000n | RW | A2 | D2);
    expect(world.get64(parent) & D2).toBe(0n);
    expect(world.get64(other) & (A2 | D2)).toBe(0n);
  });

  it('sets no second-stage bits without SSADE, nor for a request it blocks', () => {
    const world = new World();
    world.start(true);
    const table = world.allocate();
    world.setPasid(DEVICE, 0, { type: 2, second: table, levels: 4 });
    const leaf = world.mapSecond(table, 4, 0x1000n, 0x2000n);
    world.dma(DEVICE, 0x1000n, WRITE);
    expect(world.get64(leaf)).toBe(0x2000n | RW);
    world.setPasid(DEVICE, 1, { type: 2, second: table, levels: 4, track: true });
    const readOnly = world.mapSecond(table, 4, 0x20_0000n, 0x3000n, R);
    expect(world.dma(DEVICE, 0x20_0000n, WRITE, 1)).toBeUndefined();
    expect(world.get64(readOnly)).toBe(0x3000n | R);
    expect(world.get64(table) & A2).toBe(0n);
  });

  it('keeps first-stage bits without being asked', () => {
    const world = new World();
    world.start(true);
    const table = world.allocate();
    world.setPasid(DEVICE, 0, { type: 1, first: table });
    const leaf = world.mapFirst(table, 4, 0x1000n, 0x2000n);
    world.dma(DEVICE, 0x1000n, READ);
    expect(world.get64(leaf) & (A1 | D1)).toBe(A1);
    world.dma(DEVICE, 0x1000n, WRITE);
    expect(world.get64(leaf) & (A1 | D1)).toBe(A1 | D1);
    expect(world.get64(table) & (A1 | D1)).toBe(A1);
  });

  it('sets one dirty bit for a whole large leaf', () => {
    const world = new World();
    world.start(true);
    const table = world.allocate();
    world.setPasid(DEVICE, 0, { type: 2, second: table, levels: 4, track: true });
    const leaf = world.mapSecond(table, 4, 0x20_0000n, 0x40_0000n, RW, 2);
    world.dma(DEVICE, 0x3f_f000n, WRITE);
    expect(world.get64(leaf) & (A2 | D2)).toBe(A2 | D2);
  });

  it('cannot set bits when page walks are not snooped', () => {
    const world = new World();
    world.start(true);
    const table = world.allocate();
    world.setPasid(DEVICE, 0, { type: 2, second: table, levels: 4, track: true, snooped: false });
    world.mapSecond(table, 4, 0x1000n, 0x2000n);
    expect(world.dma(DEVICE, 0x1000n, READ)).toBeUndefined();
    world.setPasid(DEVICE, 1, { type: 1, first: world.allocate(), snooped: false });
    const first = world.allocate();
    world.setPasid(DEVICE + 1, 1, { type: 1, first, snooped: false });
    world.mapFirst(first, 4, 0x1000n, 0x2000n);
    expect(world.dma(DEVICE + 1, 0x1000n, READ, 1)).toBeUndefined();
    expect(world.takeFaults().map(({ reason }) => reason)).toEqual([
      FAULT.SS_AD_NOT_SNOOPED,
      FAULT.FS_AD_NOT_SNOOPED,
    ]);
    // With every bit set already there is nothing to write.
    for (const level of [4, 3, 2, 1]) {
      const at = world.entryAt(first, 4, 0x1000n, level, 0n);
      world.set64(at, world.get64(at) | A1 | D1);
    }
    expect(world.dma(DEVICE + 1, 0x1000n, WRITE, 1)).toBe(0x2000n);
  });

  it('checks user, write-protect and execute rights of the first stage', () => {
    const world = new World();
    world.start(true);
    const table = world.allocate();
    const spec = { type: 1, first: table, supervisor: true, execute: true, noExecute: true } as const;
    world.setPasid(DEVICE, 1, spec);
    world.setPasid(DEVICE, 2, { ...spec, writeProtect: true });
    world.mapFirst(table, 4, 0x1000n, 0x2000n, P | FW);
    world.mapFirst(table, 4, 0x3000n, 0x4000n, P | US);
    world.mapFirst(table, 4, 0x5000n, 0x6000n, P | FW | US | (1n << 63n));
    const reasons = (...request: [bigint, number, number]): number | undefined => {
      if (world.dma(DEVICE, ...request) !== undefined) return 0;
      return world.takeFaults()[0]?.reason;
    };
    for (let warm = 0; warm < 2; warm++) {
      expect(reasons(0x1000n, READ, 1)).toBe(FAULT.FS_USER_PERMISSION);
      expect(reasons(0x1000n, READ | PRIVILEGED, 1)).toBe(0);
      expect(reasons(0x3000n, READ, 1)).toBe(0);
      expect(reasons(0x3000n, WRITE, 1)).toBe(FAULT.FS_WRITE_PERMISSION);
      expect(reasons(0x3000n, WRITE | PRIVILEGED, 1)).toBe(0);
      expect(reasons(0x3000n, WRITE | PRIVILEGED, 2)).toBe(FAULT.FS_WRITE_PERMISSION);
      expect(reasons(0x5000n, READ, 1)).toBe(0);
      expect(reasons(0x5000n, READ | EXECUTE, 1)).toBe(FAULT.FS_EXECUTE_PERMISSION);
      expect(reasons(0x3000n, READ | EXECUTE, 1)).toBe(0);
    }
    world.setPasid(DEVICE, 3, { type: 1, first: table });
    expect(reasons(0x3000n, READ | EXECUTE, 3)).toBe(FAULT.EXECUTE_DISABLED);
    expect(reasons(0x3000n, READ | PRIVILEGED, 3)).toBe(FAULT.SUPERVISOR_DISABLED);
  });

  it('nests: tables of the first stage are themselves translated, and its bits dirty their pages', () => {
    const world = new World();
    world.start(true);
    const second = world.allocate();
    // Guest page n lies at host page hostOf(n); the guest's tables are built through that mapping.
    const first = world.allocate();
    const mid = world.allocate();
    const low = world.allocate();
    const leafTable = world.allocate();
    const guest = { first: 0x1000n, mid: 0x2000n, low: 0x3000n, leafTable: 0x4000n, data: 0x5000n };
    const leaves = {
      first: world.mapSecond(second, 4, guest.first, BigInt(first)),
      mid: world.mapSecond(second, 4, guest.mid, BigInt(mid)),
      low: world.mapSecond(second, 4, guest.low, BigInt(low)),
      leafTable: world.mapSecond(second, 4, guest.leafTable, BigInt(leafTable)),
      data: world.mapSecond(second, 4, guest.data, 0x7_7000n),
    };
    const flags = P | FW | US;
    world.set64(first, guest.mid | flags);
    world.set64(mid, guest.low | flags);
    world.set64(low, guest.leafTable | flags);
    world.set64(leafTable + 9 * 8, guest.data | flags);
    world.setPasid(DEVICE, 9, { type: 3, second, levels: 4, first: Number(guest.first), track: true });
    expect(world.dma(DEVICE, 0x9123n, READ, 9)).toBe(0x7_7123n);
    expect(world.get64(leafTable + 9 * 8) & (A1 | D1)).toBe(A1);
    // Setting A in the guest's tables wrote to their pages.
    expect(world.get64(leaves.leafTable) & (A2 | D2)).toBe(A2 | D2);
    expect(world.get64(leaves.first) & D2).toBe(D2);
    expect(world.get64(leaves.data) & (A2 | D2)).toBe(A2);
    expect(world.dma(DEVICE, 0x9123n, WRITE, 9)).toBe(0x7_7123n);
    expect(world.get64(leafTable + 9 * 8) & D1).toBe(D1);
    expect(world.get64(leaves.data) & D2).toBe(D2);
  });

  it('nests: what the first stage does not allow, or has not marked dirty, is not cached as the second stage has it', () => {
    const world = new World();
    world.start(true);
    const [second, first] = [world.allocate(), world.allocate()];
    world.mapSecond(second, 4, 0n, 0n, RW, 3);
    const readOnly = world.mapFirst(first, 4, 0x1000n, 0x5000n, P | US);
    const clean = world.mapFirst(first, 4, 0x2000n, 0x6000n, P | FW | US);
    world.setPasid(DEVICE, 1, { type: 3, second, levels: 4, first });
    for (const page of [0x1000n, 0x2000n]) expect(world.dma(DEVICE, page, READ, 1)).toBe(page + 0x4000n);
    expect(world.dma(DEVICE, 0x1000n, WRITE, 1), 'a write where only reads are allowed').toBeUndefined();
    expect(world.get64(readOnly) & D1).toBe(0n);
    expect(world.dma(DEVICE, 0x2000n, WRITE, 1)).toBe(0x6000n);
    expect(world.get64(clean) & D1, 'the first write to a page that was read before').toBe(D1);
  });

  it('nests: the smaller page decides what is cached', () => {
    const world = new World();
    world.start(true);
    const second = world.allocate();
    const first = world.allocate();
    world.mapSecond(second, 4, 0n, 0n, RW, 3);
    world.mapSecond(second, 4, 0x4000_0000n, 0x1_0000_0000n, RW, 2);
    world.mapSecond(second, 4, 0x4020_0000n, 0x2_0000_0000n, RW, 2);
    world.mapFirst(first, 4, 0n, 0x4000_0000n, P | FW | US, 3);
    world.setPasid(DEVICE, 1, { type: 3, second, levels: 4, first });
    expect(world.dma(DEVICE, 0x1000n, WRITE, 1)).toBe(0x1_0000_1000n);
    expect(world.dma(DEVICE, 0x20_1000n, WRITE, 1)).toBe(0x2_0000_1000n);
    expect(world.dma(DEVICE, 0x1f_ffffn, READ, 1)).toBe(0x1_001f_ffffn);
  });

  it('needs second-stage write permission to update first-stage entries', () => {
    const world = new World();
    world.start(true);
    const second = world.allocate();
    const first = world.allocate();
    for (let page = world.base; page < world.base + (64 << 12); page += 4096) {
      world.mapSecond(second, 4, BigInt(page), BigInt(page), R);
    }
    world.mapFirst(first, 4, 0x1000n, BigInt(world.base));
    world.setPasid(DEVICE, 1, { type: 3, second, levels: 4, first });
    expect(world.dma(DEVICE, 0x1000n, READ, 1)).toBeUndefined();
    expect(world.takeFaults()[0]?.reason).toBe(FAULT.NESTED_ENTRY_WRITE);
  });

  it('translates the interrupt range for requests with PASID, as any other address', () => {
    const world = new World();
    world.start(true);
    const table = world.allocate();
    world.setPasid(DEVICE, 1, { type: 2, second: table, levels: 4 });
    world.setPasid(DEVICE, 2, { type: 4 });
    world.mapSecond(table, 4, 0xfee0_0000n, 0x2000n);
    expect(world.dma(DEVICE, 0xfee0_0000n, WRITE, 1)).toBe(0x2000n);
    expect(world.dma(DEVICE, 0xfee0_0000n, WRITE, 2)).toBeUndefined();
    expect(world.takeFaults()[0]?.reason).toBe(FAULT.SM_OUTPUT_IN_INTERRUPT_RANGE);
  });

  it('blocks first-stage addresses that the second stage cannot reach', () => {
    const world = new World();
    world.start(true);
    const second = world.allocate();
    for (let page = world.base; page < world.base + (64 << 12); page += 4096) {
      world.mapSecond(second, 3, BigInt(page), BigInt(page));
    }
    const first = world.allocate();
    world.mapFirst(first, 4, 0x1000n, 1n << 39n);
    world.mapFirst(first, 4, 0x2000n, (1n << 39n) - 0x1000n);
    world.setPasid(DEVICE, 1, { type: 3, second, levels: 3, first });
    world.setPasid(DEVICE, 2, { type: 3, second, levels: 3, first: 2 ** 39 });
    expect(world.dma(DEVICE, 0x1000n, READ, 1)).toBeUndefined();
    expect(world.takeFaults()[0]?.reason).toBe(FAULT.NESTED_ADDRESS_BEYOND_WIDTH);
    expect(world.dma(DEVICE, 0x2000n, READ, 1)).toBeUndefined();
    expect(world.takeFaults()[0]?.reason).toBe(FAULT.SS_PERMISSION);
    expect(world.dma(DEVICE, 0x1000n, READ, 2)).toBeUndefined();
    expect(world.takeFaults()[0]?.reason).toBe(FAULT.NESTED_ADDRESS_BEYOND_WIDTH);
  });

  it('honours zero-length reads on anything that is mapped', () => {
    const world = new World();
    world.start(false);
    const table = world.allocate();
    world.legacyContext(DEVICE, table, 4);
    world.mapSecond(table, 4, 0x1000n, 0x2000n, W);
    expect(world.dma(DEVICE, 0x1000n, 0)).toBe(0x2000n);
    expect(world.dma(DEVICE, 0x1000n, READ)).toBeUndefined();
    expect(world.dma(DEVICE, 0x3000n, 0)).toBeUndefined();
  });
});
