/** Gathers what a source records, so that a snapshot can be taken at any moment, also while the migration runs. */
import type { Scheduler } from '../base/clock.js';
import { FerryError, type SerializedError } from '../base/errors.js';
import { addDuration, type Duration, elapsed, type Instant, nanoseconds, toSeconds } from '../base/units.js';
import type { Approaches } from './approaches.js';
import { endingOf, SOURCE_ENDINGS, type SourceProgress, type Whereabouts, withWords } from './endings.js';
import { LinkRate } from './estimate.js';
import { hexBytes } from './frame.js';
import type { MessageOf } from './messages.js';
import { type PageRanges, pageRanges } from './page-ranges.js';
import type { HarvestReport, SourceDataPlane, SourceMachine, TransferCount } from './ports.js';
import type {
  BlackoutRecord,
  DestinationParts,
  DeviceTransfer,
  DirtiedPages,
  Fallback,
  MigrationRecord,
  RoundRecord,
  RoundsEnd,
  VerificationRecord,
} from './record.js';
import type { SourceState } from './states.js';
import type { Left } from './stop/stop.js';
import { FLOW, type Timeline } from './timeline.js';
import {
  blackoutOf,
  interruptionOf,
  type Moment,
  momentOf,
  type RoundFacts,
  roundOf,
  roundsOf,
  verifyingOf,
} from './timeline-views.js';

/** What stays the same during one migration. */
export type MigrationFacts = Pick<
  MigrationRecord,
  'migrationId' | 'verify' | 'ramBytes' | 'migratedPages' | 'channels'
>;

export interface StatisticsOptions {
  readonly facts: MigrationFacts;
  readonly machine: SourceMachine;
  readonly scheduler: Scheduler;
  readonly data: SourceDataPlane;
  readonly state: () => SourceState;
  readonly timeline: Timeline;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const none: DirtiedPages = { cpu: 0, device: 0, both: 0 };
const nothing: TransferCount = { pages: 0, zeroPages: 0, bytes: 0 };

export class SourceStatistics {
  readonly #facts: MigrationFacts;
  readonly #machine: SourceMachine;
  readonly #scheduler: Scheduler;
  readonly #data: SourceDataPlane;
  readonly #state: () => SourceState;
  readonly #startedAt: Instant;
  readonly #timeline: Timeline;
  readonly #rate = new LinkRate();
  #setupNs: Duration | undefined;
  #endedAt: Instant | undefined;
  #opened = false;
  #dirtied: DirtiedPages = none;
  #harvests = { count: 0, totalNs: nanoseconds(0), costNs: nanoseconds(0) };
  #dirtyPagesPerSecond = 0;
  #error: SerializedError | undefined;
  #guest: Whereabouts | undefined;
  #approaches: Approaches | undefined;
  #left: Left | undefined;
  readonly #fallbacks: Fallback[] = [];
  readonly #devices = new Map<string, Mutable<Omit<DeviceTransfer, 'name'>>>();
  #afterwards: SerializedError | undefined;
  #deviceDirtied: PageRanges | undefined;
  #destination: DestinationParts | undefined;
  #verification: Omit<VerificationRecord, 'durationNs'> | undefined;
  roundsEnd: RoundsEnd | undefined;
  remainingPages: number;
  throttlePercent = 0;
  expected: BlackoutRecord | undefined;

  constructor(options: StatisticsOptions) {
    const { facts, machine, scheduler, data, state, timeline } = options;
    this.#facts = facts;
    this.#machine = machine;
    this.#scheduler = scheduler;
    this.#data = data;
    this.#state = state;
    this.#timeline = timeline;
    this.#startedAt = scheduler.now();
    this.remainingPages = facts.migratedPages;
  }

  get bytesPerSecond(): number {
    return this.#rate.bytesPerSecond;
  }

  chosen(approaches: Approaches, left: Left): void {
    this.#approaches = approaches;
    this.#left = left;
  }

  /** The guest did not follow one approach, and another is at work. */
  fellBack(fallback: Fallback, left = this.#left): void {
    this.#left = left;
    this.#timeline.moment(FLOW, 'fallback', { ...fallback });
    this.#fallbacks.push(fallback);
    if (this.#approaches !== undefined)
      this.#approaches = { ...this.#approaches, [fallback.effort]: fallback.to };
  }

  /** So much of the device's data stream was sent. */
  deviceSent(name: string, bytes: number): void {
    const still = momentOf(this.#timeline, 'quiescing') !== undefined;
    this.#device(name)[still ? 'blackoutBytes' : 'preCopyBytes'] += bytes;
  }

  /** A device was taken back; `noticed` is what its guest has to make of that, if anything. */
  resumedDevice(name: string, noticed: string | undefined): void {
    this.#device(name).takenBack = noticed;
  }

  /** The guest did not do what the start would have had it do ahead. */
  unprepared(name: string, because: string): void {
    this.#device(name).unprepared = because;
  }

  /** What came of devices that were started after the guest. */
  devicesStarted({ devices }: MessageOf<'devices-started'>): void {
    for (const { name, ns, problem } of devices) {
      const device = this.#device(name);
      device.startedAfterNs = nanoseconds(ns);
      device.problem = problem ?? undefined;
    }
  }

  /** Went wrong when the guest ran at the destination already; the first of it is kept. */
  wentWrongAfterwards(error: FerryError): void {
    this.#afterwards ??= error.toJSON();
  }

  opened(): void {
    this.#opened = true;
  }

  setupDone(): void {
    this.#setupNs = this.#timeline.span(FLOW, 'set-up', this.#startedAt);
  }

  moment(moment: Moment): void {
    this.#timeline.moment(FLOW, moment);
  }

  /** The guest runs at the source again. */
  resumed(): void {
    this.#timeline.moment(FLOW, 'resumed');
  }

  /** The guest runs at the destination. */
  moved(): void {
    this.#ended();
    this.#guest = 'there';
  }

  /** The migration ended with `error`, when it had come so far. */
  ended(error: unknown, progress: SourceProgress): void {
    this.#ended();
    if (!(error instanceof FerryError)) return;
    const ending = SOURCE_ENDINGS[progress][endingOf('source', error)];
    this.#guest = ending.guest;
    const butFor = this.#machine.devices.map(({ name }) => {
      const { takenBack } = this.#device(name);
      return takenBack === undefined ? '' : ` But ${name} ${takenBack}.`;
    });
    this.#error = withWords(error, { ...ending, words: ending.words + butFor.join('') }).toJSON();
  }

  #ended(): void {
    this.#endedAt = this.#scheduler.now();
    // The machine's next migration begins a new set.
    this.#deviceDirtied = this.#dirtiedByDevice();
  }

  /** A round that began at `from` and has arrived after `duration`, and the harvest that followed it. */
  round(
    round: number,
    sent: TransferCount,
    from: Instant,
    duration: Duration,
    harvest: { readonly report: HarvestReport; readonly duration: Duration },
  ): RoundRecord {
    const { report } = harvest;
    const dirtied = dirtiedBy(report);
    this.#rate.add(sent.bytes, duration);
    if (duration > 0) {
      this.#dirtyPagesPerSecond = (dirtied.cpu + dirtied.device + dirtied.both) / toSeconds(duration);
    }
    const facts = this.#roundFacts(round, false, sent, dirtied);
    const harvested = { harvestNs: harvest.duration, harvestCostNs: report.cost };
    this.#timeline.span(FLOW, 'round', from, { ...facts, ...harvested }, addDuration(from, duration));
    return this.#latestRound();
  }

  /** The round of the blackout, from the pause to the moment `pagesSent`. */
  lastRound(round: number, sent: TransferCount): RoundRecord {
    const timeline = this.#timeline;
    const facts = this.#roundFacts(round, true, sent, none);
    timeline.span(FLOW, 'round', momentOf(timeline, 'paused')!, facts, momentOf(timeline, 'pagesSent')!);
    return this.#latestRound();
  }

  #latestRound(): RoundRecord {
    return roundOf(this.#timeline.latest(FLOW, 'round')!);
  }

  #roundFacts(round: number, last: boolean, sent: TransferCount, dirtied: DirtiedPages): RoundFacts {
    return {
      round,
      last,
      pages: sent.pages,
      zeroPages: sent.zeroPages,
      bytes: sent.bytes,
      dirtiedByCpu: dirtied.cpu,
      dirtiedByDevice: dirtied.device,
      dirtiedByBoth: dirtied.both,
      harvestNs: 0,
      harvestCostNs: 0,
      throttlePercent: this.throttlePercent,
    };
  }

  harvested(report: HarvestReport, duration: Duration, remainingPages: number): void {
    const dirtied = dirtiedBy(report);
    this.remainingPages = remainingPages;
    this.#dirtied = {
      cpu: this.#dirtied.cpu + dirtied.cpu,
      device: this.#dirtied.device + dirtied.device,
      both: this.#dirtied.both + dirtied.both,
    };
    this.#harvests = {
      count: this.#harvests.count + 1,
      totalNs: nanoseconds(this.#harvests.totalNs + duration),
      costNs: nanoseconds(this.#harvests.costNs + report.cost),
    };
  }

  prepared(message: MessageOf<'prepared'>, root: Uint8Array): void {
    const { verify, migratedPages } = this.#facts;
    this.#destination = {
      lastPagesNs: nanoseconds(message.lastPagesNs),
      integrityNs: nanoseconds(message.integrityNs),
      loadNs: nanoseconds(message.loadNs),
      deviceLoadNs: nanoseconds(message.deviceLoadNs),
      startNs: nanoseconds(0),
      deviceStartNs: nanoseconds(0),
    };
    if (verify === 'off') return;
    this.#verification = {
      mode: verify,
      established: verify === 'root',
      differences: [],
      pages: migratedPages,
      root: hexBytes(root),
    };
  }

  started(message: MessageOf<'running'>): void {
    if (this.#destination === undefined) return;
    const [startNs, deviceStartNs] = [nanoseconds(message.startNs), nanoseconds(message.deviceStartNs)];
    this.#destination = { ...this.#destination, startNs, deviceStartNs };
  }

  /** The comparison before the commit found nothing. */
  verifiedBefore(): void {
    if (this.#verification !== undefined) this.#verification = { ...this.#verification, established: true };
  }

  /** What came of the comparison after *running*. */
  verifiedAfterwards(differences: readonly string[], from: Instant): void {
    if (this.#verification === undefined) return;
    this.#verification = { ...this.#verification, established: true, differences };
    this.#timeline.span(FLOW, 'verify-after', from);
  }

  snapshot(): MigrationRecord {
    const now = this.#endedAt ?? this.#scheduler.now();
    const timeline = this.#timeline;
    const rounds = roundsOf(timeline);
    return {
      role: 'source',
      ...this.#facts,
      status: this.#state(),
      error: this.#error,
      guest: this.#guest,
      approaches: this.#approaches,
      left: this.#left,
      fallbacks: [...this.#fallbacks],
      afterwards: this.#afterwards,
      devices: this.#machine.devices.map(({ name }) => ({ name, ...this.#device(name) })),
      deviceDirtied: this.#endedAt === undefined ? this.#dirtiedByDevice() : this.#deviceDirtied,
      setupNs: this.#setupNs ?? elapsed(this.#startedAt, now),
      totalNs: elapsed(this.#startedAt, now),
      rounds,
      roundsEnd: this.roundsEnd,
      transferred: this.#transferred(rounds),
      dirtied: this.#dirtied,
      remainingPages: this.remainingPages,
      dirtyPagesPerSecond: this.#dirtyPagesPerSecond,
      bytesPerSecond: this.bytesPerSecond,
      throttlePercent: this.throttlePercent,
      harvests: this.#harvests,
      expected: this.expected,
      blackout: blackoutOf(timeline, this.#machine.devices.length > 0),
      interruptionNs: interruptionOf(timeline),
      destination: this.#destination,
      verification: this.#verification && { ...this.#verification, durationNs: verifyingOf(timeline) },
      timeline: [...timeline.entries],
      timelineLeftOff: timeline.leftOff,
    };
  }

  #device(name: string): Mutable<Omit<DeviceTransfer, 'name'>> {
    const known = this.#devices.get(name);
    if (known !== undefined) return known;
    const device = {
      preCopyBytes: 0,
      blackoutBytes: 0,
      startedAfterNs: undefined,
      problem: undefined,
      unprepared: undefined,
      takenBack: undefined,
    };
    this.#devices.set(name, device);
    return device;
  }

  #dirtiedByDevice(): PageRanges | undefined {
    const set = this.#machine.deviceDirtied;
    return set === undefined ? undefined : pageRanges(set);
  }

  #transferred(rounds: readonly RoundRecord[]): MigrationRecord['transferred'] {
    const { pages, zeroPages, bytes } = this.#opened ? this.#data.progress() : nothing;
    const resentPages = rounds.reduce((sum, round) => sum + round.resentPages, 0);
    return { pages: pages + zeroPages, zeroPages, resentPages, bytes };
  }
}

function dirtiedBy(report: HarvestReport): DirtiedPages {
  return { cpu: report.cpuPages, device: report.devicePages, both: report.bothPages };
}
