import { describe, expect, it } from 'vitest';
import { reg } from '../../iommu/registers.js';
import {
  A2,
  contextDevice,
  contextDomain,
  contextGlobal,
  D2,
  FW,
  iotlbDomain,
  iotlbGlobal,
  iotlbPages,
  P,
  pasidCacheDomain,
  pasidCacheGlobal,
  pasidCachePasid,
  pasidIotlb,
  pasidIotlbPages,
  R,
  READ,
  RW,
  SRTP,
  US,
  World,
  WRITE,
} from './world.js';

const DEVICE = 0x0310;

function legacyWorld(options: ConstructorParameters<typeof World>[0] = {}) {
  const world = new World(options);
  world.start(false);
  const table = world.allocate();
  world.legacyContext(DEVICE, table, 4, 5);
  world.startQueue();
  return { world, table };
}

function trackedWorld() {
  const world = new World();
  world.start(true);
  const table = world.allocate();
  world.setPasid(DEVICE, 0, { type: 2, second: table, levels: 4, track: true, domain: 5 });
  world.startQueue(true);
  const leaf = world.mapSecond(table, 4, 0x1000n, 0x2000n);
  return { world, table, leaf };
}

describe('the IOTLB', () => {
  it('keeps a translation that is gone from the tables until it is invalidated', () => {
    const { world, table } = legacyWorld();
    const leaf = world.mapSecond(table, 4, 0x1000n, 0x2000n);
    expect(world.dma(DEVICE, 0x1000n, READ)).toBe(0x2000n);
    world.set64(leaf, 0n);
    expect(world.dma(DEVICE, 0x1000n, READ)).toBe(0x2000n);
    expect(world.submit(iotlbPages(5, 0x1000n, 0))).toBe(true);
    expect(world.dma(DEVICE, 0x1000n, READ)).toBeUndefined();
  });

  it('keeps nothing that failed: a mapping works as soon as it is present', () => {
    const { world, table } = legacyWorld();
    expect(world.dma(DEVICE, 0x1000n, READ)).toBeUndefined();
    const leaf = world.mapSecond(table, 4, 0x1000n, 0x2000n, R);
    expect(world.dma(DEVICE, 0x1000n, READ)).toBe(0x2000n);
    expect(world.dma(DEVICE, 0x1000n, WRITE)).toBeUndefined();
    world.set64(leaf, 0x2000n | RW);
    expect(world.dma(DEVICE, 0x1000n, WRITE)).toBe(0x2000n);
  });

  it.each([
    ['a global invalidation', iotlbGlobal, true],
    ['its domain', iotlbDomain(5), true],
    ['another domain', iotlbDomain(6), false],
    ['its page', iotlbPages(5, 0x1000n, 0), true],
    ['the page beside it', iotlbPages(5, 0x2000n, 0), false],
    ['its page of another domain', iotlbPages(6, 0x1000n, 0), false],
    ['a range that holds it', iotlbPages(5, 0n, 4), true],
    ['a range that ends before it', iotlbPages(5, 0n, 0), false],
    ['a range above it', iotlbPages(5, 0x10_0000n, 8), false],
    ['PASID-based invalidation, which is for first-stage entries', pasidIotlb(5, 0), false],
  ] as const)('loses an entry to %s or keeps it', (_what, descriptor, gone) => {
    const { world, table } = legacyWorld();
    const leaf = world.mapSecond(table, 4, 0x1000n, 0x2000n);
    world.dma(DEVICE, 0x1000n, READ);
    world.set64(leaf, 0n);
    world.submit(descriptor);
    expect(world.dma(DEVICE, 0x1000n, READ) === undefined).toBe(gone);
  });

  it('loses a large page to an invalidation of any page in it', () => {
    const { world, table } = legacyWorld();
    const leaf = world.mapSecond(table, 4, 0x4000_0000n, 0x8000_0000n, RW, 3);
    world.dma(DEVICE, 0x4000_0000n, READ);
    world.set64(leaf, 0n);
    world.submit(iotlbPages(5, 0x3fff_f000n, 0));
    expect(world.dma(DEVICE, 0x7fff_f000n, READ)).toBe(0xbfff_f000n);
    world.submit(iotlbPages(5, 0x7fff_f000n, 0));
    expect(world.dma(DEVICE, 0x4000_0000n, READ)).toBeUndefined();
  });

  it.each([
    ['second-stage entries, by the queue', (page: bigint, mask: number) => iotlbPages(5, page << 12n, mask)],
    ['second-stage entries, by registers', undefined],
    ['first-stage entries', (page: bigint, mask: number) => pasidIotlbPages(5, 0, page << 12n, mask)],
  ] as const)('loses every page of the block that is named, and none beside it: %s', (what, descriptor) => {
    const firstStage = what === 'first-stage entries';
    const world = new World();
    world.start(true);
    const table = world.allocate();
    const tables = firstStage ? { type: 1, first: table } : { type: 2, second: table };
    world.setPasid(DEVICE, 0, { ...(tables as { type: 1 | 2 }), domain: 5 });
    if (descriptor !== undefined) world.startQueue(true);
    for (let mask = 0; mask <= 6; mask++) {
      const size = 1 << mask;
      // Aligned as such a block is, and with neighbours on both sides.
      const [first, end] = [256, 256 + size];
      const pages = Array.from({ length: size + 16 }, (_, i) => BigInt(first - 8 + i));
      const leaves = pages.map((page) =>
        firstStage
          ? world.mapFirst(table, 4, page << 12n, page << 12n)
          : world.mapSecond(table, 4, page << 12n, page << 12n),
      );
      for (const page of pages) world.dma(DEVICE, page << 12n, READ);
      for (const leaf of leaves) world.set64(leaf, 0n);
      // Any page of the block may stand for it.
      const named = BigInt(first + ((size * 5) >> 3));
      if (descriptor !== undefined) {
        expect(world.submit(descriptor(named, mask))).toBe(true);
      } else {
        world.write64(reg.IVA.offset, (named << 12n) | BigInt(mask));
        world.write64(reg.IOTLB.offset, (1n << 63n) | (3n << 60n) | (5n << 32n));
      }
      const lost = pages.filter((page) => world.dma(DEVICE, page << 12n, READ) === undefined).map(Number);
      expect(lost, `of a block of ${size}`).toEqual(Array.from({ length: end - first }, (_, i) => first + i));
    }
  });

  it('loses first-stage entries to invalidations of their PASID, and to any of their domain', () => {
    const world = new World();
    world.start(true);
    world.startQueue(true);
    const table = world.allocate();
    world.setPasid(DEVICE, 3, { type: 1, first: table, domain: 5 });
    const leaf = world.mapFirst(table, 4, 0x1000n, 0x2000n);
    const isCached = (descriptor: readonly [bigint, bigint]): boolean => {
      world.set64(leaf, 0x2000n | P | FW | US);
      world.dma(DEVICE, 0x1000n, READ, 3);
      world.set64(leaf, 0n);
      world.submit(descriptor);
      const cached = world.dma(DEVICE, 0x1000n, READ, 3) !== undefined;
      world.submit(iotlbGlobal);
      return cached;
    };
    expect(isCached(pasidIotlb(5, 3))).toBe(false);
    expect(isCached(pasidIotlb(5, 4))).toBe(true);
    expect(isCached(pasidIotlb(6, 3))).toBe(true);
    expect(isCached(pasidIotlbPages(5, 3, 0x1000n, 0))).toBe(false);
    expect(isCached(pasidIotlbPages(5, 3, 0x2000n, 0))).toBe(true);
    expect(isCached(iotlbPages(5, 0x900_0000n, 0))).toBe(false);
    expect(isCached(iotlbPages(6, 0x1000n, 0))).toBe(true);
  });

  it('displaces old entries when it is full and stays right', () => {
    const { world, table } = legacyWorld();
    for (let page = 0n; page < 6000n; page++) {
      world.mapSecond(table, 4, page << 12n, (page * 7n) << 12n);
    }
    for (let round = 0; round < 2; round++) {
      for (let page = 0n; page < 6000n; page++) {
        expect(world.dma(DEVICE, page << 12n, READ)).toBe((page * 7n) << 12n);
      }
    }
    expect(world.unit.iotlb.size).toBeLessThanOrEqual(4096);
  });
});

describe('cached dirty state', () => {
  it('sets the bit on the first write through an entry that a read brought in', () => {
    const { world, leaf } = trackedWorld();
    world.dma(DEVICE, 0x1000n, READ);
    expect(world.get64(leaf) & D2).toBe(0n);
    world.dma(DEVICE, 0x1000n, WRITE);
    expect(world.get64(leaf) & D2).toBe(D2);
  });

  it('does not set it again through an entry cached dirty: clearing without invalidation loses writes', () => {
    const { world, leaf } = trackedWorld();
    world.dma(DEVICE, 0x1000n, WRITE);
    world.set64(leaf, world.get64(leaf) & ~D2);
    world.dma(DEVICE, 0x1000n, WRITE);
    expect(world.get64(leaf) & D2).toBe(0n);
    // The invalidation is what makes the next write visible again.
    world.submit(iotlbPages(5, 0x1000n, 0, true));
    world.dma(DEVICE, 0x1000n, WRITE);
    expect(world.get64(leaf) & (A2 | D2)).toBe(A2 | D2);
  });

  it('logs nothing for entries cached before tracking was enabled, until they are invalidated', () => {
    const world = new World();
    world.start(true);
    world.startQueue(true);
    const table = world.allocate();
    world.setPasid(DEVICE, 0, { type: 2, second: table, levels: 4, domain: 5 });
    const leaf = world.mapSecond(table, 4, 0x1000n, 0x2000n);
    world.dma(DEVICE, 0x1000n, WRITE);
    world.setPasid(DEVICE, 0, { type: 2, second: table, levels: 4, domain: 5, track: true });
    world.submit(iotlbDomain(5));
    world.dma(DEVICE, 0x1000n, WRITE);
    // The PASID cache still says that nobody tracks.
    expect(world.get64(leaf) & D2).toBe(0n);
    world.submit(pasidCachePasid(5, 0));
    world.dma(DEVICE, 0x1000n, WRITE);
    // And so does the entry of the write before.
    expect(world.get64(leaf) & D2).toBe(0n);
    world.submit(iotlbDomain(5));
    world.dma(DEVICE, 0x1000n, WRITE);
    expect(world.get64(leaf) & D2).toBe(D2);
  });
});

describe('paging-structure caches', () => {
  const remap = (hint: boolean) => {
    const { world, table } = legacyWorld();
    world.mapSecond(table, 4, 0x1000n, 0x2000n);
    world.mapSecond(table, 4, 0x3000n, 0x4000n);
    world.dma(DEVICE, 0x1000n, READ);
    // The leaf table is replaced by another one that maps the same range elsewhere.
    const parent = world.entryAt(table, 4, 0n, 2, RW);
    const replacement = world.allocate();
    world.set64(replacement + 3 * 8, 0x9000n | RW);
    world.set64(parent, BigInt(replacement) | RW);
    world.submit(iotlbPages(5, 0n, 4, hint));
    return world.dma(DEVICE, 0x3000n, READ);
  };

  it('let walks use a table that was replaced, if the invalidation said that only leaves changed', () => {
    expect(remap(true)).toBe(0x4000n);
  });

  it('hold nothing of a walk that failed, whose accessed bits were not set', () => {
    const { world, table } = trackedWorld();
    expect(world.dma(DEVICE, 0x5000n, READ)).toBeUndefined();
    world.mapSecond(table, 4, 0x5000n, 0x6000n);
    expect(world.dma(DEVICE, 0x5000n, READ)).toBe(0x6000n);
    expect(world.get64(table) & A2).toBe(A2);
  });

  it('are dropped by an invalidation without that hint', () => {
    expect(remap(false)).toBe(0x9000n);
  });
});

describe('context and PASID caches', () => {
  it.each([
    ['global', contextGlobal, true],
    ['its domain', contextDomain(5), true],
    ['another domain', contextDomain(6), false],
    ['its device', contextDevice(DEVICE, 5), true],
    ['another device', contextDevice(DEVICE + 1, 5), false],
    ['its device by function mask', contextDevice(DEVICE ^ 7, 5, 3), true],
    ['a device that the function mask tells apart', contextDevice(DEVICE ^ 7, 5, 2), false],
  ] as const)('keep a legacy context until it is invalidated: %s', (_what, descriptor, gone) => {
    const { world, table } = legacyWorld();
    world.mapSecond(table, 4, 0x1000n, 0x2000n);
    world.dma(DEVICE, 0x1000n, READ);
    const other = world.allocate();
    world.mapSecond(other, 4, 0x1000n, 0x7000n);
    world.legacyContext(DEVICE, other, 4, 6);
    expect(world.dma(DEVICE, 0x1000n, READ)).toBe(0x2000n);
    world.submit(descriptor);
    expect(world.dma(DEVICE, 0x1000n, READ)).toBe(gone ? 0x7000n : 0x2000n);
  });

  it.each([
    ['its PASID', pasidCachePasid(5, 3), true],
    ['another PASID', pasidCachePasid(5, 4), false],
    ['its domain', pasidCacheDomain(5), true],
    ['another domain', pasidCacheDomain(6), false],
    ['global', pasidCacheGlobal, true],
    ['contexts only', contextGlobal, false],
  ] as const)('keep a PASID entry until it is invalidated: %s', (_what, descriptor, gone) => {
    const world = new World();
    world.start(true);
    world.startQueue(true);
    const [table, other] = [world.allocate(), world.allocate()];
    world.setPasid(DEVICE, 3, { type: 2, second: table, levels: 4, domain: 5 });
    world.mapSecond(table, 4, 0x1000n, 0x2000n);
    world.mapSecond(other, 4, 0x1000n, 0x7000n);
    world.dma(DEVICE, 0x1000n, READ, 3);
    world.setPasid(DEVICE, 3, { type: 2, second: other, levels: 4, domain: 5 });
    world.submit(iotlbGlobal);
    expect(world.dma(DEVICE, 0x1000n, READ, 3)).toBe(0x2000n);
    world.submit(descriptor, iotlbGlobal);
    expect(world.dma(DEVICE, 0x1000n, READ, 3)).toBe(gone ? 0x7000n : 0x2000n);
  });

  it('serve the PASID that stands for requests without one, too', () => {
    const { world, table } = trackedWorld();
    world.dma(DEVICE, 0x1000n, READ);
    world.setPasid(DEVICE, 0, { type: 2, second: world.allocate(), levels: 4, domain: 5 });
    world.submit(iotlbGlobal);
    expect(world.dma(DEVICE, 0x1000n, READ)).toBe(0x2000n);
    world.submit(pasidCachePasid(5, 0), iotlbGlobal);
    expect(world.dma(DEVICE, 0x1000n, READ)).toBeUndefined();
    expect(table).toBeGreaterThan(0);
  });

  it('stay bounded when a device walks through its PASIDs', () => {
    const world = new World({ bytes: 32 << 20 });
    world.start(true);
    const table = world.allocate();
    world.mapSecond(table, 4, 0x1000n, 0x2000n);
    for (let pasid = 0; pasid < 10_000; pasid++)
      world.setPasid(DEVICE, pasid, { type: 2, second: table, levels: 4 });
    for (let pasid = 0; pasid < 10_000; pasid++)
      expect(world.dma(DEVICE, 0x1000n, READ, pasid)).toBe(0x2000n);
  });

  it('are emptied by a new root pointer where the unit says so, and left stale where it does not', () => {
    for (const invalidateOnPointerSet of [true, false]) {
      const { world, table } = legacyWorld({ invalidateOnPointerSet });
      world.mapSecond(table, 4, 0x1000n, 0x2000n);
      world.dma(DEVICE, 0x1000n, READ);
      world.set64(world.contextAt(DEVICE), 0n);
      world.command(SRTP);
      expect(world.dma(DEVICE, 0x1000n, READ) === undefined).toBe(invalidateOnPointerSet);
    }
  });
});
