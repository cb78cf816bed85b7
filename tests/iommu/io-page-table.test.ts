import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { hpa } from '../../base/units.js';
import { DirtyReport } from '../../iommu/host/dirty-sink.js';
import { IoPageTable } from '../../iommu/host/io-page-table.js';
import { MAP_READ, MAP_WRITE } from '../../iommu/host/table-formats.js';
import { TablePages } from '../../iommu/host/table-pages.js';
import { HostRegion } from '../../iommu/host-memory.js';

const MIB = 1 << 20;
const RW = MAP_READ | MAP_WRITE;
const DIRTY = 0x200;

function make(levels = 4) {
  const region = new HostRegion(hpa(0x10_0000), new SharedArrayBuffer(4 * MIB));
  const pages = new TablePages(region);
  return { region, pages, table: new IoPageTable(pages, levels) };
}

/** The leaf that maps `iova`, found by a walk of the test's own: index of its low word, and its size. */
function leafOf(
  { region, table }: ReturnType<typeof make>,
  iova: number,
): { word: number; bytes: number } | undefined {
  let at = table.root;
  for (let level = table.levels; ; level--) {
    const bytes = 2 ** (12 + 9 * (level - 1));
    const word = (at - region.base) / 4 + 2 * (Math.floor(iova / bytes) % 512);
    const low = region.words[word]!;
    if ((low & 3) === 0) return undefined;
    if (level === 1 || (low & 0x80) !== 0) return { word, bytes };
    at = (region.words[word + 1]! & 0xfffff) * 2 ** 32 + ((low & ~0xfff) >>> 0);
  }
}

describe('a second-stage table', () => {
  it('maps every page of random ranges to its place, with nothing beside them', () => {
    const random = seededRandom(51);
    for (let step = 0; step < 40; step++) {
      const made = make(random.between(3, 5));
      const iova = random.below(4096) * 4096 + random.pick([0, 2 * MIB, 1024 * MIB]);
      const target = random.chance(0.5) ? iova + 1024 * MIB : random.below(2 ** 20) * 4096;
      const bytes = random.between(1, 1500) * 4096;
      made.table.map(iova, target, bytes, RW, random.below(3));
      for (let i = 0; i < 40; i++) {
        const offset = random.pick([0, bytes - 4096, random.below(bytes / 4096) * 4096]);
        const leaf = leafOf(made, iova + offset)!;
        const low = made.region.words[leaf.word]!;
        const base = (made.region.words[leaf.word + 1]! & 0xfffff) * 2 ** 32 + ((low & ~0xfff) >>> 0);
        expect(base + ((iova + offset) % leaf.bytes)).toBe(target + offset);
      }
      expect(leafOf(made, iova + bytes)).toBeUndefined();
      if (iova > 0) expect(leafOf(made, iova - 4096)).toBeUndefined();
      made.table.unmap(iova, bytes);
      expect(made.table.countLeaves()).toEqual([0, 0, 0]);
    }
  });

  it('keeps the dirty state of a leaf when it is split, and counts a joined leaf as dirty', () => {
    const made = make();
    made.table.map(0, 64 * MIB, 4 * MIB, RW, 1);
    const first = leafOf(made, 0)!;
    made.region.words[first.word]! |= DIRTY;
    made.table.split(0, 4 * MIB);
    expect(made.region.words[leafOf(made, 5 * 4096)!.word]! & DIRTY).toBe(DIRTY);
    expect(made.region.words[leafOf(made, 3 * MIB)!.word]! & DIRTY).toBe(0);
    made.table.join(0, 4 * MIB, 1);
    expect(made.table.countLeaves()).toEqual([0, 2, 0]);
    expect(made.region.words[leafOf(made, 3 * MIB)!.word]! & DIRTY).toBe(DIRTY);
  });

  it('joins nothing that is not one contiguous page with equal rights, or that reaches beyond the range', () => {
    const joined = (prepare: (made: ReturnType<typeof make>) => void, bytes = 2 * MIB): number => {
      const made = make();
      prepare(made);
      made.table.join(0, bytes, 2);
      return made.table.countLeaves()[1];
    };
    const whole = ({ table }: ReturnType<typeof make>): void => table.map(0, 64 * MIB, 2 * MIB, RW, 0);
    expect(joined(whole)).toBe(1);
    expect(joined(whole, MIB)).toBe(0);
    expect(joined(({ table }) => table.map(0, 64 * MIB, 2 * MIB - 4096, RW, 0))).toBe(0);
    expect(joined(({ table }) => table.map(0, 65 * MIB, 2 * MIB, RW, 0))).toBe(0);
    const mixed = ({ table }: ReturnType<typeof make>): void => {
      table.map(0, 64 * MIB, MIB, RW, 0);
      table.map(MIB, 65 * MIB, MIB, MAP_READ, 0);
    };
    expect(joined(mixed)).toBe(0);
  });

  it('reports the smallest range that holds what was dirty', () => {
    const made = make();
    made.table.map(0, 64 * MIB, 8 * MIB, RW, 0);
    for (const page of [700, 701, 1234]) made.region.words[leafOf(made, page * 4096)!.word]! |= DIRTY;
    const report = new DirtyReport(undefined, 0, 4096);
    made.table.scanDirty(0, 8 * MIB, report, false);
    expect([report.leaves, report.first, report.end]).toEqual([3, 700 * 4096, 1235 * 4096]);
  });
});
