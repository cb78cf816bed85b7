import { describe, expect, it } from 'vitest';
import { requesterOf } from '../../base/dma.js';
import { seededRandom } from '../../base/random.js';
import { iova } from '../../base/units.js';
import { TranslatedBus } from '../../iommu/dma.js';
import { D2, iotlbDomain, iotlbGlobal, READ, World } from './world.js';

const DEVICE = requesterOf(0x0310);

function world(writesInFlight = 0) {
  const w = new World();
  w.start(true);
  w.startQueue(true);
  const table = w.allocate();
  w.setPasid(DEVICE, 0, { type: 2, second: table, levels: 4, domain: 5, track: true });
  const pages = Array.from({ length: 8 }, () => w.allocate());
  // Scattered in host memory, and a hole after the sixth.
  const leaves = [0, 1, 2, 3, 4, 5, 7].map((i) =>
    w.mapSecond(table, 4, BigInt(0x10_0000 + i * 4096), BigInt(pages[(i * 3) % 8]!)),
  );
  const bus = new TranslatedBus(w.unit, w.memory, writesInFlight);
  const at = (offset: number): number => pages[((offset >> 12) * 3) % 8]! - w.base + (offset & 0xfff);
  return { w, table, bus, at, leaves };
}

describe('translated DMA', () => {
  it('writes and reads across pages that are scattered in host memory, at any alignment and length', () => {
    const { w, bus, at } = world();
    const random = seededRandom(21);
    const bytes = new Uint8Array(w.buffer);
    for (let step = 0; step < 100; step++) {
      const length = random.below(9000);
      const start = random.below(0x6000 - length);
      const data = new Uint8Array(length + 7);
      random.fill(data);
      bus.write(DEVICE, iova(0x10_0000 + start), data, 7, length);
      for (let i = 0; i < length; i += 97) expect(bytes[at(start + i)]).toBe(data[7 + i]);
      const back = new Uint8Array(length + 3);
      expect(bus.read(DEVICE, iova(0x10_0000 + start), back, 3, length)).toBe(true);
      expect(Buffer.compare(back.subarray(3), data.subarray(7))).toBe(0);
    }
  });

  it('ends at the first page that is blocked', () => {
    const { w, bus, at } = world();
    bus.write(DEVICE, iova(0x10_5ffe), new Uint8Array([1, 2, 3, 4]), 0, 4);
    expect(new Uint8Array(w.buffer)[at(0x5fff)]).toBe(2);
    expect(w.takeFaults()).toMatchObject([{ page: 0x10_6000n, write: true }]);
    expect(bus.read(DEVICE, iova(0x10_5ffe), new Uint8Array(4), 0, 4)).toBe(false);
    expect(bus.read(DEVICE, iova(0x10_5ffe), new Uint8Array(4), 0, 2)).toBe(true);
  });

  it('answers reads of mapped pages without memory behind them as unsupported, and drops writes', () => {
    const { w, table, bus } = world();
    w.mapSecond(table, 4, 0x20_0000n, 0x7_0000_0000n);
    expect(bus.read(DEVICE, iova(0x20_0000), new Uint8Array(4), 0, 4)).toBe(false);
    bus.write(DEVICE, iova(0x20_0000), new Uint8Array(4), 0, 4);
    bus.writeDescriptor(DEVICE, iova(0x20_0000), 1, 2, 3, 4);
    expect(w.takeFaults()).toEqual([]);
  });

  it('writes descriptors whole, also where they are misaligned or cross a page', () => {
    const { w, bus, at } = world();
    for (const start of [0x20, 0x24, 0xff8]) {
      bus.writeDescriptor(DEVICE, iova(0x10_0000 + start), 0x11, 0x2222_2222, 0xffff_ffff, 0x8000_0001);
      const back = new Uint8Array(16);
      bus.read(DEVICE, iova(0x10_0000 + start), back, 0, 16);
      expect([...new Uint32Array(back.buffer)]).toEqual([0x11, 0x2222_2222, 0xffff_ffff, 0x8000_0001]);
      expect(w.view.getUint8(at(start))).toBe(0x11);
    }
  });

  it('sends a message outside the interrupt range to memory', () => {
    const { w, bus, at } = world();
    bus.send(DEVICE, iova(0x10_0100), 0xabcd);
    expect(w.view.getUint32(at(0x100), true)).toBe(0xabcd);
    expect(w.interrupts).toEqual([]);
  });

  it('takes any address and length without throwing', () => {
    const { bus } = world();
    for (const address of [0, 2 ** 32 - 1, 2 ** 48 - 1, 2 ** 53, 2 ** 57, 2 ** 64 - 4096, 2 ** 64]) {
      for (const length of [0, 1, 4, 5000]) {
        bus.write(DEVICE, iova(address), new Uint8Array(length), 0, length);
        bus.read(DEVICE, iova(address), new Uint8Array(length), 0, length);
        bus.send(DEVICE, iova(address), length);
        bus.writeDescriptor(DEVICE, iova(address), 0, 0, 0, 0);
      }
    }
  });
});

describe('writes in flight', () => {
  const byte = (w: World, at: number): number => new Uint8Array(w.buffer)[at]!;

  it('are invisible until an invalidation has drained them', () => {
    const { w, bus, at } = world(16);
    bus.write(DEVICE, iova(0x10_0000), new Uint8Array([9]), 0, 1);
    expect(byte(w, at(0))).toBe(0);
    expect(w.submit(iotlbDomain(5))).toBe(true);
    expect(byte(w, at(0))).toBe(9);
  });

  it('are not drained by a wait alone, nor by an invalidation that does not ask for it', () => {
    const { w, bus, at } = world(16);
    bus.write(DEVICE, iova(0x10_0000), new Uint8Array([9]), 0, 1);
    const [low, high] = iotlbDomain(5);
    expect(w.submit([low & ~0xc0n, high])).toBe(true);
    expect(byte(w, at(0))).toBe(0);
    w.submit(iotlbDomain(5));
    expect(byte(w, at(0))).toBe(9);
  });

  it('become visible in order, pushed by newer ones', () => {
    const { w, bus, at } = world(2);
    for (let i = 0; i < 4; i++) bus.write(DEVICE, iova(0x10_0000), new Uint8Array([i + 1]), 0, 1);
    expect(byte(w, at(0))).toBe(2);
  });

  it('become visible before the device reads and before its interrupts', () => {
    const { w, bus, at } = world(16);
    const back = new Uint8Array(1);
    bus.write(DEVICE, iova(0x10_0000), new Uint8Array([7]), 0, 1);
    expect(bus.read(DEVICE, iova(0x10_0000), back, 0, 1)).toBe(true);
    expect(back[0]).toBe(7);
    bus.writeDescriptor(DEVICE, iova(0x10_0010), 1, 2, 3, 4);
    expect(w.view.getUint32(at(0x1c), true)).toBe(0);
    bus.send(DEVICE, iova(0xfee0_0000), 1);
    expect(w.view.getUint32(at(0x1c), true)).toBe(4);
    expect(w.interrupts.length).toBe(1);
  });
});

describe('the dirty bit of a page', () => {
  type Bus = ReturnType<typeof world>['bus'];
  const data = new Uint8Array(64).fill(0xff);
  const waysToWrite: [string, (bus: Bus, at: number) => void][] = [
    ['a byte', (bus, at) => bus.write(DEVICE, iova(at), data, 0, 1)],
    ['many bytes', (bus, at) => bus.write(DEVICE, iova(at), data, 0, 64)],
    ['a descriptor', (bus, at) => bus.writeDescriptor(DEVICE, iova(at), -1, -1, -1, -1)],
    ['a message to memory', (bus, at) => bus.send(DEVICE, iova(at), 0xffff_ffff)],
  ];

  it.each(waysToWrite)(
    'is set before %s can be seen, so that whoever sees it finds the page reported',
    (_what, write) => {
      for (const writesInFlight of [0, 4]) {
        for (const readBefore of [false, true]) {
          const { w, bus, at, leaves } = world(writesInFlight);
          const { unit } = w;
          const translate = unit.translate.bind(unit);
          const look = () => ({
            dirty: (w.get64(leaves[2]!) & D2) !== 0n,
            data: new Uint8Array(w.buffer)[at(0x2040)] !== 0,
          });
          // The bus has nothing else to do between the unit's answer and the data: what it finds there it leaves there.
          const answers: ReturnType<typeof look>[] = [];
          unit.translate = (...request) => {
            answers.push(look());
            const outcome = translate(...request);
            answers.push(look());
            return outcome;
          };
          if (readBefore) w.dma(DEVICE, 0x10_2040n, READ);
          answers.length = 0;
          write(bus, 0x10_2040);
          expect(
            answers.filter((seen) => seen.data && !seen.dirty),
            'data in a page that is not dirty',
          ).toEqual([]);
          expect(answers.at(-1), 'when the unit has let the write pass').toEqual({
            dirty: true,
            data: false,
          });
          w.submit(iotlbGlobal);
          expect(look()).toEqual({ dirty: true, data: true });
        }
      }
    },
  );
});
