/**
 * The 64-bit page hash in plain TypeScript: the reference that the SIMD kernel (`vmm/kernels/page-hash.wat`) is held
 * to, and what runs where there is no kernel. 64-bit values are pairs of 32-bit halves.
 *
 * Four accumulators of two 64-bit lanes take a stripe of four 16-byte vectors (here: 16 words of 32 bits) at a time.
 * Two vectors, each with its own key added, are multiplied lane by lane into two accumulators, while the same two
 * vectors are added to the other two: a product that happens to be zero hides nothing, and a change confined to one
 * word always reaches an accumulator that no product of that word touches. Keys move on by an odd step each stripe,
 * so that the same bytes elsewhere weigh differently; every 1024 bytes the accumulators are scrambled (a bijection).
 *
 * It guards against damage on the way and defects of ours, not against a forger.
 */
import { invariant } from '../../base/errors.js';
import { PAGE_BYTES } from '../../base/units.js';

/** First keys of the four vectors of a stripe: digits of pi. */
const KEYS = Uint32Array.of(
  0x243f6a88,
  0x85a308d3,
  0x13198a2e,
  0x03707344,
  0xa4093822,
  0x299f31d0,
  0x082efa98,
  0xec4e6c89,
  0x452821e6,
  0x38d01377,
  0xbe5466cf,
  0x34e90c6c,
  0xc0ac29b7,
  0xc97c50dd,
  0x3f84d5b5,
  0xb5470917,
);
/** What each key moves on by: the next digits, made odd. */
const STEPS = Uint32Array.of(
  0x9216d5d9,
  0x8979fb1b,
  0xd1310ba7,
  0x98dfb5ad,
  0x2ffd72db,
  0xd01adfb7,
  0xb8e1afed,
  0x6a267e97,
  0xba7c9045,
  0xf12c7f99,
  0x24a19947,
  0xb3916cf7,
  0x0801f2e3,
  0x858efc17,
  0x636920d9,
  0x71574e69,
);
const GOLDEN = 0x9e3779b1;
const STRIPE_WORDS = 16;
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
  const x = new Uint32Array(STRIPE_WORDS);
  const keyed = new Uint32Array(STRIPE_WORDS);
  const lanes = new Lanes();
  for (let stripe = 0; stripe < PAGE_BYTES / 64; stripe++) {
    for (let i = 0; i < STRIPE_WORDS; i++) {
      x[i] = view.getUint32(stripe * 64 + i * 4, true);
      keyed[i] = x[i]! + keys[i]!;
      keys[i] = keys[i]! + STEPS[i]!;
    }
    for (let pair = 0; pair < 2; pair++) {
      const first = pair * 8; // words of the pair's first vector; the second follows
      for (let i = 0; i < 4; i++) {
        multiply(keyed[first + i]!, keyed[first + 4 + i]!);
        lanes.add(pair * 4 + i, productLow, productHigh);
      }
      for (let i = 0; i < 4; i++) {
        lanes.add((pair ^ 1) * 4 + i, x[first + 2 * i]!, x[first + 2 * i + 1]!);
      }
    }
    if (stripe % BLOCK_STRIPES === BLOCK_STRIPES - 1) {
      for (let lane = 0; lane < 8; lane++) lanes.scramble(lane);
    }
  }
  const hash = foldLanes(lanes.words, seed);
  table[at] = hash[0];
  table[at + 1] = hash[1];
}

/** h * (high:low), modulo 2^64. */
function multiply64(hash: [number, number], low: number, high: number): void {
  const [hashLow, hashHigh] = hash;
  multiply(hashLow, low);
  hash[0] = productLow;
  hash[1] = (productHigh + Math.imul(hashHigh, low) + Math.imul(hashLow, high)) >>> 0;
}

function foldLanes(lanes: Uint32Array, seed: number): [number, number] {
  const hash: [number, number] = [seed >>> 0, 0];
  multiply64(hash, 0x133111eb, 0x94d049bb);
  for (let lane = 0; lane < 8; lane++) {
    hash[0] = (hash[0] ^ lanes[2 * lane]!) >>> 0;
    hash[1] = (hash[1] ^ lanes[2 * lane + 1]!) >>> 0;
    multiply64(hash, 0x7f4a7c15, 0x9e3779b9);
    hash[0] = (hash[0] ^ hash[1]) >>> 0;
  }
  multiply64(hash, 0x1ce4e5b9, 0xbf58476d);
  hash[0] = (hash[0] ^ hash[1]) >>> 0;
  if (hash[0] === 0 && hash[1] === 0) hash[0] = 1;
  return hash;
}
