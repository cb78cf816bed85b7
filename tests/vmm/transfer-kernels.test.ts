import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { PAGE_BYTES } from '../../base/units.js';
import { referenceKernels, zeroPageHash } from '../../migration/pages/page-kernels.js';
import { copyingKernels, simdKernels } from '../../vmm/transfer/kernels.js';

const PAGES = 64;

function machine() {
  const memory = new WebAssembly.Memory({ initial: PAGES / 16, maximum: 65536, shared: true });
  const ram = new Uint8Array(memory.buffer);
  return { ram, simd: simdKernels(memory), copying: copyingKernels(ram), plain: referenceKernels(ram) };
}

const { ram, simd, copying, plain } = machine();
const random = seededRandom(99);
const SEED = 0xfeed_beef;

function hash(page: number, seed = SEED): string {
  const table = new Uint32Array(2);
  simd.hash(page, seed, table, 0);
  return `${table[1]!.toString(16).padStart(8, '0')}${table[0]!.toString(16).padStart(8, '0')}`;
}

function page(index: number): Uint8Array {
  return ram.subarray(index * PAGE_BYTES, (index + 1) * PAGE_BYTES);
}

describe('the zero scan', () => {
  it('agrees with plain code on any mixture of empty and full pages, and looks only at candidates', () => {
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < PAGES; i++) {
        page(i).fill(0);
        if (random.chance(0.5)) page(i)[random.below(PAGE_BYTES)] = 1 << random.below(8);
      }
      for (const first of [0, 1, 17, 32]) {
        for (const candidates of [-1, 0, random.u32() | 0, 0x8000_0001 | 0]) {
          const expected = plain.zeroMask(first, candidates);
          expect(simd.zeroMask(first, candidates)).toBe(expected);
          expect(copying.zeroMask(first, candidates)).toBe(expected);
        }
      }
    }
  });

  it('sees a single bit anywhere in a page', () => {
    ram.fill(0);
    for (let at = 0; at < PAGE_BYTES; at++) {
      page(5)[at] = 0x40;
      expect(simd.zeroMask(5, 1)).toBe(0);
      page(5)[at] = 0;
    }
    expect(simd.zeroMask(5, 1)).toBe(1);
  });
});

describe('the page hash', () => {
  it('agrees with plain code under any seed', () => {
    const here = new Uint32Array(2);
    const there = new Uint32Array(2);
    for (const seed of [0, 1, 0xffff_ffff, SEED, random.u32()]) {
      for (const fill of [() => page(3).fill(0), () => page(3).fill(0xff), () => random.fill(page(3))]) {
        fill();
        simd.hash(3, seed, here, 0);
        plain.hash(3, seed, there, 0);
        expect([...here]).toEqual([...there]);
        copying.hash(3, seed, here, 0);
        expect([...here]).toEqual([...there]);
      }
    }
  });

  it('depends on the bytes and the seed, not on where the page lies', () => {
    random.fill(page(1));
    page(40).set(page(1));
    expect(hash(1)).toBe(hash(40));
    expect(hash(1, 1)).not.toBe(hash(1, 2));
  });

  it('changes with every single bit, in random, empty and full pages', () => {
    for (const fill of [() => random.fill(page(2)), () => page(2).fill(0), () => page(2).fill(0xff)]) {
      fill();
      const seen = new Set([hash(2)]);
      for (let at = 0; at < PAGE_BYTES; at++) {
        for (let bit = 0; bit < 8; bit++) {
          page(2)[at]! ^= 1 << bit;
          seen.add(hash(2));
          page(2)[at]! ^= 1 << bit;
        }
      }
      expect(seen.size).toBe(1 + PAGE_BYTES * 8);
    }
  });

  it('changes about half of its bits with each bit of the page', () => {
    random.fill(page(2));
    const before = BigInt(`0x${hash(2)}`);
    const flips = new Array<number>(64).fill(0);
    const trials = 4000;
    for (let trial = 0; trial < trials; trial++) {
      const at = random.below(PAGE_BYTES);
      const bit = 1 << random.below(8);
      page(2)[at]! ^= bit;
      const difference = BigInt(`0x${hash(2)}`) ^ before;
      page(2)[at]! ^= bit;
      for (let i = 0; i < 64; i++) if ((difference >> BigInt(i)) & 1n) flips[i]!++;
    }
    for (const count of flips) {
      expect(count / trials).toBeGreaterThan(0.45);
      expect(count / trials).toBeLessThan(0.55);
    }
  });

  it('changes when two words, vectors, stripes or halves change places', () => {
    for (const lengthBytes of [4, 8, 16, 32, 64, 1024, 2048]) {
      random.fill(page(2));
      const before = hash(2);
      const original = page(2).slice();
      const places = PAGE_BYTES / lengthBytes;
      for (let trial = 0; trial < 300; trial++) {
        const a = random.below(places) * lengthBytes;
        const b = random.below(places) * lengthBytes;
        if (a === b) continue;
        page(2).copyWithin(a, b, b + lengthBytes);
        page(2).set(original.subarray(a, a + lengthBytes), b);
        expect(hash(2)).not.toBe(before);
        page(2).set(original);
      }
    }
  });

  it('tells apart pages that hold one value once, wherever it stands', () => {
    const seen = new Set<string>();
    for (let at = 0; at < PAGE_BYTES; at += 4) {
      page(2).fill(0);
      new DataView(ram.buffer).setUint32(2 * PAGE_BYTES + at, 0x0101_0101, true);
      seen.add(hash(2));
    }
    expect(seen.size).toBe(PAGE_BYTES / 4);
  });

  it('has no collision among many sparse and patterned pages', () => {
    const seen = new Set<string>();
    let pages = 0;
    for (let value = 0; value < 256; value++) {
      page(2).fill(value);
      seen.add(hash(2));
      pages++;
    }
    for (let period = 2; period < 300; period++) {
      for (let at = 0; at < PAGE_BYTES; at++) page(2)[at] = at % period;
      seen.add(hash(2));
      pages++;
    }
    page(2).fill(0);
    for (let i = 0; i < 20_000; i++) {
      new DataView(ram.buffer).setUint32(2 * PAGE_BYTES, i + 1, true);
      new DataView(ram.buffer).setUint32(2 * PAGE_BYTES + 16, Math.imul(i, 0x10001), true);
      seen.add(hash(2));
      pages++;
    }
    // Periods of 256 and more give pages that a smaller period does not, so all are different but for none.
    expect(seen.size).toBe(pages);
  });

  it('of an empty page is known without a page, and never the mark of a page that was not sent', () => {
    page(2).fill(0);
    const table = new Uint32Array(2);
    for (let seed = 0; seed < 100; seed++) {
      simd.hash(2, seed, table, 0);
      expect([...table]).toEqual([...zeroPageHash(seed)]);
      expect(table[0]! | table[1]!).not.toBe(0);
    }
  });
});
