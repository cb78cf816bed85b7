/**
 * What a user can set about a migration, with QEMU's names, units and defaults where QEMU has the thing. Declared once
 * as a table: monitor, command line and docs derive from it. All may be changed while a migration runs; those that the
 * table calls fixed are looked at once, at its start.
 */
import type { Cancel } from '../base/clock.js';
import { type Duration, milliseconds } from '../base/units.js';
import type { Effort } from './approach.js';
import { migrationErrors } from './errors.js';
import { type ApproachRegistry, AUTO, builtIn } from './registry.js';

/** Data channels of one migration, at most. */
export const CHANNELS_MAX = 16;

export type VerifyMode = 'off' | 'root' | 'after' | 'full';

export interface ParameterValues {
  /** Bytes per second over all channels before the switchover; 0 = no limit. */
  maxBandwidth: number;
  downtimeLimitMs: number;
  /** Whether there may be more than one data channel. */
  multifd: boolean;
  multifdChannels: number;
  maxRounds: number;
  autoConverge: boolean;
  /** Percent of the bytes sent in a round that may be dirtied again before the guest counts as too fast. */
  throttleTriggerThreshold: number;
  cpuThrottleInitial: number;
  cpuThrottleIncrement: number;
  maxCpuThrottle: number;
  verify: VerifyMode;
  /** How the writes of an assigned device are found; `auto`: as fits the machine. */
  tracking: string;
  /** How an assigned device is brought to a stop, and how it goes on at the destination. */
  stop: string;
  start: string;
  /** How long a guest that is asked to stop its device may take to answer. */
  requestTimeoutMs: number;
  /** How long a device may take to work that is started after the guest. */
  deviceStartTimeoutMs: number;
  keepaliveIntervalMs: number;
  /** How long a destination that did not answer the commit is asked whether it has the guest; 0: not at all. */
  inquiryTimeoutMs: number;
  peerTimeoutMs: number;
  answerTimeoutMs: number;
  /** Directory of this side's TLS credentials; empty: no TLS. */
  tlsCreds: string;
  /** What the destination's certificate must be for; empty: the host that is migrated to. */
  tlsHostname: string;
  /** The name that the source's certificate must have; empty: any that the CA vouches for. */
  tlsAuthz: string;
}

type ParameterName = keyof ParameterValues;
type NumberName = { [P in ParameterName]: ParameterValues[P] extends number ? P : never }[ParameterName];
/** Those in milliseconds. */
type DurationName = Extract<ParameterName, `${string}Ms`>;

interface NumberParameter {
  readonly type: 'number';
  readonly qmpName: string;
  readonly default: number;
  readonly min: number;
  readonly max: number;
  readonly unit: string;
  readonly fixed?: true;
  readonly text: string;
}
interface BooleanParameter {
  readonly type: 'boolean';
  readonly qmpName: string;
  readonly default: boolean;
  readonly fixed?: true;
  /** QMP has it as a capability. */
  readonly capability?: true;
  readonly text: string;
}
interface ChoiceParameter {
  readonly type: 'choice';
  readonly qmpName: string;
  readonly default: string;
  readonly choices: readonly string[];
  /** Whose choices these are, where users may bring their own. */
  readonly effort?: Effort;
  readonly fixed?: true;
  readonly text: string;
}
/** Words of the user's; empty if absent. */
interface TextParameter {
  readonly type: 'text';
  readonly qmpName: string;
  readonly default: string;
  readonly fixed?: true;
  readonly text: string;
}
export type Parameter = NumberParameter | BooleanParameter | ChoiceParameter | TextParameter;

/** Longest text. */
export const TEXT_CHARACTERS_MAX = 1024;

/** Whether QMP has it as a capability, and not as a parameter. */
export const isCapability = (parameter: Parameter): boolean =>
  parameter.type === 'boolean' && parameter.capability === true;

const number = (
  qmpName: string,
  unit: string,
  value: number,
  range: readonly [min: number, max: number],
  text: string,
): NumberParameter => ({ type: 'number', qmpName, unit, default: value, min: range[0], max: range[1], text });

/** Looked at once, at the start; the first choice is the default. */
const choice = (qmpName: string, choices: readonly [string, ...string[]], text: string): ChoiceParameter => ({
  type: 'choice',
  qmpName,
  default: choices[0],
  choices,
  fixed: true,
  text,
});

const words = (qmpName: string, text: string): TextParameter => ({
  type: 'text',
  qmpName,
  default: '',
  fixed: true,
  text,
});

type ParameterTable = { readonly [P in ParameterName]: Parameter };

/** The table where approaches can be chosen from `registry`. */
function tableOf(registry: ApproachRegistry): ParameterTable {
  const approach = (effort: Effort, text: string): ChoiceParameter => ({
    ...choice(
      effort,
      [AUTO, ...registry[effort].map(({ name }) => name)],
      `${text}; auto: the first that fits the machine. ${registry[effort].map((one) => `${one.name}: ${one.text}`).join('; ')}`,
    ),
    effort,
  });
  return {
    maxBandwidth: number(
      'max-bandwidth',
      'bytes/s',
      0,
      [0, Number.MAX_SAFE_INTEGER],
      'limit before the switchover; 0 = none; less than 64 KiB/s counts as that',
    ),
    downtimeLimitMs: number('downtime-limit', 'ms', 300, [0, 2_000_000], 'blackout to aim for'),
    multifd: {
      type: 'boolean',
      qmpName: 'multifd',
      default: true,
      fixed: true,
      capability: true,
      text: 'several data channels: `multifd-channels` of them; off: one',
    },
    multifdChannels: {
      ...number('multifd-channels', 'channels', 2, [1, CHANNELS_MAX], 'data channels'),
      fixed: true,
    },
    maxRounds: number(
      'max-rounds',
      'rounds',
      30,
      [1, 10_000],
      'pre-copy rounds before the switchover is forced',
    ),
    autoConverge: {
      type: 'boolean',
      qmpName: 'auto-converge',
      default: true,
      capability: true,
      text: 'slow the vCPUs down when the guest dirties memory faster than it is sent',
    },
    throttleTriggerThreshold: number(
      'throttle-trigger-threshold',
      '%',
      50,
      [1, 100],
      'share of a round that may be dirtied again before throttling',
    ),
    cpuThrottleInitial: number('cpu-throttle-initial', '%', 20, [1, 99], 'first throttle'),
    cpuThrottleIncrement: number('cpu-throttle-increment', '%', 10, [1, 99], 'each further step'),
    maxCpuThrottle: number('max-cpu-throttle', '%', 99, [1, 99], 'most that vCPUs are throttled'),
    verify: {
      type: 'choice',
      qmpName: 'verify',
      default: 'root',
      choices: ['off', 'root', 'after', 'full'],
      fixed: true,
      text: 'root: hashes of all pages as sent and received; after: also all of RAM, registers and devices as they were at the stop, compared when the guest runs again; full: the same before it is given away',
    },
    tracking: approach('tracking', 'how it is known which pages were written'),
    stop: approach('stop', 'how an assigned device is stopped'),
    start: approach('start', 'how an assigned device goes on at the destination'),
    requestTimeoutMs: number(
      'request-timeout',
      'ms',
      10_000,
      [50, 3_600_000],
      'longest wait for a guest that was asked to stop its device',
    ),
    deviceStartTimeoutMs: number(
      'device-start-timeout',
      'ms',
      30_000,
      [50, 3_600_000],
      'longest wait for a device that is started after the guest',
    ),
    keepaliveIntervalMs: number(
      'keepalive-interval',
      'ms',
      1_000,
      [10, 600_000],
      'a silent link is probed this often',
    ),
    inquiryTimeoutMs: number(
      'inquiry-timeout',
      'ms',
      10_000,
      [0, 3_600_000],
      'how long a destination that did not answer the commit is asked, over new connections, whether it runs the guest',
    ),
    peerTimeoutMs: number('peer-timeout', 'ms', 10_000, [50, 3_600_000], 'a peer silent for so long is lost'),
    answerTimeoutMs: number(
      'answer-timeout',
      'ms',
      30_000,
      [50, 3_600_000],
      'longest wait for an answer of a living peer',
    ),
    tlsCreds: words(
      'tls-creds',
      "directory of TLS credentials, laid out as QEMU's are; all connections are encrypted then, and both sides prove who they are",
    ),
    tlsHostname: words(
      'tls-hostname',
      "at the source: the name that the destination's certificate must be for, if not the host of its address",
    ),
    tlsAuthz: words(
      'tls-authz',
      'at the destination: the name in the certificate of the one source that guests are taken from, such as CN=host1,O=Org',
    ),
  };
}

/** With the approaches that come with vf-ferry. */
export const parameterTable = tableOf(builtIn);

/** Pairs of which the first may not be less than the second, and why. */
const AT_LEAST: readonly (readonly [more: NumberName, less: NumberName, why: string])[] = [
  ['maxCpuThrottle', 'cpuThrottleInitial', 'the first throttle would be more than is allowed'],
  ['peerTimeoutMs', 'keepaliveIntervalMs', 'a peer would be lost before it was probed'],
];

/** The parameter that QMP calls `qmpName`, or undefined. */
export function parameterByQmpName(qmpName: string): ParameterName | undefined {
  return names.find((name) => parameterTable[name].qmpName === qmpName);
}

const names = Object.keys(parameterTable) as ParameterName[];

export const defaultParameters: Readonly<ParameterValues> = Object.freeze(
  Object.fromEntries(names.map((name) => [name, parameterTable[name].default])),
) as unknown as ParameterValues;

/** The parameters of one VM's migrations. Whoever holds it may change it at any time; flows see the change. */
export class MigrationParameters {
  #registry: ApproachRegistry;
  #table: ParameterTable;
  #values: Readonly<ParameterValues>;
  readonly #listeners = new Set<() => void>();

  constructor(changes: Partial<ParameterValues> = {}, registry = builtIn) {
    this.#registry = registry;
    this.#table = registry === builtIn ? parameterTable : tableOf(registry);
    this.#values = judge(this.#table, defaultParameters, changes);
  }

  get values(): Readonly<ParameterValues> {
    return this.#values;
  }

  /** What `tracking`, `stop` and `start` can be chosen from; at a destination, what a source can choose. */
  get registry(): ApproachRegistry {
    return this.#registry;
  }

  /** From now on more can be chosen from. */
  offer(registry: ApproachRegistry): void {
    this.#registry = registry;
    this.#table = tableOf(registry);
  }

  duration(name: DurationName): Duration {
    return milliseconds(this.#values[name]);
  }

  /** Takes over all of `changes` or, throwing `migration/parameter` with the name and the reason, none. */
  set(changes: Partial<ParameterValues>): void {
    this.#values = judge(this.#table, this.#values, changes);
    for (const listener of this.#listeners) listener();
  }

  /** Calls `listener` after each change until cancelled. */
  onChange(listener: () => void): Cancel {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

function judge(
  table: ParameterTable,
  before: Readonly<ParameterValues>,
  changes: Partial<ParameterValues>,
): Readonly<ParameterValues> {
  for (const [key, value] of Object.entries(changes)) {
    if (!Object.hasOwn(table, key)) throw refused(key, value, 'no such parameter');
    const parameter = table[key as ParameterName];
    const problem = problemOf(parameter, value);
    if (problem !== undefined) throw refused(parameter.qmpName, value, problem);
  }
  const after = Object.freeze({ ...before, ...changes });
  for (const [more, less, why] of AT_LEAST) {
    if (after[more] >= after[less]) continue;
    // The one that was changed is the one that is wrong.
    const [named, relation, other] = more in changes ? [more, 'less', less] : [less, 'more', more];
    const { qmpName } = table[other];
    throw refused(
      table[named].qmpName,
      after[named],
      `${relation} than ${qmpName} = ${after[other]}: ${why}`,
    );
  }
  return after;
}

function problemOf(parameter: Parameter, value: unknown): string | undefined {
  switch (parameter.type) {
    case 'number':
      if (!Number.isInteger(value)) return 'must be a whole number';
      return (value as number) < parameter.min || (value as number) > parameter.max
        ? `must be ${parameter.min} to ${parameter.max} ${parameter.unit}`
        : undefined;
    case 'boolean':
      return typeof value === 'boolean' ? undefined : 'must be true or false';
    case 'text':
      return typeof value === 'string' && value.length <= TEXT_CHARACTERS_MAX && !value.includes('\0')
        ? undefined
        : `must be a text of at most ${TEXT_CHARACTERS_MAX} characters`;
    case 'choice':
      return parameter.choices.includes(value as string)
        ? undefined
        : `must be one of ${parameter.choices.join(', ')}`;
  }
}

function refused(parameter: string, value: unknown, problem: string): Error {
  return migrationErrors.error('parameter', { parameter, value: String(value), problem });
}
