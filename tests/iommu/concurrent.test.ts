import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import { FaultPlan } from '../../base/fault.js';
import { hpa } from '../../base/units.js';
import { VtdDriver } from '../../iommu/host/driver.js';
import { Hwpt } from '../../iommu/host/hwpt.js';
import { Ioas } from '../../iommu/host/ioas.js';
import { TablePages } from '../../iommu/host/table-pages.js';
import type { UnitPort } from '../../iommu/host/unit-port.js';
import { HostRegion } from '../../iommu/host-memory.js';
import { DEVICE, RAM_BASE, TABLES_BASE } from './host-world.js';

const PAGES = 512;
/** Passes of pre-copy, at least; they go on until the device has made so many writes. */
const PASSES = 50;
const WRITES = 100_000;

/**
 * Pre-copies memory that a device in another thread writes all the time, stops the device, sends the last pages, and
 * returns how many pages then differ from the copy.
 */
async function migrate(faults: FaultPlan): Promise<number> {
  const tables = new SharedArrayBuffer(1 << 20);
  const ram = new SharedArrayBuffer(PAGES * 4096);
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
      pages: PAGES,
    },
  });
  try {
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
    const driver = new VtdDriver(port, new TablePages(new HostRegion(hpa(TABLES_BASE), tables)));
    const ioas = new Ioas(driver, { hugePages: false });
    ioas.map(0, RAM_BASE, PAGES * 4096, { read: true, write: true });
    const hwpt = new Hwpt(driver, ioas, { dirtyTracking: true, faults });
    hwpt.attach(DEVICE);
    hwpt.setDirtyTracking(true);

    const source = new Int32Array(ram);
    const copy = new Int32Array(ram.byteLength / 4);
    const dirty = new AtomicBitmap(PAGES);
    const pass = (): void => {
      hwpt.readDirty({ iova: 0, bytes: PAGES * 4096 }, dirty);
      // Only now, with the invalidation complete, may pages be copied.
      for (let page = dirty.next(0); page >= 0; page = dirty.next(page + 1)) {
        for (let i = page * 1024; i < (page + 1) * 1024; i++) copy[i] = Atomics.load(source, i);
      }
      dirty.clear();
    };
    Atomics.store(box, 3, 1);
    Atomics.notify(box, 0);
    for (let passes = 0; passes < PASSES || Atomics.load(box, 4) < WRITES; passes++) pass();
    Atomics.store(box, 3, 0);
    // A register access is answered between two batches of writes: after it the device stands still.
    port.read(0, 4);
    pass();
    let different = 0;
    for (let page = 0; page < PAGES; page++)
      if (copy[page * 1024 + 16] !== source[page * 1024 + 16]) different++;
    return different;
  } finally {
    Atomics.store(box, 3, 2);
    Atomics.notify(box, 0);
    await worker.terminate();
  }
}

describe('dirty tracking while a device writes in another thread', () => {
  it('loses no write: after the last pass the copy equals the memory', async () => {
    expect(await migrate(new FaultPlan([]))).toBe(0);
  });

  it('loses writes when the invalidation is left out', async () => {
    const faults = new FaultPlan([{ site: 'iommu/flush-skipped', count: Number.MAX_SAFE_INTEGER }]);
    expect(await migrate(faults)).toBeGreaterThan(0);
    expect(faults.unfired()).toEqual([]);
  });
});
