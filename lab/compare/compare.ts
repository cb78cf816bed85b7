/**
 * The approaches side by side: the same workload, traffic and seed with each, in turn (A B C, A B C, ...), so that what else
 * the host does falls on all of them alike.
 */
import { isFerryError } from '../../base/errors.js';
import { EXIT_STATUS } from '../../base/exit-status.js';
import { type Descriptor, EFFORTS, type Effort, type Goals } from '../../migration/approach.js';
import type { Approaches } from '../../migration/approaches.js';
import { type ApproachRegistry, AUTO } from '../../migration/registry.js';
import { givesAny, type NicKind } from '../../vmm/process/nic-options.js';
import { type MigrateResult, migrate } from '../move/move.js';
import { judgeValues } from '../move/option-values.js';
import { type MigrateOptions, scenarioOf } from '../move/scenario.js';
import { type Axis, type CompareWords, type Contestant, contestants } from './contestants.js';
import {
  COMPARISON_VERSION,
  type CompareEntry,
  type CompareRun,
  type Comparison,
  detailOf,
  hostOf,
  NO_FIGURES,
  type RunDetail,
  runOf,
  spreadsOf,
} from './figures.js';
import { machineFor } from './machine-for.js';

export interface CompareOptions
  extends Omit<MigrateOptions, Effort | 'recordTo' | 'traceTo' | 'pcap' | 'arrivals'> {
  /** `all` if absent. */
  readonly axis?: Axis | undefined;
  /** Of each approach; 3 if absent. */
  readonly runs?: number | undefined;
  /** Only approaches that have goals of their own. */
  readonly goals?: boolean | undefined;
  /** Names or modules: those to compare along the axis, the one to use beside it. */
  readonly approaches?: CompareWords;
}

/** What is told as it goes. */
export interface CompareProgress {
  readonly turn: number;
  readonly turns: number;
  readonly contestant: Contestant;
  /** Runs that are over, this among them, and all that there will be as far as is known. */
  readonly done: number;
  readonly all: number;
  /** As long as the runs so far took. */
  readonly leftMs: number;
  readonly run: CompareRun | 'impossible' | 'same';
  readonly reason: string | undefined;
}

export const RUNS = 3;
export const WORKLOAD = 'mixed';
export const SETTLE_MS = 1000;

/** A contestant and what came of it so far. */
interface Lane {
  readonly contestant: Contestant;
  /** The machine's, with what the approach needs. */
  readonly nic: NicKind;
  readonly runs: { readonly run: CompareRun; readonly detail: RunDetail | undefined }[];
  approaches: Approaches | undefined;
  /** Why it is not run any more. */
  out: { readonly outcome: 'impossible' | 'same'; readonly reason: string } | undefined;
}

/**
 * Compares. Resolves whatever comes of the single runs; each says what. Rejects with `lab/usage` for options that contradict
 * each other, and `migration/own-approach`.
 */
export async function compare(
  options: CompareOptions = {},
  onRun: (progress: CompareProgress) => void = () => undefined,
  run: (options: MigrateOptions) => Promise<MigrateResult> = migrate,
): Promise<Comparison> {
  const { axis = 'all', runs = RUNS, approaches = {}, goals = false, ...given } = options;
  const { contestants: known, registry } = await contestants(axis, approaches);
  const found = goals ? known.filter((one) => descriptorOf(one, registry)?.goals !== undefined) : known;
  const asked: MigrateOptions = { workload: WORKLOAD, settleMs: SETTLE_MS, ...given };
  judgeValues(asked);
  // The seed among it, which is the same for all.
  const { tracking, stop, start, ...scenario } = scenarioOf(asked);
  const lanes: Lane[] = found.map((contestant) => ({
    contestant,
    nic: machineFor(contestant, registry, scenario.nic),
    runs: [],
    approaches: undefined,
    out: undefined,
  }));
  const began = performance.now();
  let done = 0;
  for (let turn = 1; turn <= runs; turn++) {
    for (const lane of lanes.filter(({ out }) => out === undefined)) {
      const { contestant, nic } = lane;
      const came = await oneRun(
        lane,
        { ...asked, ...contestant.asked, nic, seed: scenario.seed, arrivals: true },
        run,
      );
      if (turn === 1 && lane.out === undefined) lane.out = sameAs(lane, lanes);
      done++;
      const left = lanes.filter(({ out }) => out === undefined);
      const inTurn = left.filter((one) => lanes.indexOf(one) > lanes.indexOf(lane)).length;
      const ahead = inTurn + left.length * (runs - turn);
      onRun({
        turn,
        turns: runs,
        contestant,
        done,
        all: done + ahead,
        leftMs: ((performance.now() - began) / done) * ahead,
        run: lane.out?.outcome ?? came,
        reason: lane.out?.reason ?? came.reason,
      });
    }
  }
  return {
    version: COMPARISON_VERSION,
    host: hostOf(),
    scenario,
    runs,
    tookNs: (performance.now() - began) * 1e6,
    entries: lanes.map((lane) => entryOf(lane, registry)),
  };
}

async function oneRun(
  lane: Lane,
  options: MigrateOptions,
  run: (options: MigrateOptions) => Promise<MigrateResult>,
): Promise<CompareRun> {
  const failed = (reason: string): CompareRun => ({ ...NO_FIGURES, outcome: 'failed', reason });
  try {
    const result = await run(options);
    const came = runOf(result);
    const { error, rounds, approaches } = result.record ?? {};
    lane.approaches ??= approaches;
    if (error?.exit === 'refused' && rounds?.length === 0) {
      lane.out = { outcome: 'impossible', reason: error.message };
    }
    lane.runs.push({ run: came, detail: detailOf(result) });
    return came;
  } catch (error) {
    if (!isFerryError(error) || error.exit === 'usage') throw error;
    if (error.code === 'migration/approach') lane.out = { outcome: 'impossible', reason: error.message };
    lane.runs.push({ run: failed(error.message), detail: undefined });
    return lane.runs.at(-1)!.run;
  }
}

/** An earlier one that the machine chose all of it alike for, if nothing else was asked of this one. */
function sameAs(lane: Lane, lanes: readonly Lane[]): Lane['out'] {
  const { approaches, contestant, nic } = lane;
  if (approaches === undefined || approaches[contestant.effort] !== contestant.name) return undefined;
  const same = (other: Lane): boolean =>
    other.nic === nic &&
    other.approaches !== undefined &&
    other.approaches[other.contestant.effort] === other.contestant.name &&
    EFFORTS.every((effort) => other.approaches![effort] === approaches[effort]);
  const earlier = lanes.slice(0, lanes.indexOf(lane)).find(same);
  if (earlier === undefined) return undefined;
  return { outcome: 'same', reason: titleOf(earlier.contestant) };
}

/** `tracking pinned`. */
export const titleOf = ({ effort, name }: Pick<Contestant, 'effort' | 'name'>): string => `${effort} ${name}`;

function entryOf(lane: Lane, registry: ApproachRegistry): CompareEntry {
  const { contestant, nic, runs, approaches, out } = lane;
  const { effort, name, asked } = contestant;
  const common = {
    effort,
    name,
    text: descriptorOf(contestant, registry)?.text ?? '',
    asked,
    nic,
    goals: goalsFor(lane, registry),
    ownGoals: descriptorOf(contestant, registry)?.goals !== undefined,
  };
  if (out?.outcome === 'impossible') {
    const figures = spreadsOf([]);
    return { ...common, ...out, approaches: undefined, figures, runs: [], detail: undefined };
  }
  if (out !== undefined) {
    return { ...common, ...out, approaches, figures: spreadsOf([]), runs: [], detail: undefined };
  }
  const all = runs.map(({ run }) => run);
  const bad =
    all.find(({ outcome }) => outcome === 'failed') ?? all.find(({ outcome }) => outcome !== 'verified');
  return {
    ...common,
    approaches,
    outcome: bad?.outcome ?? 'verified',
    reason: bad?.reason,
    figures: spreadsOf(all),
    runs: all,
    detail: middle(runs)?.detail,
  };
}

const descriptorOf = (
  { effort, name }: Pick<Contestant, 'effort' | 'name'>,
  registry: ApproachRegistry,
): Descriptor | undefined => registry[effort].find((one) => one.name === name);

function goalsFor({ approaches, contestant, nic }: Lane, registry: ApproachRegistry): Goals {
  const names = approaches ?? contestant.asked;
  const all = EFFORTS.flatMap((effort) =>
    registry[effort].filter(({ name }) => name === names[effort]),
  ).filter(
    // What it is meant to reach, it is with the device that suits it.
    ({ betterWithout = [] }) => !givesAny(nic, betterWithout),
  );
  const highest = (of: keyof Goals): Goals => {
    const known = all.flatMap(({ goals }) => goals?.[of] ?? []);
    return known.length === 0 ? {} : { [of]: Math.max(...known) };
  };
  return { ...highest('blackoutMs'), ...highest('gapMs'), ...highest('requestMs') };
}

/** The run with the median blackout, of those that have one. */
function middle(runs: Lane['runs']): Lane['runs'][number] | undefined {
  const known = runs.filter(({ run }) => run.blackoutNs !== undefined);
  const sorted = known.toSorted((a, b) => a.run.blackoutNs! - b.run.blackoutNs!);
  return sorted[(sorted.length - 1) >>> 1] ?? runs.at(-1);
}

/** 0 if everything that the machine allows was verified in every run, and something was. */
export function compareStatus({ entries }: Comparison): number {
  if (entries.some(({ outcome }) => outcome === 'failed' || outcome === 'unverified'))
    return EXIT_STATUS['not-verified'];
  return entries.some(({ outcome }) => outcome === 'verified') ? 0 : EXIT_STATUS.refused;
}

/** What was asked of an effort that a machine was left to choose, as it chose; for titles. */
export const chosenBeside = ({ effort, approaches, asked }: CompareEntry): string =>
  EFFORTS.filter((other) => other !== effort)
    .map((other) => `${other} ${approaches?.[other] ?? asked[other]}`)
    .filter((words) => !words.endsWith(` ${AUTO}`))
    .join(', ');

/** The device that an approach was given because of what it needs, in words behind a title; empty if it is that of all. */
export const givenFor = ({ nic }: CompareEntry, { scenario }: Comparison): string =>
  nic === scenario.nic ? '' : `--nic ${nic}`;
