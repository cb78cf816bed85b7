/** What a comparison keeps of each run, as plain data: the table, the report and `--json` derive from it. */
import { cpus, totalmem } from 'node:os';
import type { Effort, Goals } from '../../migration/approach.js';
import type { Approaches } from '../../migration/approaches.js';
import type {
  BlackoutRecord,
  DeviceTransfer,
  Fallback,
  MigrationRecord,
  RoundRecord,
} from '../../migration/record.js';
import { FLOW, type TimelineEntry } from '../../migration/timeline.js';
import type { NicKind } from '../../vmm/process/nic-options.js';
import type { CpuRecord } from '../move/cpu-time.js';
import type { MigrateResult } from '../move/move.js';
import type { NetworkPhase } from '../move/network-record.js';
import type { Scenario } from '../move/scenario.js';
import { type Spread, spreadOf } from '../report/median.js';
import { type PlugStep, plugSteps } from './plug-steps.js';

/** Raised with each change of what follows. */
export const COMPARISON_VERSION = 5;

/** Times in nanoseconds; undefined where a run did not come so far, or it can't be measured here. */
export interface Figures {
  /** The VM stood still. */
  readonly blackoutNs: number | undefined;
  /** The longest time in which nothing of a flow came to the peer, of all flows. */
  readonly gapNs: number | undefined;
  /** From what was asked of the guest until it had let the device go, of the slowest; none where nothing is asked. */
  readonly requestNs: number | undefined;
  readonly lost: number | undefined;
  readonly rounds: number | undefined;
  readonly bytes: number | undefined;
  readonly totalNs: number | undefined;
  /** CPU time of the vCPUs, and of all else in both VMMs, from the command until traffic flowed again. */
  readonly guestCpuNs: number | undefined;
  readonly hostCpuNs: number | undefined;
}

export interface CompareRun extends Figures {
  readonly outcome: MigrateResult['verdict']['outcome'];
  /** Why it is not verified. */
  readonly reason: string | undefined;
}

/** What pictures are made of: one run in detail. */
export interface RunDetail {
  readonly rounds: readonly RoundRecord[];
  readonly blackout: BlackoutRecord | undefined;
  /** What the flow did, and the devices. */
  readonly timeline: readonly TimelineEntry[];
  readonly devices: readonly DeviceTransfer[];
  readonly fallbacks: readonly Fallback[];
  /** From the command until traffic flowed again. */
  readonly network: NetworkPhase | undefined;
  readonly cpu: CpuRecord;
  /** What the guest did with a device that was unplugged and plugged in again; nothing where none was. */
  readonly plug: readonly PlugStep[];
}

export interface CompareEntry {
  readonly effort: Effort;
  readonly name: string;
  readonly text: string;
  readonly asked: Approaches;
  /** The guest's NIC: as the scenario has it, and what the approach needs of it. */
  readonly nic: NicKind;
  /** Of all approaches that were chosen the highest, so that none is asked for what another takes. */
  readonly goals: Goals;
  /** Whether some of them are its own, and not of what went with it. */
  readonly ownGoals: boolean;
  /** As they were chosen, or fallen back to; undefined of one that this machine does not allow. */
  readonly approaches: Approaches | undefined;
  /**
   * `same`: what `reason` names is the same choice, and was measured already. `impossible`: refused before anything was sent,
   * because of `reason`.
   */
  readonly outcome: 'verified' | 'unverified' | 'failed' | 'impossible' | 'same';
  readonly reason: string | undefined;
  readonly figures: { readonly [F in keyof Figures]: Spread | undefined };
  readonly runs: readonly CompareRun[];
  /** Of the run with the median blackout. */
  readonly detail: RunDetail | undefined;
}

export interface Comparison {
  readonly version: typeof COMPARISON_VERSION;
  readonly host: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryBytes: number;
    readonly node: string;
  };
  readonly scenario: Omit<Scenario, Effort>;
  readonly runs: number;
  /** From the first run to the end of the last; absent where nobody put it down. */
  readonly tookNs?: number;
  readonly entries: readonly CompareEntry[];
}

/** Of this machine. */
export function hostOf(): Comparison['host'] {
  const [cpu] = cpus();
  return {
    cpu: cpu?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    node: process.version,
  };
}

const NAMES = [
  'blackoutNs',
  'gapNs',
  'requestNs',
  'lost',
  'rounds',
  'bytes',
  'totalNs',
  'guestCpuNs',
  'hostCpuNs',
] as const satisfies readonly (keyof Figures)[];

export const NO_FIGURES = Object.fromEntries(NAMES.map((name) => [name, undefined])) as unknown as Figures;

export function runOf({ verdict, record, network, cpu }: MigrateResult): CompareRun {
  const wrong = verdict.checks.find(({ outcome }) => outcome !== 'held');
  const arrived = network?.move.flows.flatMap((flow) => (flow.arrived === null ? [] : [flow.arrived]));
  const completed = record?.status === 'completed';
  return {
    outcome: verdict.outcome,
    reason: record?.error?.message ?? (wrong === undefined ? undefined : `${wrong.name}: ${wrong.seen}`),
    blackoutNs: completed ? record.blackout?.totalNs : undefined,
    gapNs:
      completed && arrived?.length ? Math.max(...arrived.map(({ longestGapNs }) => longestGapNs)) : undefined,
    requestNs: completed ? requestNs(record) : undefined,
    lost: completed && arrived?.length ? arrived.reduce((sum, { lost }) => sum + lost, 0) : undefined,
    rounds: completed ? record.rounds.filter(({ last }) => !last).length : undefined,
    bytes: completed ? record.transferred.bytes : undefined,
    totalNs: completed ? record.totalNs : undefined,
    guestCpuNs: completed ? cpu.move?.guestNs : undefined,
    hostCpuNs: completed ? cpu.move?.hostNs : undefined,
  };
}

function requestNs({ timeline }: MigrationRecord): number | undefined {
  const asked = timeline.flatMap(({ what, duration }) => (what === 'request' ? (duration ?? []) : []));
  return asked.length === 0 ? undefined : Math.max(...asked);
}

export function detailOf({ record, arrival, network, cpu, console }: MigrateResult): RunDetail | undefined {
  if (record === undefined) return undefined;
  const { rounds, blackout, devices, fallbacks, timeline } = record;
  const names = [FLOW, ...devices.map(({ name }) => name)];
  return {
    rounds,
    blackout,
    devices,
    fallbacks,
    timeline: timeline.filter(({ who, what }) => names.includes(who) && what !== 'readDirty'),
    network: network?.move,
    cpu,
    plug: plugSteps(console, {
      timeline: arrival?.timeline ?? [],
      firstPacketNs: firstPacketNs(network?.move),
    }),
  };
}

/** What came first after the longest gap, on the peer's clock. */
function firstPacketNs(move: NetworkPhase | undefined): number | undefined {
  const gaps = (move?.flows ?? []).flatMap(({ arrived }) => arrived ?? []);
  const [longest] = gaps.toSorted((a, b) => b.longestGapNs - a.longestGapNs);
  return longest === undefined ? undefined : longest.longestGapAtNs + longest.longestGapNs;
}

export function spreadsOf(runs: readonly Figures[]): CompareEntry['figures'] {
  const spread = (name: keyof Figures): Spread | undefined => {
    const values = runs.map((run) => run[name]).filter((value) => value !== undefined);
    if (values.length === 0) return undefined;
    return spreadOf(values);
  };
  return Object.fromEntries(NAMES.map((name) => [name, spread(name)])) as CompareEntry['figures'];
}

/** A goal of an entry, and whether its median reaches it. */
export interface GoalOf {
  readonly of: 'blackoutNs' | 'gapNs' | 'requestNs';
  readonly ns: number;
  /** What is to be reached is no less than it. */
  readonly atLeast: boolean;
  readonly reached: boolean;
}

const GOALS = { blackoutNs: 'blackoutMs', gapNs: 'gapMs', requestNs: 'requestMs' } as const;

/** Each goal of an entry that it can be held against. */
export function goalsOf({ goals, figures }: Pick<CompareEntry, 'goals' | 'figures'>): readonly GoalOf[] {
  return (Object.keys(GOALS) as (keyof typeof GOALS)[]).flatMap((of) => {
    const ms = goals[GOALS[of]];
    const measured = figures[of]?.median;
    if (ms === undefined || measured === undefined) return [];
    const ns = ms * 1e6;
    const atLeast = of === 'requestNs';
    return [{ of, ns, atLeast, reached: atLeast ? measured >= ns : measured <= ns }];
  });
}
