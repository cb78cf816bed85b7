/**
 * Where each station was last heard: a set-associative table of fixed size, as switches have. A full set gives up its
 * oldest entry, so that whoever floods addresses costs neither memory nor time. IEEE 802.1Q-2018, 8.8
 */
import { invariant } from '../../base/errors.js';
import { type Duration, type Instant, seconds } from '../../base/units.js';

const WAYS = 4;
/** No port. */
export const PORT_UNKNOWN = -1;
/** IEEE 802.1Q-2018, table 8-6: the recommended ageing time. */
export const AGEING_DEFAULT = seconds(300);
export const MACS_DEFAULT = 8192;

export class MacTable {
  readonly #ageing: Duration;
  readonly #setMask: number;
  /** Upper 16 and lower 32 bits of each entry's address, its port, and when it was heard last. */
  readonly #high: Uint16Array;
  readonly #low: Uint32Array;
  readonly #port: Int32Array;
  readonly #heard: Float64Array;
  /** Entries that gave way to another before their time. */
  evictions = 0;
  /** Stations that were heard at another port than before, and when that was last. */
  moves = 0;
  lastMove: Instant | undefined;
  /** When a station that was not known was heard last. */
  lastNew: Instant | undefined;

  /** `entriesMax` is a power of two, at least 4. */
  constructor(entriesMax: number = MACS_DEFAULT, ageing: Duration = AGEING_DEFAULT) {
    invariant(entriesMax >= WAYS && Number.isInteger(Math.log2(entriesMax)), `${entriesMax} MAC entries`);
    this.#ageing = ageing;
    this.#setMask = entriesMax / WAYS - 1;
    this.#high = new Uint16Array(entriesMax);
    this.#low = new Uint32Array(entriesMax);
    this.#port = new Int32Array(entriesMax).fill(PORT_UNKNOWN);
    this.#heard = new Float64Array(entriesMax);
  }

  /** The address at `at` of `bytes` was heard at `port`. */
  learn(bytes: Uint8Array, at: number, port: number, now: Instant): void {
    const high = highOf(bytes, at);
    const low = lowOf(bytes, at);
    const first = this.#firstOf(high, low);
    let oldest = first;
    for (let i = first; i < first + WAYS; i++) {
      if (this.#port[i] !== PORT_UNKNOWN && this.#low[i] === low && this.#high[i] === high) {
        if (this.#port[i] !== port) {
          this.#port[i] = port;
          this.moves++;
          this.lastMove = now;
        }
        this.#heard[i] = now;
        return;
      }
      if (this.#ageOf(i, now) > this.#ageOf(oldest, now)) oldest = i;
    }
    if (this.#ageOf(oldest, now) <= this.#ageing) this.evictions++;
    this.lastNew = now;
    this.#high[oldest] = high;
    this.#low[oldest] = low;
    this.#port[oldest] = port;
    this.#heard[oldest] = now;
  }

  /** The port behind which the address was heard, or PORT_UNKNOWN. */
  lookup(bytes: Uint8Array, at: number, now: Instant): number {
    const high = highOf(bytes, at);
    const low = lowOf(bytes, at);
    const first = this.#firstOf(high, low);
    for (let i = first; i < first + WAYS; i++) {
      if (this.#low[i] === low && this.#high[i] === high && this.#ageOf(i, now) <= this.#ageing) {
        return this.#port[i]!;
      }
    }
    return PORT_UNKNOWN;
  }

  /** Forgets what was heard at `port`. */
  forget(port: number): void {
    for (let i = 0; i < this.#port.length; i++) if (this.#port[i] === port) this.#port[i] = PORT_UNKNOWN;
  }

  /** Entries that are still believed. */
  count(now: Instant): number {
    let entries = 0;
    for (let i = 0; i < this.#port.length; i++) if (this.#ageOf(i, now) <= this.#ageing) entries++;
    return entries;
  }

  /** Age in nanoseconds; an empty entry is older than any other. */
  #ageOf(entry: number, now: Instant): number {
    return this.#port[entry] === PORT_UNKNOWN ? Number.POSITIVE_INFINITY : now - this.#heard[entry]!;
  }

  #firstOf(high: number, low: number): number {
    let hash = Math.imul(low ^ (high << 16), 0x9e3779b1);
    hash ^= hash >>> 15;
    return (hash & this.#setMask) * WAYS;
  }
}

const highOf = (bytes: Uint8Array, at: number): number => (bytes[at]! << 8) | bytes[at + 1]!;
const lowOf = (bytes: Uint8Array, at: number): number =>
  ((bytes[at + 2]! << 24) | (bytes[at + 3]! << 16) | (bytes[at + 4]! << 8) | bytes[at + 5]!) >>> 0;
