/** The decisions between two rounds: how long would the guest stand still now, and does it have to be slowed down? */
import { type Duration, MIB, milliseconds, nanoseconds, PAGE_BYTES, toSeconds } from '../base/units.js';
import type { ParameterValues } from './parameters.js';

/** Rounds older than needed to cover so many bytes don't count: a link's rate changes. */
const WINDOW_BYTES = 4 * 1024 * 1024;

/** The rate of the link, measured over the latest rounds. */
export class LinkRate {
  readonly #samples: { readonly bytes: number; readonly seconds: number }[] = [];

  add(bytes: number, duration: Duration): void {
    this.#samples.push({ bytes, seconds: toSeconds(duration) });
  }

  /** Bytes per second; 0 before anything was measured. */
  get bytesPerSecond(): number {
    let bytes = 0;
    let seconds = 0;
    for (let i = this.#samples.length - 1; i >= 0 && bytes < WINDOW_BYTES; i--) {
      bytes += this.#samples[i]!.bytes;
      seconds += this.#samples[i]!.seconds;
    }
    return seconds > 0 ? bytes / seconds : 0;
  }
}

/** The blackout if the guest were paused now: the remaining pages at the measured rate, and what doesn't depend on them. */
export function expectedDowntime(remainingPages: number, bytesPerSecond: number, fixed: Duration): Duration {
  if (remainingPages === 0) return fixed;
  if (bytesPerSecond === 0) return nanoseconds(Number.POSITIVE_INFINITY);
  return nanoseconds(((remainingPages * PAGE_BYTES) / bytesPerSecond) * 1e9 + fixed);
}

/**
 * A round that is smaller and shorter than this says nothing of the link: most of its time goes into handing over, and a
 * guest that dirties as much meanwhile is not too fast for anything.
 */
const TELLING_BYTES = 8 * MIB;
const TELLING_TIME = milliseconds(25);

/** In how many rounds the guest must have outrun the link before it is slowed down, or slowed down further. */
const FAST_ROUNDS = 2;

/** Auto-converge: throttles the vCPUs step by step while the guest dirties memory faster than it is sent. */
export class AutoConverge {
  #percent = 0;
  #fastRounds = 0;

  get percent(): number {
    return this.#percent;
  }

  /** What holds when the parameters have been changed: none when it is off, and no more than is allowed. */
  adjust(values: Readonly<ParameterValues>): number {
    if (!values.autoConverge) this.#fastRounds = 0;
    this.#percent = values.autoConverge ? Math.min(this.#percent, values.maxCpuThrottle) : 0;
    return this.#percent;
  }

  /** Judges a finished round; returns the new throttle if it changes. */
  judge(
    values: Readonly<ParameterValues>,
    sentBytes: number,
    duration: Duration,
    dirtiedPages: number,
  ): number | undefined {
    if (!values.autoConverge) return undefined;
    if (sentBytes < TELLING_BYTES && duration < TELLING_TIME) return undefined;
    if (dirtiedPages * PAGE_BYTES * 100 <= sentBytes * values.throttleTriggerThreshold) return undefined;
    this.#fastRounds++;
    if (this.#fastRounds < FAST_ROUNDS) return undefined;
    this.#fastRounds = 0;
    const step = this.#percent === 0 ? values.cpuThrottleInitial : values.cpuThrottleIncrement;
    const percent = Math.min(this.#percent + step, values.maxCpuThrottle);
    if (percent === this.#percent) return undefined;
    this.#percent = percent;
    return percent;
  }
}
