/**
 * The receiving end of a flow: tells lost, duplicated, reordered and corrupt datagrams apart, and measures gaps and
 * latency. Memory is fixed whatever the sender numbers.
 */
import { type Duration, elapsed, type Instant, nanoseconds } from '../../base/units.js';
import { ArrivalSeries, type Arrivals } from './arrival-series.js';
import { LatencyHistogram, type LatencySummary } from './histogram.js';

/** Sequence numbers behind the newest for which it is known whether they came. */
const WINDOW = 65536;
const WINDOW_MASK = WINDOW - 1;

export interface FlowMeasurement {
  /** Intact datagrams, each counted once. */
  readonly received: number;
  /** Numbers below the newest that came neither intact nor corrupt. */
  readonly lost: number;
  /** Runs of consecutive numbers that had not come intact when a higher one came: what was lost at once is one. */
  readonly holes: number;
  readonly duplicated: number;
  /** Came after one with a higher number. RFC 4737, 3.3 */
  readonly reordered: number;
  readonly corrupt: number;
  /** So late that nobody knows whether they are duplicates: more than 65536 numbers behind. */
  readonly tooLate: number;
  /** Longest time between two arrivals, and when it began, by the receiver's clock. */
  readonly longestGapNs: number;
  readonly longestGapAtNs: number;
  /** Time since the last arrival. */
  readonly silentNs: number;
  /** There and back for echoes; one way where both ends have one clock; null where nothing can be said. */
  readonly latency: LatencySummary | null;
}

/** What only ever grows: a phase's share is a difference. */
type Counts = Pick<
  FlowMeasurement,
  'received' | 'lost' | 'holes' | 'duplicated' | 'reordered' | 'corrupt' | 'tooLate'
>;

const NO_COUNTS: Counts = {
  received: 0,
  lost: 0,
  holes: 0,
  duplicated: 0,
  reordered: 0,
  corrupt: 0,
  tooLate: 0,
};

interface Gap {
  readonly ns: Duration;
  readonly atNs: Duration;
}

const NO_GAP: Gap = { ns: nanoseconds(0), atNs: nanoseconds(0) };
const longer = (a: Gap, b: Gap): Gap => (b.ns > a.ns ? b : a);

export class FlowReceiver {
  readonly #seen = new Uint32Array(WINDOW / 32);
  /** Of this phase, and of all before it. */
  readonly #latency = new LatencyHistogram();
  readonly #latencyBefore = new LatencyHistogram();
  readonly #arrivals = new ArrivalSeries();
  /** The number after the highest seen. */
  #next = 0;
  #received = 0;
  #holes = 0;
  #duplicated = 0;
  #reordered = 0;
  #corrupt = 0;
  #tooLate = 0;
  #lastAt: Instant | undefined;
  #longestGap: Duration = nanoseconds(0);
  #longestGapAt: Duration = nanoseconds(0);
  #gapBefore = NO_GAP;
  #countsBefore = NO_COUNTS;

  /** An intact datagram came. `latency` in nanoseconds, undefined if the clocks have nothing in common. */
  arrived(sequence: number, now: Instant, latency: Duration | undefined): void {
    if (sequence >= this.#next) {
      if (sequence > this.#next) this.#holes++;
      this.#advance(sequence);
    } else if (this.#next - sequence > WINDOW) {
      this.#tooLate++;
      return;
    } else if (this.#has(sequence)) {
      this.#duplicated++;
      return;
    } else {
      this.#reordered++;
    }
    this.#seen[(sequence & WINDOW_MASK) >>> 5]! |= 1 << (sequence & 31);
    this.#received++;
    this.#arrivals.add(now);
    if (latency !== undefined) this.#latency.add(latency);
    if (this.#lastAt !== undefined) {
      const gap = elapsed(this.#lastAt, now);
      if (gap > this.#longestGap) {
        this.#longestGap = gap;
        this.#longestGapAt = nanoseconds(this.#lastAt);
      }
    }
    this.#lastAt = now;
  }

  /** One came with a wrong byte in it. What it says of itself, its number included, is not believed. */
  damaged(): void {
    this.#corrupt++;
  }

  /** Of `sent` datagrams those that have neither come, intact or corrupt, nor are known to be lost. */
  outstanding(sent: number): number {
    return Math.max(0, sent - Math.max(this.#next, this.#received + this.#corrupt));
  }

  /** When the intact datagrams came. */
  arrivals(from: Instant, to: Instant): Arrivals {
    return this.#arrivals.between(from, to);
  }

  /** Everything since the first arrival. */
  measurement(now: Instant): FlowMeasurement {
    const latency = this.#latencyBefore.copy();
    latency.absorb(this.#latency.copy());
    return this.#report(now, this.#counts(), longer(this.#gapBefore, this.#gap), latency);
  }

  /**
   * What was measured since the last call (or the first arrival); the next phase begins here, and totals go on. A gap
   * belongs to the phase in which it ends.
   */
  nextPhase(now: Instant): FlowMeasurement {
    const counts = this.#counts();
    const before = this.#countsBefore;
    const phase = Object.fromEntries(
      Object.entries(counts).map(([name, count]) => [name, count - before[name as keyof Counts]]),
    ) as unknown as Counts;
    const report = this.#report(now, phase, this.#gap, this.#latency);
    this.#countsBefore = counts;
    this.#gapBefore = longer(this.#gapBefore, this.#gap);
    this.#longestGap = nanoseconds(0);
    this.#longestGapAt = nanoseconds(0);
    this.#latencyBefore.absorb(this.#latency);
    return report;
  }

  get #gap(): Gap {
    return { ns: this.#longestGap, atNs: this.#longestGapAt };
  }

  #counts(): Counts {
    return {
      received: this.#received,
      lost: Math.max(0, this.#next - this.#received - this.#corrupt),
      holes: this.#holes,
      duplicated: this.#duplicated,
      reordered: this.#reordered,
      corrupt: this.#corrupt,
      tooLate: this.#tooLate,
    };
  }

  #report(now: Instant, counts: Counts, gap: Gap, latency: LatencyHistogram): FlowMeasurement {
    return {
      ...counts,
      longestGapNs: gap.ns,
      longestGapAtNs: gap.atNs,
      silentNs: this.#lastAt === undefined ? 0 : elapsed(this.#lastAt, now),
      latency: latency.summary() ?? null,
    };
  }

  /** Moves the window on to end with `sequence`; the numbers passed over have not come. */
  #advance(sequence: number): void {
    if (sequence - this.#next >= WINDOW) this.#seen.fill(0);
    else {
      for (let i = this.#next; i <= sequence; i++) {
        this.#seen[(i & WINDOW_MASK) >>> 5]! &= ~(1 << (i & 31));
      }
    }
    this.#next = sequence + 1;
  }

  #has(sequence: number): boolean {
    return ((this.#seen[(sequence & WINDOW_MASK) >>> 5]! >>> (sequence & 31)) & 1) !== 0;
  }
}
