/**
 * A migration as a trace that Perfetto (ui.perfetto.dev) and other viewers of the Trace Event Format open: the threads of
 * both VMMs and the network on one time axis. All processes of a host read one clock, so nothing has to be shifted.
 */
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import { FLOW, type TimelineEntry, type TimelineFacts } from '../../migration/timeline.js';
import { flowTitle, type NetworkRecord } from './network-record.js';

/** One event of the format. Times in microseconds from the first event on. */
export interface TraceEvent {
  readonly name: string;
  /** X: a slice; i: an instant; C: a counter; M: the name of a process or thread. */
  readonly ph: 'X' | 'i' | 'C' | 'M';
  readonly ts: number;
  readonly dur?: number;
  readonly pid: number;
  readonly tid: number;
  /** Of an instant: it belongs to its thread. */
  readonly s?: 't';
  readonly args?: Readonly<Record<string, unknown>>;
}

export interface Trace {
  readonly displayTimeUnit: 'ms';
  readonly traceEvents: readonly TraceEvent[];
}

/** What a trace is made of; what is missing is left out of the picture. */
export interface Traced {
  readonly source?: MigrationRecord | undefined;
  readonly destination?: DestinationRecord | undefined;
  readonly network?: NetworkRecord | undefined;
}

interface Slice {
  readonly name: string;
  readonly fromNs: number;
  readonly toNs: number;
  readonly facts?: TimelineFacts | undefined;
}

interface Track {
  readonly name: string;
  readonly slices: Slice[];
  readonly instants: Omit<Slice, 'toNs'>[];
}

export function traceOf({ source, destination, network }: Traced): Trace {
  const events: TraceEvent[] = [];
  const add = (pid: number, name: string, tracks: readonly Track[]): void => {
    events.push(named(pid, 0, 'process_name', name), named(pid, 0, 'process_sort_index', pid));
    let tid = 0;
    for (const track of tracks) {
      lanes(track.slices).forEach((lane, i) => {
        tid++;
        events.push(named(pid, tid, 'thread_name', i === 0 ? track.name : `${track.name} (${i + 1})`));
        events.push(
          named(pid, tid, 'thread_sort_index', tid),
          ...lane.map((slice) => sliceEvent(pid, tid, slice)),
        );
        if (i === 0) events.push(...track.instants.map((instant) => instantEvent(pid, tid, instant)));
      });
    }
  };
  if (source !== undefined) add(1, 'source VMM', sourceTracks(source));
  if (destination !== undefined) add(2, 'destination VMM', tracksOf(destination.timeline));
  if (network !== undefined) {
    add(3, 'network, as the peer sees it', networkTracks(network));
    events.push(...arrivalEvents(3, network));
  }
  const times = events.filter(({ ph }) => ph !== 'M').map(({ ts }) => ts);
  const first = times.reduce((least, ts) => Math.min(least, ts), Infinity);
  return {
    displayTimeUnit: 'ms',
    traceEvents: events.map((event) => (event.ph === 'M' ? event : inMicroseconds(event, first))),
  };
}

/** Events are put together in nanoseconds of the host's clock, which are whole numbers. */
const inMicroseconds = ({ ts, dur, ...event }: TraceEvent, firstNs: number): TraceEvent => ({
  ...event,
  ts: (ts - firstNs) / 1000,
  ...(dur === undefined ? {} : { dur: dur / 1000 }),
});

/** Beside what the timeline has: the blackout with its parts, and the time in which each vCPU stood still. */
function sourceTracks(record: MigrationRecord): Track[] {
  const { timeline } = record;
  const tracks = tracksOf(timeline);
  const moments = timeline.filter(({ who, duration }) => who === FLOW && duration === undefined);
  const at = (what: string): number | undefined => moments.findLast((entry) => entry.what === what)?.at;
  const [quiescing, paused] = [at('quiescing'), at('paused')];
  const runsAgain = at('running') ?? at('resumed');
  if (quiescing === undefined || runsAgain === undefined) return tracks;
  const blackout: Slice[] = [{ name: 'blackout', fromNs: quiescing, toNs: runsAgain }];
  const steps = moments.filter(
    (entry) => entry.at >= quiescing && entry.at <= runsAgain && entry.what !== 'state',
  );
  steps.slice(1).forEach((step, i) => {
    blackout.push({ name: `until ${step.what}`, fromNs: steps[i]!.at, toNs: step.at });
  });
  for (const track of tracks) {
    if (!track.name.startsWith('vcpu') || paused === undefined) continue;
    const pause = track.slices.findLast(({ name }) => name === 'pause');
    track.slices.push({ name: 'stands still', fromNs: pause?.toNs ?? paused, toNs: runsAgain });
  }
  return [{ name: 'guest', slices: blackout, instants: [] }, ...tracks];
}

/** A track for each who, the flow's first; in the order in which they first appear. */
function tracksOf(timeline: readonly TimelineEntry[]): Track[] {
  const tracks = new Map<string, Track>();
  const track = (name: string): Track => {
    const known = tracks.get(name) ?? { name, slices: [], instants: [] };
    tracks.set(name, known);
    return known;
  };
  track(FLOW);
  for (const { who, what, at, duration, facts } of timeline) {
    const name = what === 'round' ? `round ${facts?.round}` : what === 'state' ? `${facts?.to}` : what;
    if (duration === undefined) track(who).instants.push({ name, fromNs: at, facts });
    else track(who).slices.push({ name, fromNs: at, toNs: at + duration, facts });
  }
  return [...tracks.values()];
}

function networkTracks(network: NetworkRecord): Track[] {
  const { before, move, after, fabric } = network;
  const phases: Slice[] = Object.entries({ before, move, after }).map(([name, { startNs, durationNs }]) => ({
    name,
    fromNs: startNs,
    toNs: startNs + durationNs,
  }));
  const gaps = move.flows.flatMap((record) => {
    const { arrived } = record;
    return arrived === null || arrived.longestGapNs === 0
      ? []
      : [
          {
            name: flowTitle(record, network),
            slices: [
              {
                name: 'longest gap',
                fromNs: arrived.longestGapAtNs,
                toNs: arrived.longestGapAtNs + arrived.longestGapNs,
              },
            ],
            instants: [],
          },
        ];
  });
  const movedAt = fabric.stationMovedAtNs;
  const moved = movedAt === undefined ? [] : [{ name: 'station heard at its new port', fromNs: movedAt }];
  return [{ name: 'phases', slices: phases, instants: moved }, ...gaps];
}

/** Counters of what came in each millisecond of the move. */
function arrivalEvents(pid: number, network: NetworkRecord): TraceEvent[] {
  return network.move.flows.flatMap((record) =>
    record.arrivals === undefined
      ? []
      : record.arrivals.counts.map(
          (count, i): TraceEvent => ({
            name: `${flowTitle(record, network)}: packets per ms`,
            ph: 'C',
            ts: record.arrivals!.startNs + i * record.arrivals!.bucketNs,
            pid,
            tid: 0,
            args: { packets: count },
          }),
        ),
  );
}

/**
 * Slices of one track sorted into lanes, so that in each any two are apart or one lies within the other: viewers draw
 * nothing else. At least one lane, though it be empty.
 */
export function lanes(slices: readonly Slice[]): Slice[][] {
  const sorted = slices.toSorted((a, b) => a.fromNs - b.fromNs || b.toNs - a.toNs);
  const found: { readonly slices: Slice[]; readonly open: Slice[] }[] = [{ slices: [], open: [] }];
  for (const slice of sorted) {
    let lane = found.find(({ open }) => {
      while (open.length > 0 && open.at(-1)!.toNs <= slice.fromNs) open.pop();
      return open.length === 0 || slice.toNs <= open.at(-1)!.toNs;
    });
    if (lane === undefined) {
      lane = { slices: [], open: [] };
      found.push(lane);
    }
    lane.slices.push(slice);
    lane.open.push(slice);
  }
  return found.map((lane) => lane.slices);
}

function sliceEvent(pid: number, tid: number, { name, fromNs, toNs, facts }: Slice): TraceEvent {
  const args = facts === undefined ? {} : { args: facts };
  return { name, ph: 'X', ts: fromNs, dur: toNs - fromNs, pid, tid, ...args };
}

function instantEvent(pid: number, tid: number, { name, fromNs, facts }: Omit<Slice, 'toNs'>): TraceEvent {
  return {
    name,
    ph: 'i',
    ts: fromNs,
    pid,
    tid,
    s: 't',
    ...(facts === undefined ? {} : { args: facts }),
  };
}

const named = (pid: number, tid: number, what: string, value: string | number): TraceEvent => ({
  name: what,
  ph: 'M',
  ts: 0,
  pid,
  tid,
  args: { [what.endsWith('sort_index') ? 'sort_index' : 'name']: value },
});
