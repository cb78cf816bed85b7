import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import { FaultPlan } from '../../base/fault.js';
import { hpa } from '../../base/units.js';
import { VtdDriver } from '../../iommu/host/driver.js';
import { Hwpt, type HwptOptions } from '../../iommu/host/hwpt.js';
import { Ioas } from '../../iommu/host/ioas.js';
import { TablePages } from '../../iommu/host/table-pages.js';
import type { UnitPort } from '../../iommu/host/unit-port.js';
import { HostRegion } from '../../iommu/host-memory.js';
import { simdLeafScanner } from '../../vmm/kernels/leaf-scanner.js';
import { DEVICE, RAM_BASE, TABLES_BASE } from './host-world.js';

const TABLE_BYTES = 1 << 20;
/** The word of each page that the device writes. */
const WRITTEN_WORD = 16;
/** Passes of pre-copy, at least; they go on until the device has made so many writes. */
const PASSES = 50;
const WRITES = 100_000;

/** Words of the mailbox; see device-worker.mjs. */
const STATE = 3;
const WRITTEN = 4;
const BLOCKED = 5;
const MISDIRECTED = 6;

/** What is tracked: so many pages, in large leaves or small, their tables scanned by the plain scanner or in SIMD. */
interface Shape {
  readonly pages: number;
  readonly hugePages: boolean;
  readonly simd: boolean;
}

const SMALL: Shape = { pages: 1024, hugePages: false, simd: false };

interface Machine {
  readonly hwpt: Hwpt;
  readonly ram: Int32Array;
  /** A word of the mailbox. */
  count(word: number): number;
  startDevice(): void;
  /** When it returns the device stands still. */
  stopDevice(): void;
}

/** A unit and a device in a thread of their own, the driver and its tables in this one. */
async function withMachine(
  { pages, hugePages, simd }: Shape,
  options: HwptOptions,
  use: (machine: Machine) => void,
): Promise<void> {
  const wasmPages = TABLE_BYTES / 65536;
  const memory = new WebAssembly.Memory({ initial: wasmPages, maximum: wasmPages, shared: true });
  const tables = memory.buffer as SharedArrayBuffer;
  const ram = new SharedArrayBuffer(pages * 4096);
  const mailbox = new SharedArrayBuffer(64);
  const box = new Int32Array(mailbox);
  const worker = new Worker(new URL('./device-worker.mjs', import.meta.url), {
    workerData: {
      tables,
      tablesBase: TABLES_BASE,
      ram,
      ramBase: RAM_BASE,
      mailbox,
      source: DEVICE,
      pages,
    },
  });
  const call = (kind: number, offset: number, value: number): number => {
    box[1] = offset;
    box[2] = value;
    Atomics.store(box, 0, kind);
    Atomics.notify(box, 0);
    while (Atomics.load(box, 0) !== 0) Atomics.wait(box, 0, kind, 1000);
    return box[2]! >>> 0;
  };
  const port: UnitPort = {
    read: (offset) => call(1, offset, 0),
    write: (offset, _size, value) => void call(2, offset, value),
  };
  const switchDevice = (state: number): void => {
    Atomics.store(box, STATE, state);
    Atomics.notify(box, 0);
  };
  try {
    // The first page is the scanner's.
    const scanner = simd ? simdLeafScanner(memory, 0) : undefined;
    const tablePages = new TablePages(new HostRegion(hpa(TABLES_BASE), tables), 4096, scanner);
    const driver = new VtdDriver(port, tablePages);
    const ioas = new Ioas(driver, { hugePages });
    ioas.map(0, RAM_BASE, pages * 4096, { read: true, write: true });
    const hwpt = new Hwpt(driver, ioas, { dirtyTracking: true, ...options });
    hwpt.attach(DEVICE);
    use({
      hwpt,
      ram: new Int32Array(ram),
      count: (word) => Atomics.load(box, word),
      startDevice: () => switchDevice(1),
      stopDevice: () => {
        switchDevice(0);
        // A register access is answered between two batches of writes.
        port.read(0, 4);
      },
    });
  } finally {
    switchDevice(2);
    await worker.terminate();
  }
}

/**
 * Pre-copies memory that the device writes all the time, stops it, sends the last pages, and returns how many pages
 * then differ from the copy.
 */
async function migrate(shape: Shape, faults: FaultPlan): Promise<number> {
  const { pages } = shape;
  let different = 0;
  await withMachine(shape, { faults }, ({ hwpt, ram, count, startDevice, stopDevice }) => {
    hwpt.setDirtyTracking(true);
    const copy = new Int32Array(pages);
    const dirty = new AtomicBitmap(pages);
    const pass = (): void => {
      hwpt.readDirty({ iova: 0, bytes: pages * 4096 }, dirty);
      // Only now, with the invalidation complete, may pages be copied.
      for (let page = dirty.next(0); page >= 0; page = dirty.next(page + 1)) {
        copy[page] = Atomics.load(ram, page * 1024 + WRITTEN_WORD);
      }
      dirty.clear();
    };
    startDevice();
    for (let passes = 0; passes < PASSES || count(WRITTEN) < WRITES; passes++) pass();
    stopDevice();
    pass();
    for (let page = 0; page < pages; page++) {
      if (copy[page] !== ram[page * 1024 + WRITTEN_WORD]) different++;
    }
  });
  return different;
}

describe('dirty tracking while a device writes in another thread', () => {
  it.each([
    ['small leaves', SMALL],
    ['small leaves, scanned in SIMD', { ...SMALL, simd: true }],
    ['large leaves, scanned in SIMD', { pages: 64 * 512, hugePages: true, simd: true }],
  ])('loses no write: after the last pass the copy equals the memory (%s)', async (_name, shape) => {
    expect(await migrate(shape, new FaultPlan([]))).toBe(0);
  });

  it.each([
    ['small', SMALL],
    ['large', { pages: 64 * 512, hugePages: true, simd: true }],
  ])('loses writes when the invalidation is left out (%s leaves)', async (_name, shape) => {
    const faults = new FaultPlan([{ site: 'iommu/flush-skipped', count: Number.MAX_SAFE_INTEGER }]);
    expect(await migrate(shape, faults)).toBeGreaterThan(0);
    expect(faults.unfired()).toEqual([]);
  });

  it('may split and join large leaves under the device, which is never blocked nor led astray', async () => {
    const { pages } = SMALL;
    await withMachine(
      { ...SMALL, hugePages: true },
      { demote: true },
      ({ hwpt, count, startDevice, stopDevice }) => {
        startDevice();
        for (let i = 0; i < PASSES || count(WRITTEN) < WRITES; i++) {
          hwpt.setDirtyTracking(true);
          hwpt.setDirtyTracking(false);
        }
        stopDevice();
        expect(count(BLOCKED)).toBe(0);
        expect(count(MISDIRECTED)).toBe(0);
        expect(hwpt.countLeaves()).toEqual([0, pages / 512, 0]);
      },
    );
  });
});
