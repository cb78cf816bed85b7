/** Gathers what a source records, so that a snapshot can be taken at any moment, also while the migration runs. */
import type { Scheduler } from '../base/clock.js';
import { FerryError, type SerializedError } from '../base/errors.js';
import { type Duration, elapsed, type Instant, nanoseconds, toSeconds } from '../base/units.js';
import type { Approaches } from './approaches.js';
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
  MigrationRecord,
  RoundRecord,
  RoundsEnd,
  VerificationRecord,
} from './record.js';
import type { SourceState } from './states.js';

/** Moments of the switchover on the source's clock, in the order in which they come. */
const MOMENTS = [
  'quiescing',
  'pausing',
  'paused',
  'pagesSent',
  'deviceSent',
  'stateSent',
  'prepared',
  'verified',
  'running',
] as const;
export type Moment = (typeof MOMENTS)[number];

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
}

const none: DirtiedPages = { cpu: 0, device: 0, both: 0 };
const nothing: TransferCount = { pages: 0, zeroPages: 0, bytes: 0 };

export class SourceStatistics {
  readonly #facts: MigrationFacts;
  readonly #machine: SourceMachine;
  readonly #scheduler: Scheduler;
  readonly #data: SourceDataPlane;
  readonly #state: () => SourceState;
  readonly #startedAt: Instant;
  readonly #rounds: RoundRecord[] = [];
  readonly #moments = new Map<Moment, Instant>();
  readonly #rate = new LinkRate();
  #setupNs: Duration | undefined;
  #endedAt: Instant | undefined;
  #resumedAt: Instant | undefined;
  #opened = false;
  #dirtied: DirtiedPages = none;
  #harvests = { count: 0, totalNs: nanoseconds(0), costNs: nanoseconds(0) };
  #dirtyPagesPerSecond = 0;
  #error: SerializedError | undefined;
  #approaches: Approaches | undefined;
  #deviceBytes = { ahead: 0, still: 0 };
  #deviceDirtied: PageRanges | undefined;
  #destination: DestinationParts | undefined;
  #verifiedAfterNs: Duration | undefined;
  #verification: Omit<VerificationRecord, 'durationNs'> | undefined;
  roundsEnd: RoundsEnd | undefined;
  remainingPages: number;
  throttlePercent = 0;
  expectedDowntimeNs: Duration | undefined;

  constructor(options: StatisticsOptions) {
    const { facts, machine, scheduler, data, state } = options;
    this.#facts = facts;
    this.#machine = machine;
    this.#scheduler = scheduler;
    this.#data = data;
    this.#state = state;
    this.#startedAt = scheduler.now();
    this.remainingPages = facts.migratedPages;
  }

  get bytesPerSecond(): number {
    return this.#rate.bytesPerSecond;
  }

  chosen(approaches: Approaches): void {
    this.#approaches = approaches;
  }

  /** So much of the device's data stream was sent. */
  deviceSent(bytes: number): void {
    this.#deviceBytes[this.#moments.has('quiescing') ? 'still' : 'ahead'] += bytes;
  }

  opened(): void {
    this.#opened = true;
  }

  setupDone(): void {
    this.#setupNs = elapsed(this.#startedAt, this.#scheduler.now());
  }

  moment(moment: Moment): void {
    this.#moments.set(moment, this.#scheduler.now());
  }

  /** The guest runs at the source again. */
  resumed(): void {
    this.#resumedAt = this.#scheduler.now();
  }

  ended(error?: unknown): void {
    this.#endedAt = this.#scheduler.now();
    // The machine's next migration begins a new set.
    this.#deviceDirtied = this.#dirtiedByDevice();
    if (error instanceof FerryError) this.#error = error.toJSON();
  }

  /** A round that arrived after `duration`, and the harvest that followed it. */
  round(
    round: number,
    sent: TransferCount,
    duration: Duration,
    harvest: { readonly report: HarvestReport; readonly duration: Duration },
  ): RoundRecord {
    const dirtied = dirtiedBy(harvest.report);
    this.#rate.add(sent.bytes, duration);
    if (duration > 0) {
      this.#dirtyPagesPerSecond = (dirtied.cpu + dirtied.device + dirtied.both) / toSeconds(duration);
    }
    return this.#add({
      ...transferRecord(round, sent, duration),
      last: false,
      dirtied,
      harvestNs: harvest.duration,
      harvestCostNs: harvest.report.cost,
      throttlePercent: this.throttlePercent,
    });
  }

  /** The round of the blackout, from the pause to the moment `pagesSent`. */
  lastRound(round: number, sent: TransferCount): RoundRecord {
    const duration = elapsed(this.#moments.get('paused')!, this.#moments.get('pagesSent')!);
    return this.#add({
      ...transferRecord(round, sent, duration),
      last: true,
      dirtied: none,
      harvestNs: nanoseconds(0),
      harvestCostNs: nanoseconds(0),
      throttlePercent: this.throttlePercent,
    });
  }

  #add(record: RoundRecord): RoundRecord {
    this.#rounds.push(record);
    return record;
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
    this.#verification = { mode: verify, differences: [], pages: migratedPages, root: hexBytes(root) };
  }

  started(message: MessageOf<'running'>): void {
    if (this.#destination === undefined) return;
    const [startNs, deviceStartNs] = [nanoseconds(message.startNs), nanoseconds(message.deviceStartNs)];
    this.#destination = { ...this.#destination, startNs, deviceStartNs };
  }

  /** What came of the comparison after *running*. */
  verifiedAfterwards(differences: readonly string[], duration: Duration): void {
    if (this.#verification === undefined) return;
    this.#verification = { ...this.#verification, differences };
    this.#verifiedAfterNs = duration;
  }

  snapshot(): MigrationRecord {
    const now = this.#endedAt ?? this.#scheduler.now();
    return {
      role: 'source',
      ...this.#facts,
      status: this.#state(),
      error: this.#error,
      approaches: this.#approaches,
      device: this.#device(),
      setupNs: this.#setupNs ?? elapsed(this.#startedAt, now),
      totalNs: elapsed(this.#startedAt, now),
      rounds: [...this.#rounds],
      roundsEnd: this.roundsEnd,
      transferred: this.#transferred(),
      dirtied: this.#dirtied,
      remainingPages: this.remainingPages,
      dirtyPagesPerSecond: this.#dirtyPagesPerSecond,
      bytesPerSecond: this.bytesPerSecond,
      throttlePercent: this.throttlePercent,
      harvests: this.#harvests,
      expectedDowntimeNs: this.expectedDowntimeNs,
      blackout: this.#blackout(),
      interruptionNs: this.#interruption(),
      destination: this.#destination,
      verification: this.#verification && { ...this.#verification, durationNs: this.#verifyingNs() },
    };
  }

  #device(): DeviceTransfer | undefined {
    const name = this.#machine.devices[0]?.name;
    if (name === undefined) return undefined;
    return {
      name,
      preCopyBytes: this.#deviceBytes.ahead,
      blackoutBytes: this.#deviceBytes.still,
      dirtied: this.#endedAt === undefined ? this.#dirtiedByDevice() : this.#deviceDirtied,
    };
  }

  #dirtiedByDevice(): PageRanges | undefined {
    const set = this.#machine.deviceDirtied;
    return set === undefined ? undefined : pageRanges(set);
  }

  #transferred(): MigrationRecord['transferred'] {
    const { pages, zeroPages, bytes } = this.#opened ? this.#data.progress() : nothing;
    const resentPages = this.#rounds.reduce((sum, round) => sum + round.resentPages, 0);
    return { pages: pages + zeroPages, zeroPages, resentPages, bytes };
  }

  #blackout(): BlackoutRecord | undefined {
    if (!MOMENTS.every((moment) => this.#moments.has(moment))) return undefined;
    const between = (from: Moment, to: Moment): Duration =>
      elapsed(this.#moments.get(from)!, this.#moments.get(to)!);
    // Without a device its steps are none, not the time that it takes to find that out.
    const device = this.#machine.devices.length > 0;
    const parts = {
      quiesceNs: device ? between('quiescing', 'pausing') : nanoseconds(0),
      pauseNs: between(device ? 'pausing' : 'quiescing', 'paused'),
      lastPagesNs: between('paused', 'pagesSent'),
      deviceStateNs: device ? between('pagesSent', 'deviceSent') : nanoseconds(0),
      stateNs: between(device ? 'deviceSent' : 'pagesSent', 'stateSent'),
      loadNs: between('stateSent', 'prepared'),
      startNs: between('verified', 'running'),
    };
    return {
      totalNs: nanoseconds(between('quiescing', 'running') - between('prepared', 'verified')),
      ...parts,
    };
  }

  #verifyingNs(): Duration {
    if (this.#verifiedAfterNs !== undefined) return this.#verifiedAfterNs;
    const [from, to] = [this.#moments.get('prepared'), this.#moments.get('verified')];
    return from === undefined || to === undefined ? nanoseconds(0) : elapsed(from, to);
  }

  #interruption(): Duration | undefined {
    const stopping = this.#moments.get('quiescing');
    return stopping === undefined || this.#resumedAt === undefined
      ? undefined
      : elapsed(stopping, this.#resumedAt);
  }
}

function transferRecord(round: number, sent: TransferCount, duration: Duration) {
  return {
    round,
    pages: sent.pages + sent.zeroPages,
    zeroPages: sent.zeroPages,
    resentPages: round === 1 ? 0 : sent.pages + sent.zeroPages,
    bytes: sent.bytes,
    durationNs: duration,
    bytesPerSecond: duration > 0 ? sent.bytes / toSeconds(duration) : 0,
  };
}

function dirtiedBy(report: HarvestReport): DirtiedPages {
  return { cpu: report.cpuPages, device: report.devicePages, both: report.bothPages };
}
