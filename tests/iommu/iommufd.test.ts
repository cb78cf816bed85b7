import { describe, expect, it } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import { requesterOf } from '../../base/dma.js';
import { isFerryError } from '../../base/errors.js';
import { FaultPlan } from '../../base/fault.js';
import { seededRandom } from '../../base/random.js';
import { Hwpt, type HwptOptions } from '../../iommu/host/hwpt.js';
import { Ioas } from '../../iommu/host/ioas.js';
import { DEVICE, HostWorld, RAM_BASE } from './host-world.js';

const RW = { read: true, write: true };
const MIB = 1 << 20;

function errnoOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (isFerryError(error, 'iommu/refused')) return String(error.facts.errno);
    throw error;
  }
  return 'done';
}

type Options = HwptOptions & { hugePages?: boolean; writesInFlight?: number };

function trackedBy(options: Options = {}) {
  const { hugePages = false, writesInFlight = 0, ...hwptOptions } = options;
  const world = new HostWorld({ writesInFlight });
  const ioas = new Ioas(world.driver, { hugePages });
  ioas.map(0, RAM_BASE, 8 * MIB, RW);
  const hwpt = new Hwpt(world.driver, ioas, { dirtyTracking: true, ...hwptOptions });
  hwpt.attach(DEVICE);
  return { world, ioas, hwpt };
}

const pagesOf = (bitmap: AtomicBitmap): number[] => {
  const pages: number[] = [];
  for (let page = bitmap.next(0); page >= 0; page = bitmap.next(page + 1)) pages.push(page);
  return pages;
};

function dirty(hwpt: Hwpt, bytes = 8 * MIB, noClear = false): number[] {
  const bitmap = new AtomicBitmap(bytes / 4096);
  hwpt.readDirty({ iova: 0, bytes, noClear }, bitmap);
  return pagesOf(bitmap);
}

describe('an address space', () => {
  it('lets an attached device reach what is mapped, with the rights it is mapped with, and nothing else', () => {
    const world = new HostWorld();
    const ioas = new Ioas(world.driver);
    const hwpt = new Hwpt(world.driver, ioas);
    ioas.map(0x10_0000, RAM_BASE, 0x3000, RW);
    ioas.map(0x20_0000, RAM_BASE + 0x8000, 0x1000, { read: true, write: false });
    expect(world.peek(0x10_0000)).toBeUndefined();
    hwpt.attach(DEVICE);
    world.poke(0x10_2fff, 77);
    expect(world.ram.bytes[0x2fff]).toBe(77);
    expect(world.peek(0x10_2fff)).toBe(77);
    world.poke(0x20_0000, 5);
    expect(world.ram.bytes[0x8000]).toBe(0);
    expect(world.peek(0x20_0000)).toBe(0);
    expect(world.peek(0x10_3000)).toBeUndefined();
    // One record: further faults of a source collapse while its record is pending.
    const [fault, ...more] = world.driver.takeFaults();
    expect(more).toEqual([]);
    expect(fault).toMatchObject({ source: DEVICE, address: 0x10_0000, write: false });
    hwpt.detach(DEVICE);
    expect(world.peek(0x10_0000)).toBeUndefined();
  });

  it('unmaps so that no device reaches the memory any more, whatever it had cached', () => {
    const { world, ioas } = trackedBy({ hugePages: true });
    ioas.map(16 * MIB, RAM_BASE, 4096, RW);
    world.poke(16 * MIB, 3);
    world.poke(0, 3);
    expect(ioas.unmap(16 * MIB, 4096)).toBe(4096);
    expect(world.peek(16 * MIB)).toBeUndefined();
    expect(world.peek(0)).toBe(3);
    expect(ioas.unmapAll()).toBe(8 * MIB);
    expect(world.peek(0)).toBeUndefined();
  });

  it('gives table pages back, so that mapping and unmapping forever costs none', () => {
    const { world, ioas, hwpt } = trackedBy();
    ioas.unmapAll();
    const before = world.driver.pages.available;
    for (let i = 0; i < 50; i++) {
      ioas.map(i * 0x4000_0000, RAM_BASE, 4 * MIB, RW);
      ioas.unmap(i * 0x4000_0000, 4 * MIB);
    }
    expect(world.driver.pages.available).toBe(before);
    hwpt.detach(DEVICE);
    hwpt.destroy();
    expect(world.driver.pages.available).toBeGreaterThan(before);
  });

  it('never lets a device walk a table page that was freed and put to other use', () => {
    const { world, ioas } = trackedBy();
    ioas.unmapAll();
    ioas.map(0x4000_0000, RAM_BASE, 2 * MIB, RW);
    world.poke(0x4000_0000);
    ioas.unmap(0x4000_0000, 2 * MIB);
    // The same table page now maps something else.
    ioas.map(0x8000_0000, RAM_BASE + 4 * MIB, 2 * MIB, RW);
    for (let page = 0; page < 512; page++) expect(world.peek(0x4000_0000 + page * 4096)).toBeUndefined();
    expect(world.peek(0x8000_0000)).toBe(0);
  });

  it('has every accepted write in memory when a device is detached or its memory unmapped', () => {
    for (const end of ['detach', 'unmap']) {
      const { world, ioas, hwpt } = trackedBy({ writesInFlight: 64 });
      world.poke(4096, 42);
      if (end === 'detach') hwpt.detach(DEVICE);
      else ioas.unmapAll();
      expect(world.ram.bytes[4096]).toBe(42);
    }
  });

  it('uses the largest leaves that alignment allows, or 4 KiB ones when huge pages are off', () => {
    const world = new HostWorld({ tableBytes: 16 * MIB });
    const count = (hugePages: boolean, iova: number, target: number, bytes: number) => {
      const ioas = new Ioas(world.driver, { hugePages });
      ioas.map(iova, target, bytes, RW);
      const hwpt = new Hwpt(world.driver, ioas);
      const leaves = hwpt.countLeaves();
      hwpt.destroy();
      return leaves;
    };
    const GIB = 1024 * MIB;
    expect(count(true, GIB, 3 * GIB, GIB)).toEqual([0, 0, 1]);
    expect(count(true, GIB - 4096, 3 * GIB - 4096, GIB + 8192)).toEqual([2, 0, 1]);
    expect(count(true, 2 * MIB, 4 * MIB, 6 * MIB)).toEqual([0, 3, 0]);
    expect(count(true, 2 * MIB, 4 * MIB + 4096, 4 * MIB)).toEqual([1024, 0, 0]);
    expect(count(true, 4096, 2 * MIB + 4096, 4 * MIB)).toEqual([512, 1, 0]);
    expect(count(false, 2 * MIB, 4 * MIB, 6 * MIB)).toEqual([1536, 0, 0]);
    expect(count(true, GIB - 2 * MIB, 2 * GIB - 2 * MIB, GIB + 4 * MIB)).toEqual([0, 2, 1]);
  });

  it('serves several tables and devices, each with its own domain', () => {
    const { world, ioas, hwpt } = trackedBy();
    const other = new Hwpt(world.driver, ioas, { levels: 5 });
    const second = requesterOf(0x0411);
    other.attach(second);
    ioas.map(16 * MIB, RAM_BASE, 4096, RW);
    world.poke(16 * MIB, 9);
    expect(world.peek(16 * MIB, second)).toBe(9);
    expect(other.domain).not.toBe(hwpt.domain);
    ioas.unmap(16 * MIB, 4096);
    expect(world.peek(16 * MIB, second)).toBeUndefined();
  });

  it('refuses what Linux refuses, with its error numbers, and changes nothing', () => {
    const { world, ioas, hwpt } = trackedBy();
    const before = world.driver.pages.available;
    expect(errnoOf(() => ioas.map(0x1001, RAM_BASE, 4096, RW))).toBe('EINVAL');
    expect(errnoOf(() => ioas.map(16 * MIB, RAM_BASE + 1, 4096, RW))).toBe('EINVAL');
    expect(errnoOf(() => ioas.map(16 * MIB, RAM_BASE, 100, RW))).toBe('EINVAL');
    expect(errnoOf(() => ioas.map(16 * MIB, RAM_BASE, 0, RW))).toBe('EINVAL');
    expect(errnoOf(() => ioas.map(16 * MIB, RAM_BASE, 4096, { read: false, write: false }))).toBe('EINVAL');
    expect(errnoOf(() => ioas.map(8 * MIB - 4096, RAM_BASE, 8192, RW))).toBe('EEXIST');
    expect(errnoOf(() => ioas.map(0xfedf_f000, RAM_BASE, 8192, RW))).toBe('EINVAL');
    expect(errnoOf(() => ioas.map(0xfeef_f000, RAM_BASE, 4096, RW))).toBe('EINVAL');
    expect(errnoOf(() => ioas.map(2 ** 48 - 4096, RAM_BASE, 8192, RW))).toBe('EOVERFLOW');
    expect(errnoOf(() => ioas.map(2 ** 40, RAM_BASE, 2 ** 36, RW))).toBe('ENOMEM');
    expect(errnoOf(() => ioas.unmap(16 * MIB, 4096))).toBe('ENOENT');
    expect(errnoOf(() => ioas.unmap(4096, 4096))).toBe('ENOENT');
    expect(errnoOf(() => hwpt.attach(DEVICE))).toBe('EBUSY');
    expect(errnoOf(() => hwpt.detach(requesterOf(1)))).toBe('ENOENT');
    expect(errnoOf(() => hwpt.destroy())).toBe('EBUSY');
    expect(errnoOf(() => hwpt.attach(requesterOf(1), 99_999))).toBe('EINVAL');
    expect(errnoOf(() => new Hwpt(world.driver, ioas, { levels: 2 }))).toBe('EINVAL');
    expect(ioas.mapped.length).toBe(1);
    expect(world.driver.pages.available).toBeGreaterThanOrEqual(before - 4);
  });
});

describe.each(['second', 'first'] as const)('dirty tracking by the %s stage', (stage) => {
  const tracked = (options: Options = {}) => trackedBy({ stage, ...options });

  it('reports exactly the pages written since the last read, over many rounds of random writes', () => {
    const random = seededRandom(31);
    for (const levels of stage === 'second' ? [3, 4, 5] : [4, 5]) {
      const { world, hwpt } = tracked({ levels });
      world.poke(5 * 4096);
      hwpt.setDirtyTracking(true);
      for (let round = 0; round < 12; round++) {
        const written = new Set<number>();
        for (let i = random.below(600); i > 0; i--) {
          const page = random.below(2048);
          if (random.chance(0.3)) world.peek(page * 4096);
          else {
            world.poke(page * 4096 + random.below(4096));
            written.add(page);
          }
        }
        expect(dirty(hwpt)).toEqual([...written].sort((a, b) => a - b));
      }
      expect(dirty(hwpt)).toEqual([]);
    }
  });

  it.each([
    ['after the drain is whole', [], true],
    [
      'before the drain lacks what was on its way, and nothing names the page again',
      [{ site: 'migration/copy-before-drain' }],
      false,
    ],
  ] as const)('a page that is copied %s', (_, rules, whole) => {
    const { world, hwpt } = tracked({ writesInFlight: 4, faults: new FaultPlan(rules) });
    hwpt.setDirtyTracking(true);
    world.poke(5 * 4096 + 7, 99);
    expect(dirty(hwpt)).toEqual([5]);
    const copy = world.ram.bytes.slice(5 * 4096, 6 * 4096);
    // Any later write or interrupt pushes the one before it.
    for (let i = 0; i < 8; i++) world.poke(6 * 4096 + i, 1);
    expect(dirty(hwpt)).toEqual([6]);
    expect(dirty(hwpt)).toEqual([]);
    expect(world.ram.bytes[5 * 4096 + 7]).toBe(99);
    expect(Buffer.compare(copy, world.ram.bytes.slice(5 * 4096, 6 * 4096)) === 0).toBe(whole);
  });

  it.each([
    ['4 KiB', false, 4096, 24],
    ['2 MiB', true, 2 * MIB, 4],
  ] as const)(
    'reports each leaf of %s again that is written again, wherever in the range it lies',
    (_size, hugePages, leafBytes, count) => {
      const { world, hwpt } = tracked({ hugePages });
      hwpt.setDirtyTracking(true);
      const leavesReported = (): number[] => [
        ...new Set(dirty(hwpt).map((page) => Math.floor((page * 4096) / leafBytes))),
      ];
      for (let first = 0; first < count; first++) {
        for (let end = first + 1; end <= count; end++) {
          const written = Array.from({ length: end - first }, (_, i) => first + i);
          // The second time the unit has them cached, unless each one was invalidated.
          for (const time of ['once', 'again']) {
            for (const leaf of written) world.poke(leaf * leafBytes);
            expect(leavesReported(), `leaves ${first} to ${end - 1}, written ${time}`).toEqual(written);
          }
        }
      }
    },
  );

  it('loses a later write when the invalidation after clearing is left out', () => {
    const faults = new FaultPlan([{ site: 'iommu/flush-skipped' }]);
    const { world, hwpt } = tracked({ faults });
    hwpt.setDirtyTracking(true);
    world.poke(7 * 4096);
    expect(dirty(hwpt)).toEqual([7]);
    expect(faults.unfired()).toEqual([]);
    world.poke(7 * 4096, 2);
    // The unit still has the page cached as dirty: nothing tells of this write.
    expect(dirty(hwpt)).toEqual([]);
    const { world: sound, hwpt: other } = tracked();
    other.setDirtyTracking(true);
    sound.poke(7 * 4096);
    dirty(other);
    sound.poke(7 * 4096, 2);
    expect(dirty(other)).toEqual([7]);
  });

  it('returns only after writes in flight are visible, so that a page copied then is complete', () => {
    const { world, hwpt } = tracked({ writesInFlight: 64 });
    hwpt.setDirtyTracking(true);
    world.poke(3 * 4096, 42);
    expect(world.ram.bytes[3 * 4096]).toBe(0);
    expect(dirty(hwpt)).toEqual([3]);
    expect(world.ram.bytes[3 * 4096]).toBe(42);
  });

  it('copied before the drain, the same page would be stale', () => {
    const faults = new FaultPlan([{ site: 'iommu/flush-skipped' }]);
    const { world, hwpt } = tracked({ writesInFlight: 64, faults });
    hwpt.setDirtyTracking(true);
    world.poke(3 * 4096, 42);
    expect(dirty(hwpt)).toEqual([3]);
    expect(world.ram.bytes[3 * 4096]).toBe(0);
  });

  it('covers every write after it was enabled, though the device never stops writing meanwhile', () => {
    const { world, hwpt } = tracked();
    world.betweenWrites = () => world.poke(5 * 4096);
    hwpt.setDirtyTracking(true);
    world.betweenWrites = () => {};
    world.poke(5 * 4096);
    expect(dirty(hwpt)).toEqual([5]);
  });

  it('loses no write that falls between the clearing and the end of the invalidation', () => {
    const { world, hwpt } = tracked();
    hwpt.setDirtyTracking(true);
    world.poke(5 * 4096, 1);
    let copied = 0;
    world.betweenWrites = () => world.poke(5 * 4096, 2);
    expect(dirty(hwpt)).toEqual([5]);
    world.betweenWrites = () => {};
    copied = world.ram.bytes[5 * 4096]!;
    // Either the copy has the write, or the next scan reports it.
    expect(copied === 2 || dirty(hwpt).includes(5)).toBe(true);
  });

  it('invalidates the range it cleared, and not what others have cached', () => {
    const { world, hwpt } = tracked();
    hwpt.setDirtyTracking(true);
    world.poke(8 * 4096);
    world.poke(11 * 4096);
    for (const page of [3, 1000]) world.peek(page * 4096);
    expect(world.unit.iotlb.size).toBe(4);
    dirty(hwpt);
    // Of the first stage a page-selective invalidation takes all. VT-d 6.5.2.3
    expect(world.unit.iotlb.size).toBe(stage === 'second' ? 2 : 0);
  });

  it('clears nothing and invalidates nothing with NO_CLEAR', () => {
    const { world, hwpt } = tracked();
    hwpt.setDirtyTracking(true);
    world.poke(9 * 4096);
    const submissions = world.driver.queue.completed;
    expect(dirty(hwpt, 8 * MIB, true)).toEqual([9]);
    expect(dirty(hwpt, 8 * MIB, true)).toEqual([9]);
    expect(world.driver.queue.completed).toBe(submissions);
    expect(dirty(hwpt)).toEqual([9]);
    expect(world.driver.queue.completed).toBe(submissions + 1);
    expect(dirty(hwpt)).toEqual([]);
    // Nothing dirty, nothing to invalidate.
    expect(world.driver.queue.completed).toBe(submissions + 1);
  });

  it('reports bits relative to the range, at any page size, and only sets them', () => {
    const { world, hwpt } = tracked();
    hwpt.setDirtyTracking(true);
    for (const page of [100, 101, 131, 132, 163, 700]) world.poke(page * 4096);
    const part = new AtomicBitmap(64);
    part.set(0);
    hwpt.readDirty({ iova: 100 * 4096, bytes: 64 * 4096, noClear: true }, part);
    expect(pagesOf(part)).toEqual([0, 1, 31, 32, 63]);
    const coarse = new AtomicBitmap(4);
    hwpt.readDirty({ iova: 0, bytes: 8 * MIB, pageBytes: 2 * MIB }, coarse);
    expect(pagesOf(coarse)).toEqual([0, 1]);
    world.poke(1101 * 4096);
    const odd = new AtomicBitmap(999);
    hwpt.readDirty({ iova: 99 * 4096, bytes: 1002 * 4096 - 3 * 4096 + 0, noClear: true }, odd);
    expect(pagesOf(odd)).toEqual([]);
    const whole = new AtomicBitmap(1003);
    hwpt.readDirty({ iova: 99 * 4096, bytes: 1003 * 4096 }, whole);
    expect(pagesOf(whole)).toEqual([1002]);
  });

  it('leaves alone what lies outside the range that was asked for', () => {
    const { world, hwpt } = tracked();
    hwpt.setDirtyTracking(true);
    world.poke(10 * 4096);
    world.poke(20 * 4096);
    const part = new AtomicBitmap(15);
    hwpt.readDirty({ iova: 0, bytes: 15 * 4096 }, part);
    expect(pagesOf(part)).toEqual([10]);
    expect(dirty(hwpt)).toEqual([20]);
  });

  it('reports all pages of a large leaf for one write', () => {
    const { world, hwpt } = tracked({ hugePages: true });
    expect(hwpt.countLeaves()).toEqual([0, 4, 0]);
    hwpt.setDirtyTracking(true);
    world.poke(3 * MIB);
    const pages = dirty(hwpt);
    expect(pages.length).toBe(512);
    expect(pages[0]).toBe(512);
    world.poke(2 * MIB);
    expect(dirty(hwpt).length).toBe(512);
  });

  it('keeps the bit of a large leaf that reaches beyond the range, because the rest of it was not reported', () => {
    const { world, hwpt } = tracked({ hugePages: true });
    hwpt.setDirtyTracking(true);
    world.poke(3 * MIB);
    const part = new AtomicBitmap(256);
    hwpt.readDirty({ iova: 2 * MIB, bytes: MIB }, part);
    expect(part.count()).toBe(256);
    expect(dirty(hwpt).length).toBe(512);
  });

  it('splits large leaves while tracking, if asked, and joins them again afterwards', () => {
    const { world, ioas, hwpt } = tracked({ hugePages: true, demote: true });
    world.poke(3 * MIB);
    const pages = world.driver.pages.available;
    hwpt.setDirtyTracking(true);
    expect(hwpt.countLeaves()).toEqual([2048, 0, 0]);
    world.poke(3 * MIB, 8);
    expect(dirty(hwpt)).toEqual([768]);
    ioas.map(16 * MIB, RAM_BASE, 2 * MIB, RW);
    expect(hwpt.countLeaves()).toEqual([2560, 0, 0]);
    hwpt.setDirtyTracking(false);
    expect(hwpt.countLeaves()).toEqual([0, 5, 0]);
    expect(world.driver.pages.available).toBe(pages);
    expect(world.peek(3 * MIB)).toBe(8);
  });

  it('lets no device walk the tables that joining freed', () => {
    const { world, ioas, hwpt } = tracked({ hugePages: true, demote: true });
    hwpt.setDirtyTracking(true);
    // The device goes on all the time, so that whatever is not invalidated last is cached again.
    world.betweenWrites = () => {
      for (let at = 0; at < 8 * MIB; at += 2 * MIB) world.peek(at);
    };
    hwpt.setDirtyTracking(false);
    world.betweenWrites = () => {};
    // These take the freed table pages.
    for (let i = 0; i < 8; i++) ioas.map(0x4000_0000 * (i + 4), RAM_BASE + 8 * MIB, 4096, RW);
    for (let page = 0; page < 2048; page++) {
      expect(world.unit.translate(DEVICE, -1, page << 12, 0, 1)).toBe(0);
      expect(world.unit.result[0]).toBe(RAM_BASE + page * 4096);
    }
  });

  it('splits and joins 1 GiB leaves through both levels', () => {
    const world = new HostWorld({ tableBytes: 8 * MIB });
    const ioas = new Ioas(world.driver);
    ioas.map(0, 4 * 1024 * MIB, 1024 * MIB, RW);
    const hwpt = new Hwpt(world.driver, ioas, { dirtyTracking: true, demote: true });
    expect(hwpt.countLeaves()).toEqual([0, 0, 1]);
    hwpt.setDirtyTracking(true);
    expect(hwpt.countLeaves()).toEqual([512 * 512, 0, 0]);
    hwpt.setDirtyTracking(false);
    expect(hwpt.countLeaves()).toEqual([0, 0, 1]);
  });

  it('covers devices attached while it is on, and requests with PASID', () => {
    const { world, hwpt } = tracked();
    hwpt.setDirtyTracking(true);
    const other = requesterOf(0x0412);
    hwpt.attach(other);
    hwpt.attach(other, 300);
    world.poke(4096, 1, other);
    expect(world.unit.translate(other, 300, 8192, 0, 2)).toBe(0);
    expect(dirty(hwpt)).toEqual([1, 2]);
  });

  it('starts from a clean slate when it is enabled again', () => {
    const { world, hwpt } = tracked();
    hwpt.setDirtyTracking(true);
    world.poke(4096);
    hwpt.setDirtyTracking(false);
    world.poke(8192);
    hwpt.setDirtyTracking(true);
    expect(dirty(hwpt)).toEqual([]);
    world.poke(8192);
    expect(dirty(hwpt)).toEqual([2]);
  });

  it('refuses what Linux refuses', () => {
    const { world, ioas, hwpt } = tracked();
    const bitmap = new AtomicBitmap(2048);
    const read = (iova: number, bytes: number, pageBytes = 4096) =>
      errnoOf(() => hwpt.readDirty({ iova, bytes, pageBytes }, bitmap));
    expect(read(0, 4096)).toBe('EINVAL');
    hwpt.setDirtyTracking(true);
    expect(read(0, 4096)).toBe('done');
    expect(read(1, 4096)).toBe('EINVAL');
    expect(read(4096, 8192, 8192)).toBe('EINVAL');
    expect(read(0, 12288, 12288)).toBe('EINVAL');
    expect(read(0, 4096, 2048)).toBe('EINVAL');
    expect(read(0, 0)).toBe('EINVAL');
    expect(read(8 * MIB - 4096, 8192)).toBe('EINVAL');
    ioas.map(8 * MIB, RAM_BASE, 8 * MIB, RW);
    expect(read(8 * MIB - 4096, 8192)).toBe('done');
    expect(read(0, 16 * MIB)).toBe('EINVAL');
    const plain = new Hwpt(world.driver, ioas);
    expect(errnoOf(() => plain.setDirtyTracking(true))).toBe('EOPNOTSUPP');
    const incapable = new HostWorld({ secondStageDirty: false });
    const create = (more: HwptOptions = {}) =>
      errnoOf(
        () => new Hwpt(incapable.driver, new Ioas(incapable.driver), { dirtyTracking: true, stage, ...more }),
      );
    // The bits of the first stage are there wherever that is.
    expect(create()).toBe(stage === 'second' ? 'EOPNOTSUPP' : 'done');
    expect(create({ levels: stage === 'second' ? 2 : 3 })).toBe(stage === 'second' ? 'EOPNOTSUPP' : 'EINVAL');
    expect(errnoOf(() => hwpt.attachNested(0x500, 1, 4096, 4))).toBe(stage === 'second' ? 'done' : 'EINVAL');
  });
});
