/** What came of experiments, in words. */
import { saidBy, whereWord } from '../faults/report.js';
import { table } from '../report/table.js';
import type { ExperimentRun } from './outcome.js';
import { measuredText } from './outcome.js';
import type { ExperimentResult } from './run.js';

/** Those that are left out where there is no room, the first of them first. */
const SPARE = ['lost', 'gap', 'took', 'destination says', 'source says'];

const whichRun = ({ harness, run, seed }: ExperimentRun): string =>
  harness === 'simulator' ? `simulator, seed ${seed}` : `processes, run ${run}`;

export function runLine(run: ExperimentRun): string {
  const outcome = run.findings.length === 0 ? 'as it must be' : 'WRONG';
  return `${run.experiment} (${whichRun(run)}): guest ${whereWord(run.guest)}, ${outcome}`;
}

/** `again` gives the command that makes a run once more. */
export function resultText(
  { experiment, question, answer, runs, held }: ExperimentResult,
  width: number | undefined,
  again: (run: ExperimentRun) => string,
): string {
  const { took, standstill, gap, lost } = MEASURED;
  const rows = runs.map((run) => [
    whichRun(run),
    whereWord(run.guest),
    saidBy(run.source),
    saidBy(run.destination),
    took(run),
    standstill(run),
    gap(run),
    lost(run),
    run.findings.length === 0 ? '✔' : '✘',
  ]);
  const head = ['run', 'guest', 'source says', 'destination says', 'took', 'standstill', 'gap', 'lost', ''];
  const wrong = runs.filter(({ findings }) => findings.length > 0);
  return [
    `${experiment}: ${question}`,
    table(head, rows, { width, spare: SPARE }),
    ...wrong.flatMap((run) => [
      ...run.findings.map((finding) => `✘ ${whichRun(run)}: ${finding}`),
      `  again: ${again(run)}`,
    ]),
    ...(held && answer !== undefined ? [answer] : []),
    '',
  ].join('\n');
}

const measured =
  (name: keyof ExperimentRun['measured']) =>
  ({ measured: all }: ExperimentRun): string => {
    const value = all[name];
    return value === undefined ? '' : measuredText(name, value);
  };
const MEASURED = {
  took: measured('took'),
  standstill: measured('standstill'),
  gap: measured('gap'),
  lost: measured('lost'),
} as const;

export function verdictText(results: readonly ExperimentResult[]): string {
  const held = results.filter((result) => result.held).length;
  return `${held} of ${results.length} experiments held everything\n`;
}
