/** The decisions between two rounds: how long would the guest stand still now, and does it have to be slowed down? */
import { type Duration, MIB, milliseconds, nanoseconds, PAGE_BYTES, toSeconds } from '../base/units.js';
import type { ParameterValues } from './parameters.js';
import type { BlackoutRecord } from './record.js';

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

/** What is known, before the guest is stopped, of what stopping and moving it takes; a source has measured all of it. */
export interface BlackoutInputs {
  readonly remainingPages: number;
  readonly bytesPerSecond: number;
  /** From a question to the destination to its answer, while it is as busy as it is. */
  readonly roundTripNs: Duration;
  /** Until the assigned devices are quiet, and then until the vCPUs stand. */
  readonly quiesceNs: Duration;
  readonly pauseNs: Duration;
  /** The last harvest, when both stand still. */
  readonly harvestNs: Duration;
  /** Reading what there was of the devices' state, and sending it. */
  readonly deviceStateNs: Duration;
  /** What the destination took for the same in a rehearsal. */
  readonly loadNs: Duration;
  readonly startNs: Duration;
}

/** The blackout, part by part, if the guest were stopped now. */
export function expectedBlackout(known: BlackoutInputs): BlackoutRecord {
  const { remainingPages, bytesPerSecond, roundTripNs, harvestNs, quiesceNs, pauseNs } = known;
  const sendingNs = remainingPages === 0 ? 0 : ((remainingPages * PAGE_BYTES) / bytesPerSecond) * 1e9;
  const lastPagesNs = harvestNs + sendingNs;
  const parts = {
    quiesceNs,
    pauseNs,
    lastPagesNs: nanoseconds(lastPagesNs),
    // Read beside the pages.
    deviceStateNs: nanoseconds(Math.max(0, known.deviceStateNs - lastPagesNs)),
    // One way of the round trip; the answer's is counted with the load.
    stateNs: nanoseconds(roundTripNs / 2),
    loadNs: nanoseconds(roundTripNs / 2 + known.loadNs),
    startNs: nanoseconds(roundTripNs + known.startNs),
  };
  const totalNs = nanoseconds(Object.values(parts).reduce((total, part) => total + part, 0));
  return { totalNs, ...parts };
}

/** Rounds without a gain after which nothing more is expected of further ones. */
const IDLE_ROUNDS = 5;
/** Then the guest is stopped at the end of a round that promises the least of so many. */
const BEST_OF = 8;
/** What counts as a gain: the best expectation so far, lowered by a tenth. */
const GAIN = 0.9;

/**
 * Whether further rounds would still bring the expected blackout down. Where a round takes its time mostly to be handed
 * over, as many pages are written meanwhile as it sent, and all that is left of a blackout is what no round shortens.
 */
export class Shrinking {
  #best = Infinity;
  #since = 0;
  readonly #last: number[] = [];

  /**
   * Judges a finished round. True if it and those before it brought nothing, and none of them was a better moment to stop
   * at: a guest writes in bursts, and threads that were reached quickly a moment ago will be reached quickly now.
   */
  over(expected: Duration, sentBytes: number, duration: Duration): boolean {
    if (isTelling(sentBytes, duration)) this.#since = 0;
    else this.#since++;
    if (expected < this.#best * GAIN) {
      this.#best = expected;
      this.#since = 0;
    }
    this.#last.push(expected);
    if (this.#last.length > BEST_OF) this.#last.shift();
    if (this.#since < IDLE_ROUNDS) return false;
    return expected <= Math.min(...this.#last);
  }
}

/**
 * A round that is smaller and shorter than this says nothing of the link: most of its time goes into handing over, and a
 * guest that dirties as much meanwhile is not too fast for anything.
 */
const TELLING_BYTES = 8 * MIB;
const TELLING_TIME = milliseconds(25);
const isTelling = (sentBytes: number, duration: Duration): boolean =>
  sentBytes >= TELLING_BYTES || duration >= TELLING_TIME;

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
    if (!isTelling(sentBytes, duration)) return undefined;
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
