/** Random faults and circumstances of one simulated migration, all from its seed. */
import type { SeededRandom } from '../../base/random.js';
import type { FrameKind } from '../../migration/frame.js';
import type { ParameterValues } from '../../migration/parameters.js';
import { builtIn } from '../../migration/registry.js';
import { type Fault, type FaultKind, isDataFault, type When } from './fault.js';
import type { Side } from './link.js';
import { PLAIN } from './shape.js';
import { patienceWith, randomWay, WAYS, type Way, waysLike } from './ways.js';

/** What either side says in a migration in which nothing is amiss; those that come once, and those that come again. */
export const SAID: Readonly<Record<Side, readonly FrameKind[]>> = {
  source: [
    ...(['hello', 'data', 'round-end', 'device-data', 'state', 'complete', 'verify', 'commit'] as const),
    ...(['released', 'ping', 'pong'] as const),
  ],
  destination: [
    ...(['welcome', 'round-received', 'prepared', 'page-hashes', 'read-back', 'running'] as const),
    ...(['ping', 'pong'] as const),
  ],
};
const OFTEN: readonly FrameKind[] = [
  'round-end',
  'round-received',
  'device-data',
  'page-hashes',
  'ping',
  'pong',
];

/** How often each kind is drawn, of what is drawn of all. */
const KINDS: readonly (readonly [weight: number, kinds: readonly FaultKind[]])[] = [
  [4, ['delay', 'cut', 'cut-after', 'silence', 'truncate', 'flip', 'garbage', 'repeat', 'other-version']],
  [2, ['data-cut', 'data-flip', 'data-stall', 'data-truncate', 'data-delay']],
  [2, ['kill-source', 'kill-destination', 'quit-source', 'quit-destination']],
  [1, ['lose-worker-source', 'lose-worker-destination']],
  [2, ['suspend-source', 'suspend-destination', 'drift-source', 'drift-destination']],
  [1, ['jump-source', 'jump-destination', 'set-back-source', 'set-back-destination']],
  [3, ['cancel', 'stop', 'cont', 'parameters', 'migrate-again']],
  [2, ['stop-destination', 'cont-destination', 'unplug', 'replug', 'inject-error', 'dirty-rate']],
  [2, ['guest-toggles', 'guest-unloads', 'guest-lies', 'guest-crashes']],
  [1, ['stranger', 'data-stranger']],
  [1, ['link-flap', 'link-flap-destination']],
  [1, ['other-device']],
];
/** Every kind that a seed may stand for. */
export const DRAWN: readonly FaultKind[] = KINDS.flatMap(([, kinds]) => kinds);
const FAULTS_MAX = 4;
/** Most of what happens to a migration happens in this time after `migrate`. */
const SPAN_US = 30_000;
/** Bytes of a channel in the first round. */
const SPAN_BYTES = 2_500_000;

/** Thousandths of how fast a clock should go. */
const DRIFT_MIN = 400;
const DRIFT_MAX = 2500;

/** So many leave the source in doubt about who has the guest, and its question does not get through as it was asked. */
const IN_DOUBT = 0.1;

/** None to a few; most migrations have one or two. */
export function randomPlan(random: SeededRandom, channels: number): readonly Fault[] {
  if (random.chance(IN_DOUBT)) return doubt(random);
  const count = Math.min(random.below(FAULTS_MAX), random.below(FAULTS_MAX) + 1);
  return Array.from({ length: count }, () => randomFault(random, channels));
}

function doubt(random: SeededRandom): readonly Fault[] {
  const unheard = random.pick([
    { from: 'source', kind: 'commit' },
    { from: 'destination', kind: 'running' },
  ] as const);
  const lost = random.pick(['cut', 'cut-after', 'silence'] as const);
  const disturbed = random.pick(KINDS[0]![1]);
  return [
    { kind: lost, when: { at: 'message', ...unheard, nth: 0 }, amount: 0 },
    {
      kind: disturbed,
      when: { at: 'message', from: 'source', kind: 'inquiry', nth: random.below(2) },
      amount: amountOf(disturbed, random),
    },
  ];
}

function randomFault(random: SeededRandom, channels: number): Fault {
  const bag = KINDS.flatMap(([weight, kinds]) => new Array<readonly FaultKind[]>(weight).fill(kinds));
  const kind = random.pick(random.pick(bag));
  const amount = amountOf(kind, random);
  if (isDataFault(kind)) {
    const byte = random.chance(0.3) ? random.below(5000) : random.below(SPAN_BYTES);
    return { kind, when: { at: 'byte', channel: random.below(channels), byte }, amount };
  }
  // Its machine is made when a source has come.
  if (kind === 'other-device') return { kind, when: { at: 'start' }, amount };
  return { kind, when: MESSAGES.has(kind) ? aMessage(random) : anyTime(random), amount };
}

const MESSAGES: ReadonlySet<FaultKind> = new Set(KINDS[0]![1]);

function anyTime(random: SeededRandom): When {
  if (random.chance(0.4)) return { at: 'time', us: random.below(SPAN_US) };
  return random.chance(0.15) ? { at: 'start' } : aMessage(random);
}

function aMessage(random: SeededRandom): When {
  const from = random.pick(['source', 'destination'] as const);
  const kind = random.pick(SAID[from]);
  return { at: 'message', from, kind, nth: OFTEN.includes(kind) ? random.below(4) : 0 };
}

function amountOf(kind: FaultKind, random: SeededRandom): number {
  if (kind === 'delay' || kind === 'data-delay' || kind.startsWith('suspend-')) {
    return random.chance(0.5) ? random.below(5000) : random.below(300_000);
  }
  if (kind.startsWith('jump-') || kind.startsWith('set-back-')) {
    return random.chance(0.5) ? random.below(20_000) : random.below(5_000_000);
  }
  if (kind.startsWith('guest-')) return random.chance(0.7) ? random.below(10_000) : random.below(60_000);
  if (kind.startsWith('link-flap')) return random.below(3000);
  return kind.startsWith('drift-') ? random.between(DRIFT_MIN, DRIFT_MAX) : random.below(100_000);
}

/** What an operator changes in mid-flight. */
export function randomChange(amount: number): Partial<ParameterValues> {
  const changes: readonly Partial<ParameterValues>[] = [
    { maxBandwidth: 20e6 },
    { maxBandwidth: 0 },
    { downtimeLimitMs: 0 },
    { downtimeLimitMs: 100 },
    { autoConverge: false },
    { maxRounds: 1 },
  ];
  return changes[amount % changes.length]!;
}

/**
 * Time-outs short enough that what runs into them costs little, and long enough for all that goes well. As with the defaults a
 * guest is waited for less long than a peer, which hears nothing while a guest that stands still is asked to undo something.
 */
export const TIMEOUTS = {
  keepaliveIntervalMs: 20,
  // Long enough for a destination to find out that its source is not heard any more.
  inquiryTimeoutMs: 400,
  peerTimeoutMs: 60,
  answerTimeoutMs: 200,
  requestTimeoutMs: 60,
  deviceStartTimeoutMs: 400,
} as const;

/** Those with which `way` comes to its end. */
export function timeoutsWith(way: Way, functions = 1): Partial<ParameterValues> {
  const patience = patienceWith(way, functions);
  return {
    ...TIMEOUTS,
    ...patience,
    // A peer hears nothing while a guest that stands still is waited for, and has to be missed before nobody asks any more.
    ...(patience.requestTimeoutMs && {
      peerTimeoutMs: patience.requestTimeoutMs,
      inquiryTimeoutMs: TIMEOUTS.inquiryTimeoutMs + patience.requestTimeoutMs,
    }),
  };
}

/** Ways to know what the device writes. */
export const TRACKINGS: readonly string[] = builtIn.tracking
  .filter(({ serves }) => serves === 'device')
  .map(({ name }) => name);

/** Limits, channels, approaches and verification of a migration; stop and start are like those in `given`, and what `shape` can do. */
export function randomParameters(
  random: SeededRandom,
  given: Partial<ParameterValues> = {},
  shape = PLAIN,
): Partial<ParameterValues> {
  const like = waysLike(given, shape);
  const way = randomWay(random.fork('way'), like.length > 0 ? like : WAYS);
  return {
    ...timeoutsWith(way, shape.nic.macs.length),
    stop: way.stop.name,
    start: way.start.name,
    maxBandwidth: random.pick([0, 100e6, 400e6, 1e9]),
    downtimeLimitMs: random.pick([0, 1, 5, 300]),
    maxRounds: random.pick([1, 2, 4, 8]),
    multifdChannels: random.pick([1, 2, 3]),
    tracking: random.pick(TRACKINGS),
    verify: random.pick(['root', 'full', 'after'] as const),
  };
}
