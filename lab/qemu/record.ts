/**
 * A migration of QEMU's in the shape of ours, so that both stand in the same tables: what QEMU tells, by its events and
 * `query-migrate`. What it does not tell apart is left out or stands in one part, as said beside each.
 */
import { type Duration, type Instant, instant, nanoseconds, PAGE_BYTES } from '../../base/units.js';
import type { BlackoutRecord, MigrationRecord, RoundRecord } from '../../migration/record.js';
import { FLOW, type TimelineEntry } from '../../migration/timeline.js';
import { realTime } from '../../vmm/threads/real-time.js';
import type { QmpEvent } from '../vmm-client/qmp-client.js';
import type { ChosenOnQemu } from './approach.js';
import { eventNow, type QemuFigures, type QemuMigration, type RoundBegun } from './migration.js';
import { VF } from './pair.js';

/** What is known of the function beside QEMU's migration. */
export interface FunctionOutcome {
  /** Of its state, beside QEMU's stream. */
  readonly stateBytes: number;
  /** From the guest's going on until it worked; undefined where it never stopped working for its driver. */
  readonly startedAfterMs: number | undefined;
  readonly problem: string | undefined;
}

const NS_PER_MS = 1e6;
const ns = (ms: number): Duration => nanoseconds(Math.max(0, Math.round(ms * NS_PER_MS)));

export function recordOf(
  id: string,
  { tracking, stop, start }: ChosenOnQemu,
  migration: QemuMigration,
  outcome: FunctionOutcome,
): MigrationRecord {
  const { status, error, figures, sourceEvents } = migration;
  const completed = status === 'completed';
  const rounds = roundsOf(migration);
  const { ram } = figures;
  const pages = pagesOf(figures);
  return {
    role: 'source',
    migrationId: id,
    status,
    error,
    afterwards: undefined,
    guest: completed ? 'there' : 'here',
    // QEMU compares nothing.
    verify: 'off',
    approaches: { tracking: tracking.of.name, stop: stop.of.name, start: start.of.name },
    left: stop.of.leaves,
    fallbacks: [],
    devices: [
      {
        name: VF,
        preCopyBytes: 0,
        blackoutBytes: outcome.stateBytes,
        startedAfterNs: outcome.startedAfterMs === undefined ? undefined : ns(outcome.startedAfterMs),
        problem: outcome.problem,
        unprepared: undefined,
        takenBack: undefined,
      },
    ],
    // QEMU's log does not say who wrote.
    deviceDirtied: undefined,
    ramBytes: ram?.total ?? 0,
    migratedPages: (ram?.total ?? 0) / PAGE_BYTES,
    channels: 1,
    setupNs: ns(figures['setup-time'] ?? 0),
    totalNs: ns(figures['total-time'] ?? 0),
    rounds,
    roundsEnd: undefined,
    transferred: {
      pages,
      zeroPages: ram?.duplicate ?? 0,
      resentPages: sumOf(rounds, 'resentPages'),
      bytes: ram?.transferred ?? 0,
    },
    dirtied: { cpu: rounds.reduce((sum, { dirtied }) => sum + dirtied.cpu, 0), device: 0, both: 0 },
    remainingPages: completed ? 0 : (ram?.remaining ?? 0) / PAGE_BYTES,
    dirtyPagesPerSecond: ram?.['dirty-pages-rate'] ?? 0,
    bytesPerSecond: rounds.at(-1)?.bytesPerSecond ?? 0,
    throttlePercent: 0,
    harvests: { count: 0, totalNs: nanoseconds(0), costNs: nanoseconds(0) },
    expected: undefined,
    blackout: completed ? blackoutOf(migration) : undefined,
    interruptionNs: completed ? undefined : interruptionOf(sourceEvents),
    destination: undefined,
    verification: undefined,
    timeline: timelineOf(migration),
    timelineLeftOff: 0,
  };
}

const pagesOf = ({ ram }: QemuFigures): number => (ram?.normal ?? 0) + (ram?.duplicate ?? 0);
const sumOf = (rounds: readonly RoundRecord[], key: 'resentPages'): number =>
  rounds.reduce((sum, round) => sum + round[key], 0);
const first = (events: readonly QmpEvent[], name: string, status?: string): number | undefined =>
  events.find(({ event, data }) => event === name && (status === undefined || data.status === status))
    ?.timeMs;
const last = (events: readonly QmpEvent[], name: string): number | undefined =>
  events.findLast(({ event }) => event === name)?.timeMs;

/** QEMU tells of a pass when it has read its log; of the first one, for which it reads none, only that the migration is active. */
function begun({ rounds, sourceEvents, begunMs, figures: { ram } }: QemuMigration): readonly RoundBegun[] {
  const [earliest] = rounds;
  if (earliest !== undefined && pagesOf(earliest.figures) === 0) return rounds;
  if (ram === undefined) return rounds;
  const nothing = { transferred: 0, duplicate: 0, normal: 0, remaining: ram.total };
  const atMs = first(sourceEvents, 'MIGRATION', 'active') ?? begunMs;
  return [{ atMs, figures: { ram: { ...ram, ...nothing } } }, ...rounds];
}

/** A round lasts until the next one begins; its figures are the differences of what QEMU had counted then. */
function roundsOf(migration: QemuMigration): readonly RoundRecord[] {
  const { figures, sourceEvents } = migration;
  const rounds = begun(migration);
  const stopped = first(sourceEvents, 'STOP') ?? Number.POSITIVE_INFINITY;
  const ended = sourceEvents.at(-1)?.timeMs ?? 0;
  return rounds.map(({ atMs, figures: from }, i) => {
    const next = rounds[i + 1];
    const to = next?.figures ?? figures;
    const ms = Math.max(0, (next?.atMs ?? ended) - atMs);
    const bytes = Math.max(0, (to.ram?.transferred ?? 0) - (from.ram?.transferred ?? 0));
    const pages = Math.max(0, pagesOf(to) - pagesOf(from));
    return {
      round: i + 1,
      last: next === undefined && atMs >= stopped,
      pages,
      zeroPages: Math.max(0, (to.ram?.duplicate ?? 0) - (from.ram?.duplicate ?? 0)),
      // The first round names every page once.
      resentPages: i === 0 ? 0 : pages,
      bytes,
      durationNs: ns(ms),
      bytesPerSecond: ms === 0 ? 0 : (bytes * 1000) / ms,
      dirtied: { cpu: (next?.figures.ram?.remaining ?? 0) / PAGE_BYTES, device: 0, both: 0 },
      harvestNs: nanoseconds(0),
      harvestCostNs: nanoseconds(0),
      throttlePercent: 0,
    };
  });
}

/**
 * From the source's STOP to the destination's RESUME, by the events' own times. QEMU tells apart less than we do: that the
 * destination has loaded the machine lies within the last pages.
 */
function blackoutOf({ sourceEvents, destinationEvents, works }: QemuMigration): BlackoutRecord | undefined {
  const stop = first(sourceEvents, 'STOP');
  const resume = last(destinationEvents, 'RESUME');
  if (stop === undefined || resume === undefined || resume < stop) return undefined;
  let at = stop;
  /** What lies between where we are and `until`, wherever that is. */
  const part = (until: number | undefined): Duration => {
    const to = Math.min(resume, Math.max(at, until ?? at));
    const length = ns(to - at);
    at = to;
    return length;
  };
  const halt = works.find(({ what }) => what === 'switchover');
  const pauseNs = part(halt?.fromMs);
  const deviceStateNs = part(halt?.toMs);
  const lastPagesNs = part(first(sourceEvents, 'MIGRATION', 'completed'));
  const loadNs = part(first(destinationEvents, 'MIGRATION', 'completed'));
  const startNs = part(resume);
  const totalNs = nanoseconds(pauseNs + deviceStateNs + lastPagesNs + loadNs + startNs);
  return {
    totalNs,
    quiesceNs: nanoseconds(0),
    pauseNs,
    lastPagesNs,
    deviceStateNs,
    stateNs: nanoseconds(0),
    loadNs,
    startNs,
  };
}

function interruptionOf(events: readonly QmpEvent[]): Duration | undefined {
  const stop = first(events, 'STOP');
  const resume = last(events, 'RESUME');
  return stop === undefined || resume === undefined ? undefined : ns(resume - stop);
}

/** On the clock that all processes of the host have, as far as QEMU's wall clock goes with it. */
function timelineOf({ sourceEvents, destinationEvents, works }: QemuMigration): readonly TimelineEntry[] {
  const offsetNs = realTime.now() - eventNow() * NS_PER_MS;
  const at = (ms: number): Instant => instant(Math.round(ms * NS_PER_MS + offsetNs));
  const told = (side: string, events: readonly QmpEvent[]): readonly TimelineEntry[] =>
    events.map(({ event, data, timeMs }) => ({
      at: at(timeMs),
      who: side === 'source' && event === 'MIGRATION' ? FLOW : side,
      what: event === 'MIGRATION' ? String(data.status) : event,
    }));
  return [
    ...told('source', sourceEvents),
    ...told('destination', destinationEvents),
    ...works.map(({ who, what, fromMs, toMs }) => ({
      at: at(fromMs),
      duration: ns(toMs - fromMs),
      who,
      what,
    })),
  ].sort((a, b) => a.at - b.at);
}
