/** A comparison for people: a line as each run ends, and one table at the end. */
import pc from 'picocolors';
import { EFFORTS } from '../../migration/approach.js';
import type { Spread } from '../report/median.js';
import { table } from '../report/table.js';
import { formatBytes, formatCount, formatTime } from '../report/words.js';
import { type CompareProgress, chosenBeside, givenFor, RUNS, titleOf } from './compare.js';
import { type CompareEntry, type Comparison, type Figures, type GoalOf, goalsOf } from './figures.js';

/** How each figure is written. */
export const FORMATS: { readonly [F in keyof Figures]-?: (value: number) => string } = {
  blackoutNs: formatTime,
  gapNs: formatTime,
  requestNs: formatTime,
  lost: (value) => formatCount(Math.round(value)),
  rounds: (value) => formatCount(Math.round(value)),
  bytes: formatBytes,
  totalNs: formatTime,
  guestCpuNs: formatTime,
  hostCpuNs: formatTime,
};

export const HEADS: { readonly [F in keyof Figures]-?: string } = {
  blackoutNs: 'blackout',
  gapNs: 'network gap',
  requestNs: 'request',
  lost: 'lost',
  rounds: 'rounds',
  bytes: 'bytes',
  totalNs: 'in all',
  guestCpuNs: 'guest CPU',
  hostCpuNs: 'host CPU',
};

/** Those that are told with their spread on a terminal. */
const SPREAD: readonly (keyof Figures)[] = ['blackoutNs', 'gapNs'];

/** `19.4 ms`, and where runs differ the least and the most: `19.4 ms (17.1 ms to 22.0 ms)`. */
export function spreadText(name: keyof Figures, spread: Spread | undefined, whole = true): string {
  if (spread === undefined) return '–';
  const [middle, least, most] = [spread.median, spread.min, spread.max].map(FORMATS[name]);
  return whole && least !== most ? `${middle} (${least} to ${most})` : middle!;
}

export function progressLine({
  turn,
  turns,
  contestant,
  done,
  all,
  leftMs,
  run,
  reason,
}: CompareProgress): string {
  const came =
    typeof run === 'string'
      ? `${run === 'same' ? 'is the same choice as' : 'not possible here:'} ${reason}`
      : run.outcome === 'failed'
        ? `${pc.red('failed')}: ${reason}`
        : `blackout ${run.blackoutNs === undefined ? '–' : formatTime(run.blackoutNs)}, ` +
          `network gap ${run.gapNs === undefined ? '–' : formatTime(run.gapNs)}, ${run.outcome}`;
  const left = done === all ? '' : pc.dim(` (${done} of ${all}, about ${Math.ceil(leftMs / 1000)} s left)`);
  return `turn ${turn} of ${turns}, ${titleOf(contestant)}: ${came}${left}`;
}

const OUTCOME: Readonly<Record<CompareEntry['outcome'], string>> = {
  verified: pc.green('verified'),
  unverified: pc.yellow('not verified'),
  failed: pc.red('FAILED'),
  impossible: 'not possible',
  same: 'the same',
};

/** `✔ blackout 10 ms, ✘ network gap 25 ms`: told apart without colour, too. */
export const goalsText = (entry: CompareEntry): string =>
  goalsOf(entry)
    .map((goal) => `${goal.reached ? '✔' : '✘'} ${HEADS[goal.of]} ${goalText(goal)}`)
    .join(', ');

const goalText = ({ of, ns, atLeast }: GoalOf): string => `${atLeast ? 'at least ' : ''}${FORMATS[of](ns)}`;

/** A comparison of all approaches, `RUNS` times each, is meant to take no longer. */
const ALL_NS = 600e9;

/** Each figure that is meant to be reached, and how far that is: of approaches with goals of their own, and of the whole. */
export function goalRows(comparison: Comparison): readonly (readonly string[])[] {
  const { entries, tookNs, runs } = comparison;
  const rows = entries
    .filter(({ ownGoals }) => ownGoals)
    .flatMap((entry) => {
      const measured =
        entry.outcome === 'same' ? entries.find((one) => titleOf(one) === entry.reason)! : entry;
      const goals = goalsOf({ goals: entry.goals, figures: measured.figures });
      if (goals.length === 0) return [[titleOf(entry), '', '', OUTCOME[entry.outcome], '✘ not reached']];
      return goals.map((goal) => [
        titleOf(entry),
        HEADS[goal.of],
        goal.atLeast ? goalText(goal) : `at most ${goalText(goal)}`,
        spreadText(goal.of, measured.figures[goal.of]),
        reachedText(goal.reached),
      ]);
    });
  const whole = EFFORTS.every((effort) => entries.some((entry) => entry.effort === effort));
  if (!whole || runs !== RUNS || tookNs === undefined) return rows;
  const all = ['this comparison', 'in all', `at most ${formatTime(ALL_NS)}`, formatTime(tookNs)];
  return [...rows, [...all, reachedText(tookNs <= ALL_NS)]];
}

const reachedText = (reached: boolean): string => (reached ? '✔ reached' : '✘ not reached');

export const GOAL_HEADS: readonly string[] = ['approach', 'figure', 'goal', 'median', ''];

/** The goals alone, as a table and the conditions. */
export function goalsTable(comparison: Comparison): string {
  const rows = goalRows(comparison);
  return rows.length === 0 ? 'no goals' : table(GOAL_HEADS, rows);
}

/** The table, and below it what stands behind its words. `width`: of the terminal. */
export function compareText(comparison: Comparison, width?: number): string {
  const { entries, scenario, runs, host } = comparison;
  const names = Object.keys(HEADS) as (keyof Figures)[];
  const run = entries.filter(({ outcome }) => outcome !== 'impossible' && outcome !== 'same');
  const rows = run.map((entry) => [
    titleOf(entry),
    ...names.map((name) => spreadText(name, entry.figures[name], SPREAD.includes(name))),
    OUTCOME[entry.outcome],
    goalsText(entry),
  ]);
  const drawn = table(['approach', ...names.map((name) => HEADS[name]), 'outcome', 'goals'], rows, {
    width,
    spare: ['rounds', 'bytes', 'in all', 'lost', 'host CPU', 'guest CPU', 'request'],
  });
  const notes = entries.flatMap((entry) => {
    if (entry.outcome === 'impossible') return [`${titleOf(entry)} is not possible here: ${entry.reason}`];
    if (entry.outcome === 'same') return [`${titleOf(entry)} is the same choice as ${entry.reason}`];
    const beside = [chosenBeside(entry), givenFor(entry, comparison)]
      .filter((words) => words !== '')
      .join(', ');
    const failed = entry.runs.filter(({ outcome }) => outcome === 'failed').length;
    return [
      ...(beside === '' ? [] : [pc.dim(`${titleOf(entry)}: with ${beside}`)]),
      ...(entry.reason === undefined
        ? []
        : [pc.red(`${titleOf(entry)}: ${failed} of ${entry.runs.length} runs failed: ${entry.reason}`)]),
    ];
  });
  return [
    '',
    drawn,
    `medians of ${runs} ${runs === 1 ? 'run' : 'runs'} each, in turn; in brackets the least and the most`,
    'CPU: of the vCPUs, and of all else in both VMMs, from the command until traffic flowed again',
    ...notes,
    ...(entries.some(({ ownGoals }) => ownGoals) ? ['', goalsTable(comparison)] : []),
    pc.dim(
      `${scenario.workload}, ${formatBytes(scenario.memoryBytes)}, ${formatCount(scenario.rate)} packets/s of each flow, seed ${scenario.seed}; ` +
        `${host.cpu}, ${host.cores} cores, Node ${host.node}`,
    ),
    '',
  ].join('\n');
}
