/**
 * How fast VT-d's model translates, and what a dirty scan over second-stage tables costs: clean and partly dirty, with
 * 4 KiB and 2 MiB leaves, reading alone, clearing, and clearing with the invalidation that makes clearing mean
 * something. Beside a plain SIMD read of the same tables, taking turns with it.
 */
import { AtomicBitmap } from '../../base/bitmap.js';
import { requesterOf } from '../../base/dma.js';
import { invariant } from '../../base/errors.js';
import { FaultPlan } from '../../base/fault.js';
import { seededRandom } from '../../base/random.js';
import { GIB, hpa, MIB, PAGE_BYTES } from '../../base/units.js';
import { VtdDriver } from '../../iommu/host/driver.js';
import { Hwpt } from '../../iommu/host/hwpt.js';
import { Ioas } from '../../iommu/host/ioas.js';
import { TablePages } from '../../iommu/host/table-pages.js';
import { HostMemory, HostRegion } from '../../iommu/host-memory.js';
import { TRANSLATED, VtdUnit } from '../../iommu/unit.js';
import { ACCESS_READ, ACCESS_WRITE } from '../../iommu/walk.js';
import { simdLeafScanner } from '../../vmm/kernels/leaf-scanner.js';
import { kernelOn } from '../../vmm/kernels/load.js';
import { median } from '../report/median.js';

export interface BenchIommuOptions {
  /** Address space that is mapped and scanned, a multiple of 1 GiB. */
  readonly bytes?: number;
  /** Share of the leaves that is written between scans. */
  readonly dirtyShare?: number;
  readonly runs?: number;
}

/** One leaf size; medians in milliseconds for the whole address space. */
export interface ScanFigure {
  readonly leafBytes: number;
  readonly leaves: number;
  readonly tableBytes: number;
  /** A plain SIMD read of the leaf tables. */
  readonly plainReadMs: number;
  readonly cleanMs: number;
  readonly dirtyLeaves: number;
  /** NO_CLEAR: bits are read, nothing else. */
  readonly readOnlyMs: number;
  readonly clearMs: number;
  readonly clearAndFlushMs: number;
}

export interface BenchIommuResult {
  readonly bytes: number;
  /** Translations a second that hit the IOTLB, and that walk. */
  readonly warmPerSecond: number;
  readonly coldPerSecond: number;
  readonly scans: readonly ScanFigure[];
}

const DEVICE = requesterOf(0x0310);
const TABLES_BASE = 0x10_0000;
/** Nothing answers there, and nothing is read there: translations are all that is measured. */
const RAM_BASE = 0x100_0000_0000;
/** Above 4 GiB, clear of the interrupt range. */
const IOVA_BASE = 4 * GIB;
const WARM_PAGES = 1024;
const TRANSLATIONS = 4_000_000;
/** Scans until code is compiled; a table is scanned so often that about so many bytes are read for one figure. */
const WARM_MS = 500;
const BATCH_BYTES = 4 * MIB;

export function benchIommu(options: BenchIommuOptions = {}): BenchIommuResult {
  const { bytes = 16 * GIB, dirtyShare = 0.1, runs = 7 } = options;
  invariant(bytes % GIB === 0 && bytes > 0 && runs >= 1, 'whole GiB, and at least one run');
  const scans = [4096, 2 * MIB].map((leafBytes) => scanFigure(bytes, leafBytes, dirtyShare, runs));
  return { bytes, ...translationRates(bytes, runs), scans };
}

class Rig {
  readonly memory: WebAssembly.Memory;
  readonly unit: VtdUnit;
  readonly hwpt: Hwpt;
  readonly faults: FaultPlan;
  readonly driver: VtdDriver;

  constructor(bytes: number, leafBytes: number) {
    const tableBytes = (bytes / leafBytes) * 8 + 4 * MIB;
    const pages = Math.ceil(tableBytes / 65536);
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    const tables = new HostRegion(hpa(TABLES_BASE), this.memory.buffer as SharedArrayBuffer);
    const silent = { message: () => {}, remapped: () => {}, notify: () => {} };
    this.unit = new VtdUnit('iommu0', { memory: new HostMemory([tables]), interrupts: silent });
    // The first page is the scanner's.
    const scanner = simdLeafScanner(this.memory, 0);
    this.driver = new VtdDriver(this.unit, new TablePages(tables, PAGE_BYTES, scanner));
    const ioas = new Ioas(this.driver, { hugePages: leafBytes > 4096 });
    // One area a GiB, an odd number of leaves apart in host memory, so that nothing larger than `leafBytes` fits.
    for (let at = 0; at < bytes; at += GIB) {
      ioas.map(IOVA_BASE + at, RAM_BASE + at + leafBytes, GIB, { read: true, write: true });
    }
    // A plan that leaves out the flush while it is armed.
    this.faults = new FaultPlan([{ site: 'iommu/flush-skipped', count: Number.MAX_SAFE_INTEGER }]);
    this.faults.armed = false;
    this.hwpt = new Hwpt(this.driver, ioas, { dirtyTracking: true, faults: this.faults });
    this.hwpt.attach(DEVICE);
    this.hwpt.setDirtyTracking(true);
  }
}

function scanFigure(bytes: number, leafBytes: number, dirtyShare: number, runs: number): ScanFigure {
  const rig = new Rig(bytes, leafBytes);
  const { hwpt, unit, faults } = rig;
  const leaves = bytes / leafBytes;
  const dirtyLeaves = Math.round(leaves * dirtyShare);
  const bitmap = new AtomicBitmap(bytes / PAGE_BYTES);
  const plain = kernelOn<{ read(at: number, lengthBytes: number): number }>('plain-read', rig.memory);
  const leafTables = Math.ceil((leaves * 8) / PAGE_BYTES) * PAGE_BYTES;
  const order = seededRandom(1).shuffle(Array.from({ length: leaves }, (_, leaf) => leaf));
  const dirty = (): void => {
    bitmap.clear();
    for (let i = 0; i < dirtyLeaves; i++) {
      const page = (IOVA_BASE + order[i]! * leafBytes) / PAGE_BYTES;
      const outcome = unit.translate(DEVICE, -1, (page << 12) | 0, page >>> 20, ACCESS_WRITE);
      invariant(outcome === TRANSLATED, 'a mapped page did not translate');
    }
  };
  const scan = (expected: number, noClear = false): number => {
    let found = 0;
    const took = time(() => {
      found = hwpt.readDirty({ iova: IOVA_BASE, bytes, noClear }, bitmap);
    });
    invariant(found === expected, `${found} leaves dirty where ${expected} were written`);
    return took;
  };
  const figures = { plain: [], clean: [], readOnly: [], clear: [], flush: [] } as Record<string, number[]>;
  // The tables of large leaves are read in microseconds, so a figure that changes nothing is taken of many times.
  const times = Math.max(1, Math.floor(BATCH_BYTES / leafTables));
  const readTables = (): void => {
    // The tables were taken one after the other from the start of the region.
    for (let at = 0; at < leafTables; at += 32 * PAGE_BYTES) {
      plain.read(at, Math.min(leafTables - at, 32 * PAGE_BYTES));
    }
  };
  const warmUntil = performance.now() + WARM_MS;
  for (let run = 0; run < runs; ) {
    const plainMs = perTurn(times, readTables);
    const cleanMs = perTurn(times, () => scan(0));
    dirty();
    const readOnlyMs = scan(dirtyLeaves, true);
    const flushMs = scan(dirtyLeaves);
    dirty();
    scan(dirtyLeaves, true);
    faults.armed = true;
    const clearMs = scan(dirtyLeaves);
    faults.armed = false;
    // What the skipped flush left behind in the unit's cache.
    unit.iotlb.invalidateAll();
    if (performance.now() < warmUntil) continue; // code is compiled
    figures.plain!.push(plainMs);
    figures.clean!.push(cleanMs);
    figures.readOnly!.push(readOnlyMs);
    figures.clear!.push(clearMs);
    figures.flush!.push(flushMs);
    run++;
  }
  return {
    leafBytes,
    leaves,
    tableBytes: leafTables,
    plainReadMs: median(figures.plain!),
    cleanMs: median(figures.clean!),
    dirtyLeaves,
    readOnlyMs: median(figures.readOnly!),
    clearMs: median(figures.clear!),
    clearAndFlushMs: median(figures.flush!),
  };
}

function translationRates(bytes: number, runs: number): { warmPerSecond: number; coldPerSecond: number } {
  const { unit } = new Rig(Math.min(bytes, GIB), 4096);
  const pages = GIB / PAGE_BYTES;
  const warm: number[] = [];
  const cold: number[] = [];
  for (let run = 0; run <= runs; run++) {
    const rate = (touched: number): number => {
      let blocked = 0;
      const took = time(() => {
        for (let i = 0; i < TRANSLATIONS; i++) {
          const access = (i & 1) === 0 ? ACCESS_READ : ACCESS_WRITE;
          blocked += unit.translate(DEVICE, -1, ((i % touched) << 12) | 0x40, IOVA_BASE / 2 ** 32, access);
        }
      });
      invariant(blocked === 0, 'a mapped page did not translate');
      return TRANSLATIONS / (took / 1e3);
    };
    const warmRate = rate(WARM_PAGES);
    // Far more pages than the IOTLB holds, in order: nearly every one is walked.
    const coldRate = rate(pages);
    if (run === 0) continue;
    warm.push(warmRate);
    cold.push(coldRate);
  }
  return { warmPerSecond: median(warm), coldPerSecond: median(cold) };
}

/** Milliseconds that one of `times` turns takes. */
function perTurn(times: number, work: () => void): number {
  const took = time(() => {
    for (let i = 0; i < times; i++) work();
  });
  return took / times;
}

function time(work: () => void): number {
  const start = performance.now();
  work();
  return performance.now() - start;
}
