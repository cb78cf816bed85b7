/**
 * The 64-bit page hash in plain TypeScript: the reference that the SIMD kernel (`vmm/kernels/page-hash.wat`) is held
 * to, and what runs where there is no kernel. 64-bit values are pairs of 32-bit halves.
 *
 * Four accumulators of two 64-bit lanes take a stripe of four 16-byte vectors (here: 16 words of 32 bits) at a time.
 * Two vectors, each with a key added, are multiplied lane by lane into two accumulators, while the same two vectors
 * are added to the other two: a product that happens to be zero hides nothing, and a change confined to one word
 * always reaches an accumulator that no product of that word touches. The two keys move on by an odd step each stripe,
 * so that the same bytes elsewhere weigh differently; every 1024 bytes the accumulators are scrambled (a bijection),
 * and at the end folded into one word with multiplications by odd constants.
 *
 * It guards against damage on the way and defects of ours, not against a forger.
 */
import { invariant } from '../../base/errors.js';
import { PAGE_BYTES } from '../../base/units.js';

/** First keys, one for the first vector of a pair and one for the second: digits of pi. */
const KEYS = Uint32Array.of(
  0x243f6a88,
  0x85a308d3,
  0x13198a2e,
  0x03707344,
  0xa4093822,
  0x299f31d0,
  0x082efa98,
  0xec4e6c89,
);
/** What each key moves on by: the next digits, made odd. */
const STEPS = Uint32Array.of(
  0x452821e7,
  0x38d01377,
  0xbe5466cf,
  0x34e90c6d,
  0xc0ac29b7,
  0xc97c50dd,
  0x3f84d5b5,
  0xb5470917,
);
const GOLDEN = 0x9e3779b1;
const STRIPE_BYTES = 64;
/** Words of the two vectors that are multiplied with each other. */
const PAIR_WORDS = 8;
const BLOCK_STRIPES = 16;

/** Products low * high of two words, as a pair of halves. */
let productLow = 0;
let productHigh = 0;

function multiply(a: number, b: number): void {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const cross = aLow * bHigh + (middle % 0x10000);
  productLow = ((cross << 16) | (low & 0xffff)) >>> 0;
  productHigh = aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(cross / 0x10000);
}

/** Eight 64-bit lanes: lane n is words 2n (low) and 2n + 1 (high); accumulator s holds lanes 2s and 2s + 1. */
class Lanes {
  readonly words = new Uint32Array(16);

  add(lane: number, low: number, high: number): void {
    const sum = this.words[2 * lane]! + low;
    this.words[2 * lane] = sum;
    this.words[2 * lane + 1] = this.words[2 * lane + 1]! + high + (sum > 0xffffffff ? 1 : 0);
  }

  /** lane = (lane ^ lane >>> 47) * GOLDEN */
  scramble(lane: number): void {
    const high = this.words[2 * lane + 1]!;
    const low = (this.words[2 * lane]! ^ (high >>> 15)) >>> 0;
    multiply(low, GOLDEN);
    this.words[2 * lane] = productLow;
    this.words[2 * lane + 1] = productHigh + Math.imul(high, GOLDEN);
  }
}

/**
 * Hash of one page under `seed`; the lower half is stored at `table[at]`, the upper at `table[at + 1]`. Never zero in
 * both: in hash tables that means "never sent".
 */
export function referencePageHash(page: Uint8Array, seed: number, table: Uint32Array, at: number): void {
  invariant(page.length === PAGE_BYTES, 'a page hash is of a whole page');
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  const spread = Math.imul(seed, GOLDEN);
  const keys = KEYS.map((key) => key ^ spread);
  const x = new Uint32Array(PAIR_WORDS);
  const lanes = new Lanes();
  for (let stripe = 0; stripe < PAGE_BYTES / STRIPE_BYTES; stripe++) {
    for (let pair = 0; pair < 2; pair++) {
      for (let i = 0; i < PAIR_WORDS; i++) {
        x[i] = view.getUint32(stripe * STRIPE_BYTES + (pair * PAIR_WORDS + i) * 4, true);
      }
      for (let i = 0; i < 4; i++) {
        multiply((x[i]! + keys[i]!) >>> 0, (x[4 + i]! + keys[4 + i]!) >>> 0);
        lanes.add(pair * 4 + i, productLow, productHigh);
      }
      for (let i = 0; i < 4; i++) lanes.add((pair ^ 1) * 4 + i, x[2 * i]!, x[2 * i + 1]!);
    }
    for (let i = 0; i < keys.length; i++) keys[i] = keys[i]! + STEPS[i]!;
    if (stripe % BLOCK_STRIPES === BLOCK_STRIPES - 1) {
      for (let lane = 0; lane < 8; lane++) lanes.scramble(lane);
    }
  }
  const hash = foldLanes(lanes.words, seed);
  table[at] = hash[0]!;
  table[at + 1] = hash[1]!;
}

/** hash = (hash ^ high:low) * (primeHigh:primeLow) modulo 2^64, then hash ^= hash >>> 32. */
function mix(hash: Uint32Array, low: number, high: number, primeLow: number, primeHigh: number): void {
  const mixedLow = (hash[0]! ^ low) >>> 0;
  const mixedHigh = (hash[1]! ^ high) >>> 0;
  multiply(mixedLow, primeLow);
  hash[1] = productHigh + Math.imul(mixedHigh, primeLow) + Math.imul(mixedLow, primeHigh);
  hash[0] = productLow ^ hash[1];
}

function foldLanes(lanes: Uint32Array, seed: number): Uint32Array {
  const hash = new Uint32Array(2);
  // seed * prime, without the shift that `mix` would add
  multiply(seed >>> 0, 0x133111eb);
  hash[0] = productLow;
  hash[1] = productHigh + Math.imul(seed, 0x94d049bb);
  for (let parity = 0; parity < 2; parity++) {
    const lane = new Uint32Array(2);
    for (let i = parity; i < 8; i += 2) mix(lane, lanes[2 * i]!, lanes[2 * i + 1]!, 0x7f4a7c15, 0x9e3779b9);
    mix(hash, lane[0]!, lane[1]!, 0x7f4a7c15, 0x9e3779b9);
  }
  mix(hash, 0, 0, 0x1ce4e5b9, 0xbf58476d);
  if (hash[0] === 0 && hash[1] === 0) hash[0] = 1;
  return hash;
}
