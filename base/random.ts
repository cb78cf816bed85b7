/**
 * Randomness as an argument. One seed is a whole test: cores draw from the generator they are handed, never from the
 * platform's.
 */
export interface Random {
  /** Uniform in [0, 2^32). */
  u32(): number;
  /** Uniform in [0, limit); `limit` from 1 to 2^32. */
  below(limit: number): number;
}

/** sfc32 (Chris Doty-Humphrey's Small Fast Counter), seeded with one 32-bit number. Not for secrets. */
export function seededRandom(seed: number): Random {
  let a = 0x9e3779b9;
  let b = 0x243f6a88;
  let c = seed | 0;
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
  // The first draws of neighbouring seeds are alike; fifteen rounds mix them.
  for (let i = 0; i < 15; i++) u32();
  return { u32, below: (limit) => Math.floor((u32() / 2 ** 32) * limit) };
}
