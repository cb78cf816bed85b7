/**
 * Randomness as an argument. One seed is a whole test: cores draw from the generator they are handed, never from the
 * platform's.
 */
import { invariant } from './errors.js';

export interface Random {
  /** Uniform in [0, 2^32). */
  u32(): number;
  /** Uniform in [0, limit), without bias; `limit` from 1 to 2^32. */
  below(limit: number): number;
}

export interface SeededRandom extends Random {
  /** Uniform in [0, 1). */
  unit(): number;
  /** Uniform among the integers from `low` to `high`, both included. */
  between(low: number, high: number): number;
  /** True with this probability; 0 never, 1 always. */
  chance(probability: number): boolean;
  /** One of the items; there must be one. */
  pick<T>(items: readonly T[]): T;
  /** Shuffles in place (Fisher and Yates) and returns the same array. */
  shuffle<T>(items: T[]): T[];
  /** Fills with random bytes. */
  fill(target: Uint8Array): void;
  /**
   * An independent stream for one consumer. It depends on the seed and the label alone, so that a consumer that
   * draws more or less than before leaves all the others as they were.
   */
  fork(label: string): SeededRandom;
}

/** splitmix32: turns any 32-bit number into well-mixed ones, for seeding. */
function splitmix(state: number): () => number {
  let s = state | 0;
  return () => {
    s = (s + 0x9e3779b9) | 0;
    let z = Math.imul(s ^ (s >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) | 0;
  };
}

/** FNV-1a over the label's UTF-16 units, one per step. */
function hashLabel(label: string, start: number): number {
  let hash = start | 0;
  for (let i = 0; i < label.length; i++) hash = Math.imul(hash ^ label.charCodeAt(i), 0x01000193);
  return hash;
}

/** sfc32 (Chris Doty-Humphrey's Small Fast Counter). `seed` is an integer from 0 to 2^53. Not for secrets. */
export function seededRandom(seed: number): SeededRandom {
  invariant(Number.isSafeInteger(seed) && seed >= 0, `seed ${seed}`);
  const low = (seed % 2 ** 32) | 0;
  const high = Math.floor(seed / 2 ** 32) | 0;
  const mix = splitmix(low);
  return generator(mix(), mix() ^ high, mix(), mix());
}

function generator(seedA: number, seedB: number, seedC: number, identity: number): SeededRandom {
  let a = seedA | 0;
  let b = seedB | 0;
  let c = seedC | 0;
  let counter = 1;
  const u32 = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + sum) | 0;
    return sum >>> 0;
  };
  // The first draws of neighbouring seeds are alike; a dozen rounds mix them.
  for (let i = 0; i < 12; i++) u32();

  const below = (limit: number): number => {
    invariant(Number.isInteger(limit) && limit >= 1 && limit <= 2 ** 32, `limit ${limit}`);
    // Draws from the incomplete last span would favour small results; they are thrown away.
    const fair = 2 ** 32 - (2 ** 32 % limit);
    let draw = u32();
    while (draw >= fair) draw = u32();
    return draw % limit;
  };
  const unit = (): number => u32() / 2 ** 32;

  return {
    u32,
    below,
    unit,
    between: (lowest, highest) => lowest + below(highest - lowest + 1),
    chance: (probability) => unit() < probability,
    pick: (items) => items[below(items.length)]!,
    shuffle: (items) => {
      for (let i = items.length - 1; i > 0; i--) {
        const j = below(i + 1);
        [items[i], items[j]] = [items[j]!, items[i]!];
      }
      return items;
    },
    fill: (target) => {
      let at = 0;
      for (; at + 4 <= target.length; at += 4) {
        const draw = u32();
        target[at] = draw;
        target[at + 1] = draw >>> 8;
        target[at + 2] = draw >>> 16;
        target[at + 3] = draw >>> 24;
      }
      for (let draw = u32(); at < target.length; at++, draw >>>= 8) target[at] = draw;
    },
    fork: (label) => {
      const mix = splitmix(hashLabel(label, identity ^ 0x811c9dc5));
      return generator(seedA ^ mix(), seedB ^ mix(), seedC ^ mix(), mix());
    },
  };
}
