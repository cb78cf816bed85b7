/** A device's own log of what it has written: no write is ever missed, whatever the page size and the moment. */
import { describe, expect, it } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import { type DmaPort, type MsiPort, requesterOf } from '../../base/dma.js';
import { seededRandom } from '../../base/random.js';
import { type Iova, iova } from '../../base/units.js';
import { DmaLog, LOG_RANGES_MAX } from '../../devices/vfio/dma-log.js';
import { Hwpt } from '../../iommu/host/hwpt.js';
import { Ioas } from '../../iommu/host/ioas.js';
import { DEVICE, HostWorld, RAM_BASE } from '../iommu/host-world.js';
import { bytesOf, ethernet, PEER, vfMac } from './frames.js';
import { TestMachine, TestMemory } from './machine.js';
import { GuestVf } from './vf-guest.js';

const VF = requesterOf(0x0181);
const OTHER = requesterOf(0x0183);
const PAGE = 4096;

function setUp(memoryBytes = 0x40_0000) {
  const memory = new TestMemory(memoryBytes);
  const next: DmaPort & MsiPort = memory;
  const log = new DmaLog({ name: 'vf0', source: { routingId: VF }, next });
  const write = (address: number, length: number, requester = VF) =>
    log.write(requester, iova(address), new Uint8Array(length).fill(1), 0, length);
  return { memory, log, write };
}

/** Bits of a report, in ascending order. */
function report(log: DmaLog, from: number, length: number, pageSize = PAGE): number[] {
  const bitmap = new AtomicBitmap(Math.ceil(length / pageSize));
  log.report(from, length, pageSize, bitmap);
  return bitsOf(bitmap);
}

function bitsOf(bitmap: AtomicBitmap): number[] {
  const found: number[] = [];
  for (let bit = bitmap.next(0); bit >= 0; bit = bitmap.next(bit + 1)) found.push(bit);
  return found;
}

const errno = (action: () => unknown): string => {
  try {
    action();
  } catch (error) {
    return String((error as { facts: { errno: string } }).facts.errno);
  }
  return 'none';
};

describe('what is logged', () => {
  it('are writes of every kind by the device itself, where it was asked for', () => {
    const { log, write } = setUp();
    log.start([{ iova: 0x1000, length: 0x10_0000 }]);
    write(0x3fff, 2);
    log.writeDescriptor(VF, iova(0x8000), 1, 2, 3, 4);
    log.send(VF, iova(0xa004), 5);
    log.read(VF, iova(0xc000), new Uint8Array(4), 0, 4);
    write(0xd000, 4, OTHER);
    log.writeDescriptor(OTHER, iova(0xe000), 1, 2, 3, 4);
    log.send(OTHER, iova(0xf000), 5);
    write(0x800, 0x1000);
    write(0x10_0ff0, 0x20);
    write(0x20_0000, 4);
    expect(report(log, 0x1000, 0x10_0000)).toEqual([0, 2, 3, 7, 9, 0xff]);
    expect(report(log, 0x1000, 0x10_0000), 'a report forgets').toEqual([]);
  });

  it('goes on to memory, on or off', () => {
    const { memory, log, write } = setUp();
    write(0x5000, 3);
    log.start([{ iova: 0, length: 0x10_0000 }]);
    write(0x6000, 3);
    log.writeDescriptor(VF, iova(0x7000), 1, 2, 3, 4);
    log.send(VF, iova(0xfee0_0000), 0x41);
    log.stop();
    expect([memory.bytes[0x5002], memory.bytes[0x6002], memory.view.getUint32(0x700c, true)]).toEqual([
      1, 1, 4,
    ]);
    expect(memory.messages).toEqual([{ requester: VF, address: 0xfee0_0000, data: 0x41 }]);
  });

  it('follows the device when its bus is renumbered', () => {
    const memory = new TestMemory(0x1_0000);
    const source = { routingId: VF };
    const log = new DmaLog({ name: 'vf0', source, next: memory });
    log.start([{ iova: 0, length: 0x1_0000 }]);
    source.routingId = OTHER;
    log.write(VF, iova(0x1000), new Uint8Array(4), 0, 4);
    log.write(OTHER, iova(0x2000), new Uint8Array(4), 0, 4);
    expect(report(log, 0, 0x1_0000)).toEqual([2]);
  });

  it('was written after the start, and starts anew after a stop', () => {
    const { log, write } = setUp();
    const range = [{ iova: 0, length: 0x1_0000 }];
    write(0x1000, 4);
    log.start(range);
    write(0x2000, 4);
    log.stop();
    log.stop();
    write(0x3000, 4);
    log.start(range);
    expect(report(log, 0, 0x1_0000)).toEqual([]);
  });
});

describe('a report', () => {
  it('is of any power of two, finer or coarser than the log, counted from its own start', () => {
    for (let shift = 0; shift <= 20; shift++) {
      const { log, write } = setUp();
      log.start([{ iova: 0, length: 0x20_0000 }]);
      write(0x4_3123, 4);
      const pageSize = 2 ** shift;
      const start = 0x4_2000;
      const expected: number[] = [];
      for (let at = 0x4_3000; at < 0x4_4000; at++) {
        const bit = Math.floor((at - start) / pageSize);
        if (expected.at(-1) !== bit) expected.push(bit);
      }
      expect(report(log, start, 0x10_0000, pageSize), `page size ${pageSize}`).toEqual(expected);
    }
  });

  it('takes only its own range, and or-s', () => {
    const { log, write } = setUp();
    log.start([{ iova: 0, length: 0x10_0000 }]);
    for (const page of [3, 4, 5, 40]) write(page * PAGE, 1);
    const bitmap = new AtomicBitmap(64);
    bitmap.set(60);
    log.report(4 * PAGE, 10 * PAGE, PAGE, bitmap);
    expect(bitsOf(bitmap)).toEqual([0, 1, 60]);
    expect(report(log, 0, 0x10_0000)).toEqual([3, 40]);
  });

  it('of a part of a page leaves the page marked for the rest of it', () => {
    const { log, write } = setUp();
    log.start([{ iova: 0, length: 0x10_0000 }]);
    write(0x3800, 0x1000);
    expect(report(log, 0x3000, 0x1800, 0x800)).toEqual([0, 1, 2]);
    expect(report(log, 0, 0x10_0000)).toEqual([4]);
    expect(report(log, 0, 0x10_0000)).toEqual([]);
  });

  it('goes over neighbouring ranges, and over none that is not logged', () => {
    const { log, write } = setUp();
    log.start([
      { iova: 0x2_0000, length: 0x1_0000 },
      { iova: 0x1_0000, length: 0x1_0000 },
      { iova: 0x8_0000, length: 0x800 },
    ]);
    write(0x1_fffc, 8);
    write(0x8_0700, 0x200);
    expect(report(log, 0x1_0000, 0x2_0000)).toEqual([15, 16]);
    expect(report(log, 0x8_0000, 0x800)).toEqual([0]);
    expect(errno(() => report(log, 0x1_0000, 0x2_1000))).toBe('EINVAL');
    expect(errno(() => report(log, 0x8_0000, 0x1000))).toBe('EINVAL');
    expect(errno(() => report(log, 0, 0x1000))).toBe('EINVAL');
  });
});

describe('errors', () => {
  it('are those of Linux', () => {
    const { log } = setUp();
    const range = { iova: 0x1000, length: 0x1000 };
    const ranges = (count: number) =>
      Array.from({ length: count }, (_, i) => ({ iova: i * 0x2000, length: 0x1000 }));
    const bitmap = new AtomicBitmap(1);
    expect(errno(() => log.report(0x1000, 0x1000, PAGE, bitmap))).toBe('EINVAL');
    expect(errno(() => log.start([]))).toBe('EINVAL');
    expect(errno(() => log.start(ranges(LOG_RANGES_MAX + 1)))).toBe('E2BIG');
    expect(errno(() => log.start([range, { iova: 0x1fff, length: 2 }]))).toBe('EINVAL');
    expect(errno(() => log.start([range, range]))).toBe('EINVAL');
    expect(errno(() => log.start([{ iova: 0, length: 0 }]))).toBe('EINVAL');
    expect(errno(() => log.start([{ iova: -1, length: 2 }]))).toBe('EINVAL');
    expect(errno(() => log.start([{ iova: 2 ** 53, length: 2 }]))).toBe('EINVAL');
    for (const pageSize of [0, 1, 2048, 5000, 12288])
      expect(errno(() => log.start([range], pageSize))).toBe('EINVAL');
    expect(log.started).toBe(false);
    expect(log.start(ranges(LOG_RANGES_MAX), 2 ** 21), 'the log chooses').toBe(PAGE);
    expect(errno(() => log.start([range]))).toBe('EBUSY');
    for (const pageSize of [0, 3, 4095, -4096]) {
      expect(errno(() => log.report(0, 0x1000, pageSize, bitmap))).toBe('EINVAL');
    }
    expect(
      errno(() => log.report(0, 0x1000, 2048, bitmap)),
      'too short a bitmap',
    ).toBe('EINVAL');
    expect(errno(() => log.report(0, 0, PAGE, bitmap))).toBe('EINVAL');
    expect(errno(() => log.report(0, 0x1000, PAGE, bitmap))).toBe('none');
  });

  it('a range beyond what it can keep in small pages it logs in larger ones', () => {
    const { log } = setUp();
    expect(log.start([{ iova: 0, length: 2 ** 41 }])).toBe(PAGE * 4);
    const sink = new DmaLog({
      name: 'vf1',
      source: { routingId: VF },
      next: { read: () => true, write: () => {}, writeDescriptor: () => {}, send: () => {} },
    });
    expect(sink.start([{ iova: 2 ** 40, length: 2 ** 48 }])).toBe(2 ** 21);
    sink.write(VF, iova(2 ** 40 + 2 ** 33), new Uint8Array(4), 0, 4);
    expect(report(sink, 2 ** 40 + 2 ** 33 - 2 ** 30, 2 ** 31, 2 ** 21)).toEqual([512]);
  });
});

describe('a copy made by reports', () => {
  /** Copies what reports say while the device writes; true if in the end nothing differs. */
  function copies(seed: number, pageSize: number, lose: (bitmap: AtomicBitmap) => void = () => {}): boolean {
    const random = seededRandom(seed);
    const { memory, log } = setUp(0x8_0000);
    const { bytes } = memory;
    log.start([
      { iova: 0, length: 0x4_0100 },
      { iova: 0x4_0100, length: 0x3_ff00 },
    ]);
    const copy = bytes.slice();
    const harvest = (): void => {
      const start = random.below(3) * 0x3000;
      const length = random.chance(0.5) ? bytes.length - start : 1 + random.below(bytes.length - start);
      take(start, length);
    };
    const take = (start: number, length: number): void => {
      const bitmap = new AtomicBitmap(Math.ceil(length / pageSize));
      log.report(start, length, pageSize, bitmap);
      lose(bitmap);
      for (const bit of bitsOf(bitmap)) {
        const at = start + bit * pageSize;
        copy.set(bytes.subarray(at, Math.min(at + pageSize, bytes.length)), at);
      }
    };
    for (let i = 0; i < 400; i++) {
      const length = 1 + random.below(random.chance(0.2) ? 20_000 : 64);
      const at = random.below(bytes.length - length);
      if (random.chance(0.3)) log.writeDescriptor(VF, iova(at & ~15), random.u32(), 0, 0, i);
      else
        log.write(
          VF,
          iova(at),
          Uint8Array.from({ length }, () => random.below(256)),
          0,
          length,
        );
      if (random.chance(0.1)) harvest();
    }
    take(0, bytes.length);
    return Buffer.compare(copy, bytes) === 0;
  }

  it('is complete, with any page size, range and order', () => {
    for (let seed = 1; seed <= 12; seed++) {
      for (const pageSize of [512, 4096, 65536]) expect(copies(seed, pageSize)).toBe(true);
    }
  });

  it('is not when a report loses a bit (the check can fail)', () => {
    expect(
      copies(1, 4096, (bitmap) => bitmap.next(0) >= 0 && bitmap.exchangeWord(bitmap.next(0) >>> 5)),
    ).toBe(false);
  });

  /** A report and a copy come in the very middle of a write: as if from another thread. */
  function interrupted(markFirst: boolean): boolean {
    const memory = new TestMemory(0x1_0000);
    const copy = memory.bytes.slice();
    let inTheMiddle = (): void => {};
    const slow: DmaPort & MsiPort = {
      read: () => true,
      write(requester, address, source, at, length) {
        const half = length >>> 1;
        memory.write(requester, address, source, at, half);
        inTheMiddle();
        memory.write(requester, (address + half) as Iova, source, at + half, length - half);
        inTheMiddle();
      },
      writeDescriptor: () => {},
      send: () => {},
    };
    const sink: DmaPort & MsiPort = { ...slow, write: () => {} };
    const log = new DmaLog({ name: 'vf0', source: { routingId: VF }, next: markFirst ? sink : slow });
    log.start([{ iova: 0, length: 0x1_0000 }]);
    inTheMiddle = () => {
      for (const page of report(log, 0, 0x1_0000)) {
        copy.set(memory.bytes.subarray(page * PAGE, (page + 1) * PAGE), page * PAGE);
      }
    };
    const source = bytesOf(6000);
    log.write(VF, iova(0x2f00), source, 0, source.length);
    if (markFirst) slow.write(VF, iova(0x2f00), source, 0, source.length);
    inTheMiddle();
    return Buffer.compare(copy, memory.bytes) === 0;
  }

  it('misses nothing even if reports come in the middle of a write, because the mark is made after it', () => {
    expect(interrupted(false)).toBe(true);
    expect(interrupted(true), 'marked before, it would').toBe(false);
  });

  /** The bus holds writes back until something pushes them. */
  function posted(push: boolean): boolean {
    const memory = new TestMemory(0x1_0000);
    const held: (() => void)[] = [];
    const retire = (): void => {
      for (const write of held.splice(0)) write();
    };
    const bus: DmaPort & MsiPort = {
      read(requester, address, target, at, length) {
        if (push) retire();
        return memory.read(requester, address, target, at, length);
      },
      write: (requester, address, source, at, length) => {
        const bytes = source.slice(at, at + length);
        held.push(() => memory.write(requester, address, bytes, 0, length));
      },
      writeDescriptor: () => {},
      send: () => {},
    };
    const log = new DmaLog({ name: 'vf0', source: { routingId: VF }, next: bus });
    log.start([{ iova: 0, length: 0x1_0000 }]);
    log.write(VF, iova(0x2000), bytesOf(100), 0, 100);
    const copy = new Uint8Array(0x1_0000);
    for (const page of report(log, 0, 0x1_0000)) {
      copy.set(memory.bytes.subarray(page * PAGE, (page + 1) * PAGE), page * PAGE);
    }
    retire();
    return Buffer.compare(copy, memory.bytes) === 0;
  }

  it('has what was still on its way, because a report pushes it', () => {
    expect(posted(true)).toBe(true);
    expect(posted(false), 'on a bus where reads push nothing, it would not').toBe(false);
  });
});

describe('the log in front of VT-d', () => {
  it('knows the pages that the unit knows, and what it reports is in memory', () => {
    const world = new HostWorld({ writesInFlight: 8 });
    const ioas = new Ioas(world.driver, { hugePages: false });
    ioas.map(0, RAM_BASE, 0x10_0000, { read: true, write: true });
    const hwpt = new Hwpt(world.driver, ioas, { dirtyTracking: true });
    hwpt.attach(DEVICE);
    hwpt.setDirtyTracking(true);
    const log = new DmaLog({ name: 'vf0', source: { routingId: DEVICE }, next: world.bus });
    log.start([{ iova: 0, length: 0x20_0000 }]);
    const random = seededRandom(3);
    for (let i = 0; i < 20; i++) {
      const at = random.below(0xf_0000);
      log.write(DEVICE, iova(at), bytesOf(3000), 0, 3000);
      const held = world.ram.bytes[at + 2999] !== bytesOf(3000)[2999];
      expect(held, 'the bus keeps it for now').toBe(true);
      const unit = new AtomicBitmap(0x100);
      const pages = report(log, 0, 0x20_0000);
      expect(Buffer.compare(world.ram.bytes.subarray(at, at + 3000), bytesOf(3000))).toBe(0);
      hwpt.readDirty({ iova: 0, bytes: 0x10_0000, noClear: false }, unit);
      expect(pages).toEqual(bitsOf(unit));
      world.ram.bytes.fill(0);
    }
    log.write(DEVICE, iova(0x18_0000), bytesOf(4), 0, 4);
    expect(report(log, 0, 0x20_0000), 'a blocked write is one page too many').toEqual([0x180]);
  });
});

describe('the log of a VF under traffic', () => {
  it('is complete, and knows nothing of the other VF’s writes', () => {
    /** Memory behind the log of the first VF. */
    class Logged extends TestMemory {
      readonly log = new DmaLog({
        name: 'vf0',
        source: {
          get routingId() {
            return machine.vf(0).fn.routingId;
          },
        },
        next: {
          read: (...args) => super.read(...args),
          write: (...args) => super.write(...args),
          writeDescriptor: (...args) => super.writeDescriptor(...args),
          send: (...args) => super.send(...args),
        },
      });
      override read(...args: Parameters<TestMemory['read']>): boolean {
        const [requester, address, ...rest] = args;
        return this.log.read(requesterOf(requester), iova(address), ...rest);
      }
      override write(...args: Parameters<TestMemory['write']>): void {
        const [requester, address, ...rest] = args;
        this.log.write(requesterOf(requester), iova(address), ...rest);
      }
      override writeDescriptor(requester: number, address: number, ...dwords: number[]): void {
        const [d0, d1, d2, d3] = dwords as [number, number, number, number];
        this.log.writeDescriptor(requesterOf(requester), iova(address), d0, d1, d2, d3);
      }
    }
    const memory = new Logged(0x40_0000);
    const machine: TestMachine = new TestMachine({ memory, vfs: [{ mac: vfMac(0) }, { mac: vfMac(1) }] });
    const guests = [0x10_0000, 0x20_0000].map((base, n) => new GuestVf(machine, machine.vf(n), base).start());
    memory.log.start([{ iova: 0, length: 0x40_0000 }]);
    const before = memory.bytes.slice();
    for (let i = 0; i < 20; i++) {
      for (const n of [0, 1]) {
        const frame = ethernet(vfMac(n), PEER, bytesOf(100 + i * 60, i + 1));
        machine.nic.receive({ bytes: frame, length: frame.length });
      }
    }
    const changed = new Set<number>();
    for (let at = 0; at < before.length; at++) if (before[at] !== memory.bytes[at]) changed.add(at >>> 12);
    for (const guest of guests) guest.send(ethernet(PEER, vfMac(0), bytesOf(60)));
    changed.add(guests[0]!.txRing >>> 12);
    const own = [...changed].filter((page) => page < 0x200).sort((a, b) => a - b);
    expect(own.length).toBeGreaterThan(8);
    expect(report(memory.log, 0, 0x40_0000)).toEqual(own);
  });
});
