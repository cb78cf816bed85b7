/** How many datagrams of a flow came when: counted in buckets of a millisecond, the last minute of them. */
import { type Instant, instant, milliseconds } from '../../base/units.js';

const BUCKET_NS = milliseconds(1);
/** 65.5 s. */
const BUCKETS = 65_536;
const COUNT_MAX = 0xffff;

/** Arrivals in consecutive buckets of `bucketNs`, the first of which begins at `startNs` on the receiver's clock. */
export interface Arrivals {
  readonly startNs: Instant;
  readonly bucketNs: number;
  readonly counts: readonly number[];
}

export class ArrivalSeries {
  readonly #counts = new Uint16Array(BUCKETS);
  /** Bucket of the newest arrival, counted from the clock's zero. */
  #newest = -1;

  add(now: Instant): void {
    const bucket = Math.floor(now / BUCKET_NS);
    if (bucket !== this.#newest) this.#advance(bucket);
    const at = bucket % BUCKETS;
    if (this.#counts[at]! < COUNT_MAX) this.#counts[at]!++;
  }

  /** What came from `from` until `to`; of a longer time the end. */
  between(from: Instant, to: Instant): Arrivals {
    const last = Math.floor(to / BUCKET_NS);
    const first = Math.max(Math.floor(from / BUCKET_NS), last - BUCKETS + 1);
    const counts = Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => this.#at(first + i));
    return { startNs: instant(first * BUCKET_NS), bucketNs: BUCKET_NS, counts };
  }

  #at(bucket: number): number {
    const known = bucket <= this.#newest && bucket > this.#newest - BUCKETS;
    return known ? this.#counts[bucket % BUCKETS]! : 0;
  }

  /** Empties the buckets of the time in which nothing came. */
  #advance(bucket: number): void {
    if (this.#newest < 0 || bucket - this.#newest >= BUCKETS) this.#counts.fill(0);
    else for (let i = this.#newest + 1; i <= bucket; i++) this.#counts[i % BUCKETS] = 0;
    this.#newest = bucket;
  }
}
