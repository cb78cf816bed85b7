/**
 * Times in logarithmic buckets: 32 to the octave, so that a percentile is off by at most 3 %, from 1 ns to years, in
 * fixed memory and without work beyond one addition per value.
 */

const SUB_BITS = 5;
const SUBS = 1 << SUB_BITS;
const OCTAVES = 48;

export interface LatencySummary {
  readonly count: number;
  readonly minNs: number;
  readonly medianNs: number;
  readonly p99Ns: number;
  readonly p999Ns: number;
  readonly maxNs: number;
}

export class LatencyHistogram {
  readonly #buckets = new Float64Array(OCTAVES * SUBS);
  #count = 0;
  #min = Number.POSITIVE_INFINITY;
  #max = 0;

  /** Adds a time in nanoseconds; a negative one (clocks that disagree) counts as 0. */
  add(ns: number): void {
    const value = Math.max(0, Math.floor(ns));
    this.#buckets[bucketOf(value)]!++;
    this.#count++;
    if (value < this.#min) this.#min = value;
    if (value > this.#max) this.#max = value;
  }

  /** Takes over all values of `other`, which is empty afterwards. */
  absorb(other: LatencyHistogram): void {
    for (let i = 0; i < this.#buckets.length; i++) this.#buckets[i]! += other.#buckets[i]!;
    this.#count += other.#count;
    this.#min = Math.min(this.#min, other.#min);
    this.#max = Math.max(this.#max, other.#max);
    other.#buckets.fill(0);
    other.#count = 0;
    other.#min = Number.POSITIVE_INFINITY;
    other.#max = 0;
  }

  copy(): LatencyHistogram {
    const copy = new LatencyHistogram();
    copy.#buckets.set(this.#buckets);
    copy.#count = this.#count;
    copy.#min = this.#min;
    copy.#max = this.#max;
    return copy;
  }

  /** The least time that at least `share` (0 to 1) of all values did not exceed; 0 if there are none. */
  percentile(share: number): number {
    const wanted = Math.max(1, Math.ceil(this.#count * share));
    let seen = 0;
    for (let i = 0; i < this.#buckets.length; i++) {
      seen += this.#buckets[i]!;
      if (seen >= wanted) return Math.min(this.#max, Math.max(this.#min, upperEndOf(i)));
    }
    return 0;
  }

  /** Undefined if there are no values. */
  summary(): LatencySummary | undefined {
    if (this.#count === 0) return undefined;
    return {
      count: this.#count,
      minNs: this.#min,
      medianNs: this.percentile(0.5),
      p99Ns: this.percentile(0.99),
      p999Ns: this.percentile(0.999),
      maxNs: this.#max,
    };
  }
}

function bucketOf(value: number): number {
  if (value < SUBS) return value;
  // clz32 on the upper part keeps this exact above 2^32.
  const high = Math.floor(value / 2 ** 32);
  const exponent = high > 0 ? 63 - Math.clz32(high) : 31 - Math.clz32(value);
  const sub = Math.floor(value / 2 ** (exponent - SUB_BITS)) - SUBS;
  return Math.min((exponent - SUB_BITS + 1) * SUBS + sub, OCTAVES * SUBS - 1);
}

function upperEndOf(bucket: number): number {
  if (bucket < SUBS) return bucket;
  const exponent = Math.floor(bucket / SUBS) + SUB_BITS - 1;
  return (SUBS + (bucket % SUBS) + 1) * 2 ** (exponent - SUB_BITS) - 1;
}
