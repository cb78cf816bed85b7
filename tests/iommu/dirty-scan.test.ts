import { describe, expect, it } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import { seededRandom } from '../../base/random.js';
import { hpa, MIB } from '../../base/units.js';
import { DirtyReport } from '../../iommu/host/dirty-sink.js';
import { IoPageTable } from '../../iommu/host/io-page-table.js';
import { plainLeafScanner } from '../../iommu/host/leaf-scanner.js';
import { TablePages } from '../../iommu/host/table-pages.js';
import { HostRegion } from '../../iommu/host-memory.js';
import { simdLeafScanner } from '../../vmm/kernels/leaf-scanner.js';

const PAGE = 4096;
const LEAF = 2 * MIB;
const SLOTS = 600;
const BASE = 0x10_0000;
const TARGET = 0x40_0000_0000;
const DIRTY = 0x200;

type Kind = 'hole' | 'large' | 'small';

describe.each([
  ['plain', (memory: WebAssembly.Memory) => plainLeafScanner(new Int32Array(memory.buffer))],
  ['SIMD', (memory: WebAssembly.Memory) => simdLeafScanner(memory, 0)],
])('a dirty scan with the %s scanner', (_name, make) => {
  it('over any mix of large leaves, small ones and holes reports what is dirty in its range, and clears that alone', () => {
    const random = seededRandom(77);
    for (let round = 0; round < 12; round++) {
      const memory = new WebAssembly.Memory({ initial: 64, maximum: 64, shared: true });
      const region = new HostRegion(hpa(BASE), memory.buffer as SharedArrayBuffer);
      const table = new IoPageTable(new TablePages(region, PAGE, make(memory)), 4);
      /** Word of the entry for `iova` at `level`. */
      const entry = (iova: number, level: number): number => {
        let at = table.root;
        for (let l = 4; ; l--) {
          const word = region.index(at) + 2 * (Math.floor(iova / (PAGE * 512 ** (l - 1))) % 512);
          if (l === level) return word;
          at = region.words[word]! & ~0xfff;
        }
      };
      const kinds = Array.from(
        { length: SLOTS },
        (): Kind => (random.chance(round / 12) ? 'large' : random.pick(['hole', 'large', 'small'])),
      );
      let small = 0;
      kinds.forEach((kind, slot) => {
        if (kind === 'small' && ++small > 300) kinds[slot] = 'hole';
        else if (kind !== 'hole') {
          table.map(slot * LEAF, TARGET + slot * LEAF, LEAF, 3, kind === 'large' ? 1 : 0);
        }
      });
      /** First page and number of pages of each dirty leaf, by the word of its entry. */
      const leaves = new Map<number, readonly [page: number, pages: number]>();
      kinds.forEach((kind, slot) => {
        const page = slot * 512;
        if (kind === 'large' && random.chance(0.2)) leaves.set(entry(slot * LEAF, 2), [page, 512]);
        for (let i = 0; kind === 'small' && i < 4; i++) {
          const at = page + random.below(512);
          leaves.set(entry(at * PAGE, 1), [at, 1]);
        }
      });
      for (const word of leaves.keys()) region.words[word]! |= DIRTY;
      for (let part = 0; part < 6; part++) {
        const first = part === 0 ? 0 : random.below(SLOTS * 512);
        const count = part === 0 ? 100 * 512 : random.between(1, SLOTS * 512 - first);
        const clear = random.chance(0.6);
        const expected = new AtomicBitmap(count);
        let found = 0;
        for (const [word, [page, pages]] of leaves) {
          if (page + pages <= first || page >= first + count) continue;
          found++;
          expected.setRange(Math.max(page - first, 0), Math.min(page + pages - first, count));
          if (clear && page >= first && page + pages <= first + count) leaves.delete(word);
        }
        const reported = new AtomicBitmap(count);
        const report = new DirtyReport(reported, first * PAGE, PAGE);
        table.scanDirty(first * PAGE, count * PAGE, report, clear);
        expect(report.leaves).toBe(found);
        expect(Buffer.compare(Buffer.from(reported.buffer), Buffer.from(expected.buffer))).toBe(0);
      }
      for (const word of leaves.keys()) {
        expect(region.words[word]! & DIRTY).toBe(DIRTY);
        region.words[word]! &= ~DIRTY;
      }
      const rest = new DirtyReport(undefined, 0, PAGE);
      table.scanDirty(0, SLOTS * LEAF, rest, false);
      expect(rest.leaves).toBe(0);
    }
  });
});
