import { describe, expect, it, vi } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { type LeafScanner, plainLeafScanner } from '../../iommu/host/leaf-scanner.js';
import { simdLeafScanner } from '../../vmm/kernels/leaf-scanner.js';

/** Of the second stage, and of the first. */
const DIRTY_BITS = [0x200, 0x40];
const LARGE = 0x80;

const SCANNERS: readonly (readonly [string, (memory: WebAssembly.Memory) => LeafScanner])[] = [
  ['plain', (memory) => plainLeafScanner(new Int32Array(memory.buffer))],
  ['SIMD', (memory) => simdLeafScanner(memory, 0)],
];

describe.each(SCANNERS.flatMap(([name, make]) => DIRTY_BITS.map((DIRTY) => ({ name, DIRTY, make }))))(
  'the $name leaf scanner with $DIRTY as the dirty bit',
  ({ make, DIRTY }) => {
    it('finds and clears exactly the dirty bits of its range, whatever else the entries say', () => {
      const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
      const words = new Int32Array(memory.buffer);
      const scanner = make(memory);
      const random = seededRandom(41);
      for (let step = 0; step < 400; step++) {
        const density = random.pick([0, 0.01, 0.1, 0.9, 1]);
        for (let i = 1024; i < 2048; i++) {
          const noise = random.u32() & ~DIRTY;
          words[i] = noise | (random.chance(density) ? DIRTY : 0);
        }
        const first = step % 3 === 0 ? 0 : random.below(512);
        const count = step % 3 === 0 ? 512 : random.between(1, 512 - first);
        const clear = random.chance(0.5);
        const before = words.slice();
        scanner.take(1024 + 2 * first, count, clear, DIRTY);
        let expected = 0;
        const wrong: number[] = [];
        for (let i = 0; i < count; i++) {
          const dirty = (before[1024 + 2 * (first + i)]! & DIRTY) !== 0 ? 1 : 0;
          expected += dirty;
          if (((scanner.masks[i >>> 5]! >>> (i & 31)) & 1) !== dirty) wrong.push(i);
          if (dirty === 1 && clear) before[1024 + 2 * (first + i)]! &= ~DIRTY;
        }
        expect(wrong, 'entries whose dirty bit is not told as it is').toEqual([]);
        expect(scanner.found).toBe(expected);
        expect(
          Buffer.compare(Buffer.from(words.slice(1024).buffer), Buffer.from(before.slice(1024).buffer)),
        ).toBe(0);
        // Bits beyond the range are not reported.
        if (count % 32 !== 0) expect(scanner.masks[count >>> 5]! >>> (count & 31)).toBe(0);
      }
    });

    it('takes blocks of large leaves up to the first entry that is none, and touches nothing beyond', () => {
      const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
      const words = new Int32Array(memory.buffer);
      const scanner = make(memory);
      const random = seededRandom(42);
      for (let step = 0; step < 400; step++) {
        // Bit 7 of the high words says nothing.
        const density = random.pick([0, 0.1, 1]);
        for (let i = 1024; i < 2048; i += 2) {
          words[i] = (random.u32() & ~DIRTY) | LARGE | (random.chance(density) ? DIRTY : 0);
          words[i + 1] = random.u32();
        }
        const first = 32 * random.below(15);
        const blocks = random.between(1, 16 - first / 32);
        const small = random.below(600);
        if (small < 512) words[1024 + 2 * small]! &= ~LARGE;
        const block = Math.floor((small - first) / 32);
        const taken = small < first || block >= blocks ? blocks : block;
        const clear = random.chance(0.5);
        const after = words.slice();
        let found = 0;
        for (let i = first; i < first + 32 * taken; i++) {
          found += (after[1024 + 2 * i]! & DIRTY) !== 0 ? 1 : 0;
          if (clear) after[1024 + 2 * i]! &= ~DIRTY;
        }
        expect(scanner.takeLarge(1024 + 2 * first, blocks, clear, DIRTY)).toBe(taken);
        expect(scanner.found).toBe(found);
        expect(
          Buffer.compare(Buffer.from(words.slice(1024).buffer), Buffer.from(after.slice(1024).buffer)),
        ).toBe(0);
      }
    });
  },
);

describe.each(DIRTY_BITS)('the plain leaf scanner with %i as the dirty bit', (DIRTY) => {
  it('leaves the bit of a leaf that becomes dirty behind its back to the next scan', () => {
    const words = new Int32Array(new SharedArrayBuffer(4096));
    const scanner = plainLeafScanner(words);
    for (const leaf of [3, 20]) words[2 * leaf] = DIRTY;
    // A device writes through leaves 7 and 25 when those that were dirty have been noted, and are about to be cleared.
    const { and } = Atomics;
    vi.spyOn(Atomics, 'and').mockImplementationOnce((...args: Parameters<typeof and>) => {
      for (const leaf of [7, 25]) words[2 * leaf]! |= DIRTY;
      return and(...args);
    });
    scanner.take(0, 32, true, DIRTY);
    vi.restoreAllMocks();
    const leaves = (mask: number): number[] => [...Array(32).keys()].filter((leaf) => (mask >>> leaf) & 1);
    expect(leaves(scanner.masks[0]!), 'dirty leaves of the first scan').toEqual([3, 20]);
    scanner.take(0, 32, true, DIRTY);
    expect(leaves(scanner.masks[0]!), 'dirty leaves of the second scan').toEqual([7, 25]);
  });
});
