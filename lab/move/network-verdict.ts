/**
 * Whether the network may be called unharmed by a move: nothing damaged, repeated or out of order, and nothing lost but
 * what was sent to a machine that stood still, or was on the wire to or from it.
 */
import type { MigrationRecord } from '../../migration/record.js';
import { FLOW } from '../../migration/timeline.js';
import { formatCount, formatTime } from '../report/words.js';
import { type Check, heldIf } from './check.js';
import { type DeviceView, deviceViews, type FlowRecord, type NetworkRecord } from './network-record.js';
import type { Flow } from './scenario.js';

/** What is checked. */
const NAMES = {
  measured: 'the network was measured',
  bytes: 'every packet that arrived had the right bytes',
  once: 'no packet came twice or out of order',
  accounted: 'every lost packet is accounted for',
  flows: 'traffic flows at the destination',
  counters: "the guest's own counters agree",
  newPlace: "the network heard of the guest's new place",
} as const;

/** Checks that a guest without a working device can't pass. */
export const NETWORK_CHECKS: readonly string[] = Object.values(NAMES);

export interface NetworkEvidence {
  /** Flows that were asked for. */
  readonly flows: readonly Flow[];
  /** Undefined if the network was not measured to the end. */
  readonly network: NetworkRecord | undefined;
  /** The guest's stations have other addresses at the destination, so that no known one is heard at another port. */
  readonly otherAddresses?: boolean;
  /** The guest is not known to tell what it counts; it is if absent. */
  readonly untold?: boolean;
  /** The guest, and QEMU, count nothing that could be compared with what the peer counted; they do if absent. */
  readonly uncounted?: boolean;
}

/** A sender makes up for a late timer at once: so much may be sent at one moment, if nothing worse was measured. */
const BURST_NS = 5e6;
/** Announcements and address resolution of one device: they are for all, and reach whoever stands still as well. */
const OTHER_FRAMES = 32;
/** Of what a flow should bring at its rate, the share that counts as flowing. */
const FLOWING_SHARE = 0.5;

/**
 * How long the device was away besides the blackout: from the request to its driver to take it down until the blackout, and
 * from then until it worked, where it is started once the guest runs; there `gapNs`, besides the blackout, if that is longer.
 */
function awayNs({ timeline, devices }: Evidence, device: string | undefined, gapNs: number): number {
  const asked = timeline.find(({ who, what }) => who === device && what === 'request');
  const quiescing = timeline.findLast(({ who, what }) => who === FLOW && what === 'quiescing');
  const before = asked === undefined || quiescing === undefined ? 0 : Math.max(0, quiescing.at - asked.at);
  const after = devices.find(({ name }) => name === device)?.startedAfterNs;
  // The guest has its device then; that its interface is up and known to its peer is for the peer to say.
  return after === undefined ? before : Math.max(before + after, gapNs);
}

/** The longest time in which nothing of a flow came to who measures it. */
const longestGapNs = (
  { flows }: Pick<NetworkRecord['move'], 'flows'>,
  guest: DeviceView['guest'] | undefined,
): number =>
  Math.max(0, guest?.incoming?.longestGapNs ?? 0, ...flows.map(({ arrived }) => arrived?.longestGapNs ?? 0));

/** What of a migration's record tells how long nobody could be reached. */
type Evidence = Pick<MigrationRecord, 'blackout' | 'verification' | 'timeline' | 'devices'>;

/**
 * How many datagrams of a flow may be lost: those sent while the machine stood still (with full verification, which
 * is done meanwhile) or its device was away, those that were under way when it stopped, and a burst: what the peer owed for the longest time
 * that it could not run. `under way` is the longest time that one took before the move; a flow that the guest sends has
 * nothing but that to lose.
 */
export function lossAllowance(
  flow: Flow,
  {
    rate,
    before,
    move,
    guest,
  }: Pick<NetworkRecord, 'rate' | 'before' | 'move'> & Partial<Pick<DeviceView, 'guest'>>,
  record: Evidence | undefined,
  device?: string,
): { readonly datagrams: number; readonly stoodNs: number; readonly underWayNs: number } {
  const { mode, durationNs = 0 } = record?.verification ?? {};
  const blackoutNs = record?.blackout?.totalNs ?? 0;
  const stoodNs =
    blackoutNs +
    (mode === 'full' ? durationNs : 0) +
    (record === undefined ? 0 : awayNs(record, device, longestGapNs(move, guest) - blackoutNs));
  const underWayNs = Math.max(0, ...before.flows.map(({ arrived }) => arrived?.latency?.maxNs ?? 0));
  const fromPeer = flow !== 'from-guest';
  const burstNs = fromPeer ? Math.max(BURST_NS, move.longestStallNs) : BURST_NS;
  const exposedNs = underWayNs + (fromPeer ? stoodNs : 0) + burstNs;
  return { datagrams: Math.ceil((rate * exposedNs) / 1e9), stoodNs, underWayNs };
}

/** The checks of a move with traffic, of each device; none without. */
export function networkChecks(
  { flows, network, otherAddresses = false, untold = false, uncounted = false }: NetworkEvidence,
  record: MigrationRecord | undefined,
): readonly Check[] {
  if (flows.length === 0) return [];
  if (network === undefined) {
    return [{ name: NAMES.measured, outcome: 'not-checked', seen: 'no measurement to the end' }];
  }
  const views = deviceViews(network);
  const checks = views.map((view) => [
    noneDamaged(flows, view),
    noneRepeated(view),
    ...(uncounted ? [] : [lossesAccountedFor(flows, view, record, views.length)]),
    flowsAfterwards(flows, view),
    ...(untold || uncounted ? [] : [countersAgree(flows, view)]),
  ]);
  const ofAll = checks[0]!.map((_, i) =>
    together(
      views,
      checks.map((of) => of[i]!),
    ),
  );
  return [...ofAll, newPlaceHeard(network, record, otherAddresses)];
}

/** One check of several devices: it holds if it holds of each, and tells of those of which it does not. */
function together(views: readonly DeviceView[], checks: readonly Check[]): Check {
  if (views.length === 1) return checks[0]!;
  const { name } = checks[0]!;
  const outcome = (['failed', 'not-checked', 'held'] as const).find((worst) =>
    checks.some((check) => check.outcome === worst),
  )!;
  const told = views.flatMap((view, i) =>
    checks[i]!.outcome === outcome ? [`${view.name}: ${checks[i]!.seen}`] : [],
  );
  return {
    name,
    outcome,
    seen: outcome === 'held' ? `${views.length} devices, ${told[0]}` : told.join('; '),
  };
}

const find = (records: readonly FlowRecord[], flow: Flow): FlowRecord | undefined =>
  records.find((record) => record.flow === flow);

const sum = (counts: readonly number[]): number => counts.reduce((total, count) => total + count, 0);

/** Datagrams of all flows that arrived with a property, as their receivers counted them. */
function counted(
  { total, guest }: DeviceView,
  name: 'received' | 'lost' | 'duplicated' | 'reordered' | 'corrupt',
): number {
  return sum([...total.map(({ arrived }) => arrived?.[name] ?? 0), guest.incoming?.[name] ?? 0]);
}

function noneDamaged(flows: readonly Flow[], network: DeviceView): Check {
  const judged = counted(network, 'received');
  const wrong =
    counted(network, 'corrupt') +
    sum(network.fabric.peers.map(({ checksumErrors }) => checksumErrors)) +
    (network.guest.device?.badChecksums ?? 0);
  const silent = flows.filter((flow) =>
    flow === 'to-guest'
      ? (network.guest.incoming?.received ?? 0) === 0
      : (find(network.total, flow)?.arrived?.received ?? 0) === 0,
  );
  return {
    name: NAMES.bytes,
    outcome: heldIf(wrong === 0 && silent.length === 0),
    seen:
      silent.length > 0
        ? `nothing came of ${silent.join(', ')}`
        : `${formatCount(judged)} packets compared, ${formatCount(wrong)} wrong`,
  };
}

function noneRepeated(network: DeviceView): Check {
  const duplicated = counted(network, 'duplicated');
  const reordered = counted(network, 'reordered') + sum(network.total.map((f) => f.arrived?.tooLate ?? 0));
  return {
    name: NAMES.once,
    outcome: heldIf(duplicated === 0 && reordered === 0),
    seen: `${formatCount(duplicated)} duplicated, ${formatCount(reordered)} reordered`,
  };
}

/**
 * Every lost packet must be one that somebody counted as dropped; and what came to a NIC that stood still can't be more
 * than was sent meanwhile, and what all `devices` announce. A guest that is too slow for its traffic finds no descriptor:
 * that is no harm of the move.
 */
function lossesAccountedFor(
  flows: readonly Flow[],
  network: DeviceView,
  record: MigrationRecord | undefined,
  devices: number,
): Check {
  const name = NAMES.accounted;
  const { source, destination } = network.nics;
  if (source === undefined || destination === undefined) {
    return { name, outcome: 'not-checked', seen: 'a NIC could not be asked what it dropped' };
  }
  const lost = counted(network, 'lost');
  const pending = sum(network.total.map((flow) => flow.pending));
  const stopped = source.stopped + destination.stopped;
  const full = source['no-descriptor'] + destination['no-descriptor'];
  const elsewhere =
    source.cable +
    destination.cable +
    source.malformed +
    destination.malformed +
    (network.guest.echo?.notSent ?? 0) +
    (network.guest.device?.dropped ?? 0) +
    sum(network.fabric.ports.map((port) => port.lost + port.queueDrops + port.refused));
  const allowances = flows.map((flow) => lossAllowance(flow, network, record, network.name));
  const allowed = sum(allowances.map(({ datagrams }) => datagrams));
  const stoodNs = Math.max(...allowances.map((allowance) => allowance.stoodNs));
  const words = [
    `${formatCount(lost)} lost`,
    `${formatCount(stopped)} frames came to a NIC that stood still, ` +
      `at most ${formatCount(allowed)} were sent in the ${formatTime(stoodNs)} or were on their way`,
  ];
  if (full > 0) words.push(`${formatCount(full)} found no descriptor`);
  if (elsewhere > 0) words.push(`${formatCount(elsewhere)} found no room elsewhere`);
  if (pending > 0) words.push(`${formatCount(pending)} never came back at the end`);
  return {
    name,
    outcome: heldIf(
      pending === 0 && lost <= stopped + full + elsewhere && stopped <= allowed + OTHER_FRAMES * devices,
    ),
    seen: words.join('; '),
  };
}

/**
 * What is sent to the guest goes to where its station was heard last. A guest that only answers would never be heard at
 * its new place if nobody announced it, and everything sent to it would be lost, dropped by the NIC that it left.
 */
function newPlaceHeard(
  { fabric, move, devices }: NetworkRecord,
  record: MigrationRecord | undefined,
  otherAddresses: boolean,
): Check {
  const name = NAMES.newPlace;
  if (record?.status !== 'completed') return { name, outcome: 'not-checked', seen: 'it was not moved' };
  if (otherAddresses) {
    const newNs = (fabric.stationNewAtNs ?? Number.NEGATIVE_INFINITY) - move.startNs;
    return {
      name,
      outcome: heldIf(newNs >= 0),
      seen:
        newNs >= 0
          ? `a station with another address was heard ${formatTime(newNs)} after the move was asked for`
          : 'no station was heard that was not known',
    };
  }
  const { moves } = fabric.stations;
  const heardNs = (fabric.stationMovedAtNs ?? Number.NEGATIVE_INFINITY) - move.startNs;
  return {
    name,
    outcome: heldIf(heardNs >= 0 && moves >= devices.length),
    seen:
      heardNs >= 0
        ? moves >= devices.length
          ? `a station was heard at another port ${formatTime(heardNs)} after the move was asked for`
          : `${moves} of ${devices.length} devices were heard at another port`
        : 'no frame with its address came from another port: what is sent to it still goes to the host it left',
  };
}

function flowsAfterwards(flows: readonly Flow[], network: DeviceView): Check {
  const { after, rate, move } = network;
  const wanted = Math.floor((rate * after.durationNs * FLOWING_SHARE) / 1e9);
  const came = flows.map((flow) =>
    flow === 'to-guest' ? cameToGuestAfterwards(network) : (find(after.flows, flow)?.arrived?.received ?? 0),
  );
  const least = Math.min(...came);
  const slowest = flows.length > 1 ? ` of ${flows[came.indexOf(least)]}, the slowest flow` : '';
  return {
    name: NAMES.flows,
    outcome: heldIf(after.durationNs > 0 && least >= Math.max(1, wanted) && move.flows.length > 0),
    seen:
      `${formatCount(Math.max(0, least))} packets in ${formatTime(after.durationNs)}${slowest}, ` +
      `at least ${formatCount(wanted)} expected`,
  };
}

/**
 * Datagrams of `to-guest` that came after the move, at least. The guest counts from its boot on: it is what came at all,
 * less what the peer had sent before, but for what the guest then knew to be lost: that never came.
 */
function cameToGuestAfterwards({ total, after, guest, guestBefore }: DeviceView): number {
  const sentBefore = (find(total, 'to-guest')?.sent ?? 0) - (find(after.flows, 'to-guest')?.sent ?? 0);
  return (guest.incoming?.received ?? 0) - (sentBefore - (guestBefore.incoming?.lost ?? 0));
}

/** Who receives can't have more than was sent; who sends can't have sent less than arrived. */
function countersAgree(flows: readonly Flow[], network: DeviceView): Check {
  const { guest, total } = network;
  const words: string[] = [];
  let agree = guest.device !== undefined && guest.device.errors === 0;
  for (const flow of flows) {
    const { sent = 0, arrived = null } = find(total, flow) ?? {};
    const here = (arrived?.received ?? 0) + (arrived?.corrupt ?? 0);
    if (flow === 'echo') {
      const there = guest.echo?.echoed;
      agree &&= there !== undefined && here <= there && there <= sent;
      words.push(
        `of ${formatCount(sent)} sent it echoed ${there === undefined ? 'none' : formatCount(there)}, ` +
          `and ${formatCount(here)} came back`,
      );
    } else if (flow === 'from-guest') {
      const there = guest.stream?.sent;
      agree &&= there !== undefined && here + (arrived?.lost ?? 0) <= there;
      words.push(`it sent ${formatCount(there ?? 0)}, and ${formatCount(here)} arrived`);
    } else {
      const there = guest.incoming;
      agree &&= there !== undefined && there.received + there.lost + there.corrupt <= sent;
      words.push(`of ${formatCount(sent)} sent it had ${formatCount(there?.received ?? 0)}`);
    }
  }
  const { errors = 0 } = guest.device ?? {};
  if (guest.device === undefined) words.push('it printed nothing of its device');
  else if (errors > 0) words.push(`${formatCount(errors)} errors at its device`);
  const outcome = guest.device === undefined ? 'not-checked' : heldIf(agree);
  return { name: NAMES.counters, outcome, seen: words.join('; ') };
}
