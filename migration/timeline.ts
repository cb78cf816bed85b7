/**
 * What happened in a migration, when, and to whom. Recorded once, as it happens, on the clock of the side that records;
 * the blackout's split, the rounds, progress, traces and reports are views of it.
 */
import type { Clock } from '../base/clock.js';
import { type Duration, elapsed, type Instant } from '../base/units.js';

export type TimelineFacts = Readonly<Record<string, string | number | boolean>>;

export interface TimelineEntry {
  /** When it happened, or began. */
  readonly at: Instant;
  /** How long it took; absent for what happened at once. */
  readonly duration?: Duration;
  /** `migration` for the flow itself, else who did it or had it done: `vf0`, `vcpu1`, `channel0`. */
  readonly who: string;
  readonly what: string;
  readonly facts?: TimelineFacts;
}

/** The flow itself. What it says is kept whatever there is of others. */
export const FLOW = 'migration';
/** What all others may say together: some minutes of rounds, each with its channels, vCPUs and devices. */
export const OTHERS_MAX = 20_000;

export class Timeline {
  readonly #clock: Clock;
  readonly #entries: TimelineEntry[] = [];
  readonly #latest = new Map<string, TimelineEntry>();
  #others = 0;
  #leftOff = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** In the order in which they ended. */
  get entries(): readonly TimelineEntry[] {
    return this.#entries;
  }

  /** Entries of others than the flow that came when there were `OTHERS_MAX` already. */
  get leftOff(): number {
    return this.#leftOff;
  }

  now(): Instant {
    return this.#clock.now();
  }

  /** It happens now, unless `at` says when it did. */
  moment(who: string, what: string, facts?: TimelineFacts, at = this.now()): void {
    this.#add({ at, who, what, ...(facts && { facts }) });
  }

  /** It began at `from`, and ends now unless `to` says when it did. Returns how long it took. */
  span(who: string, what: string, from: Instant, facts?: TimelineFacts, to = this.now()): Duration {
    const duration = elapsed(from, to);
    this.#add({ at: from, duration, who, what, ...(facts && { facts }) });
    return duration;
  }

  /** It lasts as long as `work`, however that ends. */
  async during<T>(who: string, what: string, work: () => Promise<T>): Promise<T> {
    const from = this.now();
    try {
      const result = await work();
      this.span(who, what, from);
      return result;
    } catch (error) {
      this.span(who, what, from, { failed: error instanceof Error ? error.message : String(error) });
      throw error;
    }
  }

  /** The last entry of that kind, whether or not it found room in `entries`. */
  latest(who: string, what: string): TimelineEntry | undefined {
    return this.#latest.get(`${who} ${what}`);
  }

  #add(entry: TimelineEntry): void {
    this.#latest.set(`${entry.who} ${entry.what}`, entry);
    if (entry.who !== FLOW && ++this.#others > OTHERS_MAX) this.#leftOff++;
    else this.#entries.push(entry);
  }
}

/** `target` with the calls of `steps` recorded while there is a timeline; everything else of it is as it was. */
export function observed<T extends object>(
  target: T,
  who: string,
  timeline: () => Timeline | undefined,
  steps: readonly (keyof T & string)[],
): T {
  return new Proxy(target, {
    get(of, name) {
      const value: unknown = Reflect.get(of, name, of);
      if (typeof value !== 'function') return value;
      if (!(steps as readonly PropertyKey[]).includes(name)) return value.bind(of);
      return (...given: unknown[]) => {
        const call = (): Promise<unknown> => value.apply(of, given);
        return timeline()?.during(who, String(name), call) ?? call();
      };
    },
  });
}
