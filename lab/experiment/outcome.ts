/** What came of an experiment: what was measured, and what does not hold. */
import { violationsOf } from '../checkers/checkers.js';
import type { Happened, SideEnd, Whereabouts } from '../checkers/happened.js';
import { endFindings, idleFindings } from '../faults/judge.js';
import { parseDuration } from '../options/quantities.js';
import { formatCount, formatTime } from '../report/words.js';
import { type Experiment, type Harness, MEASURES, type Measure } from './format.js';

/** What a harness has seen in one run, before anybody judges it. */
export interface Watched {
  readonly guest: Whereabouts;
  readonly happened: Happened;
  /** What never struck, by where it was to. */
  readonly idle: readonly { readonly at: unknown }[];
  /** What else does not hold: an operator who got another answer than was to come, a file that was cut. */
  readonly otherFindings: readonly string[];
}

/** Times in nanoseconds, virtual ones in the simulator; undefined where there is nothing to measure. */
export type Measured = Readonly<Record<Measure, number | undefined>>;

/** One run of an experiment, as plain data. */
export interface ExperimentRun {
  readonly experiment: string;
  readonly harness: Harness;
  /** From 1. */
  readonly run: number;
  /** Of the simulator. */
  readonly seed?: number;
  /** Over every event in the simulator: the same for the same seed. */
  readonly hash?: string;
  readonly guest: Whereabouts;
  readonly source: SideEnd;
  readonly destination: SideEnd;
  readonly measured: Measured;
  /** What does not hold; nothing if all does. */
  readonly findings: readonly string[];
}

/** One sentence for each thing that does not hold. */
export function findingsOf(experiment: Experiment, watched: Watched): readonly string[] {
  const { must, measure = {} } = experiment;
  const { guest, happened, idle, otherFindings } = watched;
  const violations = violationsOf(happened).filter(
    ({ checker }) => must.hold?.some((name) => name === checker) ?? true,
  );
  const causes = causesOf(experiment);
  const measured = measuredIn(happened);
  return [
    ...idleFindings(idle),
    ...violations.map(({ checker, finding }) => `${checker}: ${finding}`),
    ...endFindings({ guest: must.guest, ...(causes && { causes }) }, happened, guest),
    ...otherFindings,
    ...MEASURES.flatMap((name) => beyond(name, measured[name], measure[name])),
  ];
}

/** The codes of errors that may come; undefined if none may. */
export const causesOf = ({ must }: Experiment): RegExp | undefined =>
  must.errors && new RegExp(`^(?:${must.errors.join('|')})$`);

export function measuredIn({ runs, during, tookNs }: Happened): Measured {
  return {
    took: tookNs,
    standstill: longestStandstill(runs),
    gap: during?.arrived?.longestGapNs,
    lost: during?.arrived?.lost,
  };
}

/** Undefined if the guest never stood still, or does so in the end. */
function longestStandstill(runs: Happened['runs']): number | undefined {
  let longest: number | undefined;
  let since: number | undefined;
  const running = new Set<string>();
  for (const { atNs, side, running: begins } of runs) {
    if (begins) {
      if (running.size === 0 && since !== undefined) longest = Math.max(longest ?? 0, atNs - since);
      running.add(side);
    } else {
      running.delete(side);
      if (running.size === 0) since = atNs;
    }
  }
  return running.size === 0 ? undefined : longest;
}

type Bounds = { readonly min?: string | number | undefined; readonly max?: string | number | undefined };

function beyond(name: Measure, value: number | undefined, bounds: Bounds | undefined): readonly string[] {
  if (bounds === undefined || (bounds.min === undefined && bounds.max === undefined)) return [];
  if (value === undefined) return [`measure: ${name} could not be measured`];
  const numberOf = (bound: string | number): number =>
    typeof bound === 'string' ? parseDuration(bound) : bound;
  const words = measuredText(name, value);
  const findings: string[] = [];
  if (bounds.min !== undefined && value < numberOf(bounds.min)) {
    findings.push(`measure: ${name} is ${words}, which is less than ${bounds.min}`);
  }
  if (bounds.max !== undefined && value > numberOf(bounds.max)) {
    findings.push(`measure: ${name} is ${words}, which is more than ${bounds.max}`);
  }
  return findings;
}

/** To three places, as people read it. */
export const measuredText = (name: Measure, value: number): string =>
  name === 'lost' ? formatCount(value) : formatTime(value);
