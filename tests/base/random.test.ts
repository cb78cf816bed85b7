import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';

const draws = (random: { u32(): number }, count: number) => Array.from({ length: count }, () => random.u32());

describe('seeded random', () => {
  it('repeats for a seed and differs for another, also one that differs above 32 bits', () => {
    expect(draws(seededRandom(7), 100)).toEqual(draws(seededRandom(7), 100));
    const first = [1, 2, 3, 2 ** 32 + 1, 2 ** 40 + 1].map((seed) => draws(seededRandom(seed), 4).join());
    expect(new Set(first).size).toBe(5);
  });

  it('gives forks that depend on seed and label, not on what was drawn before', () => {
    const one = seededRandom(5);
    const other = seededRandom(5);
    draws(other, 1000);
    expect(draws(one.fork('nic'), 10)).toEqual(draws(other.fork('nic'), 10));
    expect(draws(one.fork('nic'), 10)).not.toEqual(draws(one.fork('cpu'), 10));
    expect(draws(one.fork('nic').fork('a'), 10)).not.toEqual(draws(one.fork('a'), 10));
    expect(draws(seededRandom(6).fork('nic'), 10)).not.toEqual(draws(one.fork('nic'), 10));
  });

  it('draws integers without bias, also where 2^32 is not a multiple of the limit', () => {
    const random = seededRandom(1);
    // A modulo without rejection would put two thirds of the draws into the lower half of this range.
    const limit = 3 * 2 ** 30;
    let lower = 0;
    for (let i = 0; i < 30_000; i++) if (random.below(limit) < limit / 3) lower++;
    expect(lower).toBeGreaterThan(9_500);
    expect(lower).toBeLessThan(10_500);
    const counts = new Array<number>(10).fill(0);
    for (let i = 0; i < 100_000; i++) counts[random.between(-5, 4) + 5]!++;
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500);
  });

  it('refuses limits it cannot honour', () => {
    const random = seededRandom(1);
    expect(() => random.below(0)).toThrow();
    expect(() => random.below(2 ** 32 + 1)).toThrow();
    expect(() => seededRandom(-1)).toThrow();
    expect(random.below(2 ** 32)).toBeLessThan(2 ** 32);
  });

  it('has every bit set half of the time and uncorrelated neighbouring seeds', () => {
    const random = seededRandom(99);
    const bits = new Array<number>(32).fill(0);
    for (let i = 0; i < 20_000; i++) {
      const draw = random.u32();
      for (let bit = 0; bit < 32; bit++) bits[bit]! += (draw >>> bit) & 1;
    }
    for (const count of bits) expect(Math.abs(count - 10_000)).toBeLessThan(400);
    let equalBits = 0;
    for (let seed = 0; seed < 1000; seed++) {
      const difference = seededRandom(seed).u32() ^ seededRandom(seed + 1).u32();
      for (let bit = 0; bit < 32; bit++) equalBits += ((difference >>> bit) & 1) ^ 1;
    }
    expect(Math.abs(equalBits - 16_000)).toBeLessThan(400);
  });

  it('shuffles into a permutation and fills buffers of any length', () => {
    const items = Array.from({ length: 50 }, (_, i) => i);
    const shuffled = seededRandom(3).shuffle([...items]);
    expect(shuffled).not.toEqual(items);
    expect([...shuffled].sort((a, b) => a - b)).toEqual(items);
    for (const length of [0, 1, 3, 4, 7, 4099]) {
      const bytes = new Uint8Array(length);
      seededRandom(4).fill(bytes);
      if (length > 100) expect(new Set(bytes).size).toBe(256);
    }
  });

  it('honours certain and impossible chances', () => {
    const random = seededRandom(8);
    expect(Array.from({ length: 100 }, () => random.chance(1)).every(Boolean)).toBe(true);
    expect(Array.from({ length: 100 }, () => random.chance(0)).some(Boolean)).toBe(false);
    expect([1, 2]).toContain(random.pick([1, 2]));
  });
});
