/**
 * Watches for times in which this process did not run. What a traffic peer measures then is its own, not the network's:
 * a report says how much of a gap was spent so.
 */

interface Stall {
  readonly startNs: number;
  readonly endNs: number;
}

const TICK_MS = 1;
/** Shorter ones are the grain of timers: they count in whole milliseconds, and one more passes easily. */
const STALL_NS_MIN = 2e6;
/** Stalls that are remembered one by one, the latest. */
const REMEMBERED_MAX = 1024;

export class StallWatch {
  readonly #now: () => number;
  readonly #stalls: Stall[] = [];
  #timer: NodeJS.Timeout | undefined;
  #lastNs = 0;
  #longestNs = 0;
  #longestBeforeNs = 0;

  /** `now`: nanoseconds of the clock by which gaps are measured. */
  constructor(now: () => number) {
    this.#now = now;
  }

  start(): void {
    this.#lastNs = this.#now();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Longest stall since the start. */
  get longestNs(): number {
    return Math.max(this.#longestBeforeNs, this.#longestNs);
  }

  /** Longest stall since the last call, or since the start. */
  nextPhase(): number {
    this.#tick();
    const longest = this.#longestNs;
    this.#longestBeforeNs = this.longestNs;
    this.#longestNs = 0;
    return longest;
  }

  /** How much of the `lengthNs` from `startNs` on was stalled. */
  within(startNs: number, lengthNs: number): number {
    const endNs = startNs + lengthNs;
    return this.#stalls.reduce(
      (sum, stall) => sum + Math.max(0, Math.min(endNs, stall.endNs) - Math.max(startNs, stall.startNs)),
      0,
    );
  }

  #tick(): void {
    const now = this.#now();
    const late = now - this.#lastNs - TICK_MS * 1e6;
    this.#lastNs = now;
    if (late > this.#longestNs) this.#longestNs = late;
    if (late < STALL_NS_MIN) return;
    this.#stalls.push({ startNs: now - late, endNs: now });
    if (this.#stalls.length > REMEMBERED_MAX) this.#stalls.shift();
  }
}
