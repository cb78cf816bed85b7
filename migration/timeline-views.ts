/** What the tables show, computed from the timeline of the side that recorded it. */
import { type Duration, elapsed, type Instant, nanoseconds, toSeconds } from '../base/units.js';
import type { BlackoutRecord, DestinationParts, DirtiedPages, RoundRecord } from './record.js';
import { FLOW, type Timeline, type TimelineEntry, type TimelineFacts } from './timeline.js';

/** Moments of the switchover on the source's clock, in the order in which they come. */
export const MOMENTS = [
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

/** When the flow came to `moment`; undefined if it has not. */
export const momentOf = (timeline: Timeline, moment: Moment | 'resumed'): Instant | undefined =>
  timeline.latest(FLOW, moment)?.at;

const NONE: Duration = nanoseconds(0);

/** The blackout and its parts; undefined unless the guest runs at the destination. */
export function blackoutOf(timeline: Timeline, hasDevice: boolean): BlackoutRecord | undefined {
  if (!MOMENTS.every((moment) => momentOf(timeline, moment) !== undefined)) return undefined;
  const between = (from: Moment, to: Moment): Duration =>
    elapsed(momentOf(timeline, from)!, momentOf(timeline, to)!);
  // Without a device its steps are none, not the time that it takes to find that out.
  const parts = {
    quiesceNs: hasDevice ? between('quiescing', 'pausing') : NONE,
    pauseNs: between(hasDevice ? 'pausing' : 'quiescing', 'paused'),
    lastPagesNs: between('paused', 'pagesSent'),
    deviceStateNs: hasDevice ? between('pagesSent', 'deviceSent') : NONE,
    stateNs: between(hasDevice ? 'deviceSent' : 'pagesSent', 'stateSent'),
    loadNs: between('stateSent', 'prepared'),
    startNs: between('verified', 'running'),
  };
  return {
    totalNs: nanoseconds(between('quiescing', 'running') - between('prepared', 'verified')),
    ...parts,
  };
}

/** How long full verification took: before the commit, or after *running*. */
export function verifyingOf(timeline: Timeline): Duration {
  const after = timeline.latest(FLOW, 'verify-after')?.duration;
  if (after !== undefined) return after;
  const [from, to] = [momentOf(timeline, 'prepared'), momentOf(timeline, 'verified')];
  return from === undefined || to === undefined ? NONE : elapsed(from, to);
}

/** How long a guest stood still that was then resumed at the source; undefined if none was. */
export function interruptionOf(timeline: Timeline): Duration | undefined {
  const [stopping, resumed] = [momentOf(timeline, 'quiescing'), momentOf(timeline, 'resumed')];
  return stopping === undefined || resumed === undefined ? undefined : elapsed(stopping, resumed);
}

/** What the flow says of a round when it is over. Pages count 4 KiB, bytes as on the wire. */
export interface RoundFacts extends TimelineFacts {
  readonly round: number;
  readonly last: boolean;
  readonly pages: number;
  readonly zeroPages: number;
  readonly bytes: number;
  readonly dirtiedByCpu: number;
  readonly dirtiedByDevice: number;
  readonly dirtiedByBoth: number;
  readonly harvestNs: number;
  readonly harvestCostNs: number;
  readonly throttlePercent: number;
}

/** All rounds so far. */
export const roundsOf = (timeline: Timeline): RoundRecord[] =>
  timeline.entries.filter(({ who, what }) => who === FLOW && what === 'round').map(roundOf);

/** The round that an entry of the flow tells of. */
export function roundOf({ duration = NONE, facts }: TimelineEntry): RoundRecord {
  const { round, last, pages, zeroPages, bytes, throttlePercent, ...more } = facts as RoundFacts;
  const dirtied: DirtiedPages = {
    cpu: more.dirtiedByCpu,
    device: more.dirtiedByDevice,
    both: more.dirtiedByBoth,
  };
  return {
    round,
    last,
    pages: pages + zeroPages,
    zeroPages,
    resentPages: round === 1 ? 0 : pages + zeroPages,
    bytes,
    durationNs: duration,
    bytesPerSecond: duration > 0 ? bytes / toSeconds(duration) : 0,
    dirtied,
    harvestNs: nanoseconds(more.harvestNs),
    harvestCostNs: nanoseconds(more.harvestCostNs),
    throttlePercent,
  };
}

/** What the destination did in the blackout, by the name that the flow gives it. */
export const DESTINATION_STEPS = {
  lastPagesNs: 'last-pages',
  integrityNs: 'integrity',
  loadNs: 'load',
  deviceLoadNs: 'device-load',
  startNs: 'start',
  deviceStartNs: 'device-start',
} as const satisfies Record<keyof DestinationParts, string>;

/** The destination's own parts so far, on its timeline. */
export function destinationPartsOf(timeline: Timeline): DestinationParts {
  const took = (step: string): Duration => timeline.latest(FLOW, step)?.duration ?? NONE;
  return Object.fromEntries(
    Object.entries(DESTINATION_STEPS).map(([part, step]) => [part, took(step)]),
  ) as unknown as DestinationParts;
}
