/** `ferry compare`: the same guest, workload and traffic moved by each approach in turn, and what each cost. */
import { type Command, Option } from 'commander';
import type { Effort } from '../../migration/approach.js';
import type { CircumstanceAxis, CircumstanceTable } from '../compare/circumstances/circumstance.js';
import { CIRCUMSTANCE_AXES, fillTable, tableStatus } from '../compare/circumstances/run.js';
import { cellLine, circumstancesText } from '../compare/circumstances/text.js';
import {
  type CompareOptions,
  compare,
  compareStatus,
  RUNS,
  SETTLE_MS,
  WORKLOAD,
} from '../compare/compare.js';
import { AXES, type Axis, type CompareWords } from '../compare/contestants.js';
import type { Comparison } from '../compare/figures.js';
import { compareText, progressLine } from '../compare/text.js';
import { labErrors } from '../errors.js';
import { type MoveFlags, moveOptions, optionsOf } from '../move/move-options.js';
import { WholeFile } from '../move/whole-file.js';
import { parseApproach } from '../options/approaches.js';
import { exitStatuses } from '../options/exit-statuses.js';
import { optionValue } from '../options/option-value.js';
import { parseWhole } from '../options/quantities.js';

const NAME = 'ferry compare';
const RUNS_MAX = 100;

interface Flags extends Omit<MoveFlags, Effort> {
  readonly axis?: string;
  readonly runs?: number;
  readonly goals?: boolean;
  readonly tracking?: readonly string[];
  readonly stop?: readonly string[];
  readonly start?: readonly string[];
  readonly report?: string;
}

const EXAMPLES = `
Examples:
  ferry compare                                        every approach, ${RUNS} times, in turn
  ferry compare --axis tracking --rate 20000           how it is known what the device wrote
  ferry compare --axis tracking --tracking iommu-dirty,module:docs/examples/scan-late.mjs --runs 5
                                                       one of your own beside another
  ferry compare --axis stop --runs 1 --report stops.html
                                                       with pictures; open stops.html in a browser
  ferry compare --goals                                figures to reach, and what was reached
  ferry compare --axis destination                     which start copes with another device at the destination
  ferry compare --axis guest                           which stop comes to its end with a guest that does not help

What this machine, its device or its guest does not allow is listed with the reason. A run that fails is shown as failed, and the
others go on.

${exitStatuses('each approach that the machine allows was verified in each run', ['refused', 'not-verified', 'environment'])}`;

export function define(command: Command): void {
  const value = <T>(flag: string, parse: (text: string) => T): ((text: string) => T) =>
    optionValue(NAME, flag, parse);
  const names = (effort: Effort): ((text: string) => readonly string[]) =>
    value(`--${effort}`, (text) => text.split(',').map(parseApproach(effort)));
  command
    .addOption(
      new Option(
        '--axis <what>',
        'what is compared: approaches along one effort, or all; or how each ends where something else differs (default: all)',
      ).choices([...AXES, ...CIRCUMSTANCE_AXES.map(({ name }) => name)]),
    )
    .option(
      '--runs <n>',
      `moves by each approach, 1 to ${RUNS_MAX} (default: ${RUNS})`,
      value('--runs', (text) => parseWhole(text, { min: 1, max: RUNS_MAX })),
    )
    .option('--goals', 'only approaches that have figures to reach')
    .option('--tracking <names>', BY_NAMES, names('tracking'))
    .option('--stop <names>', BY_NAMES, names('stop'))
    .option('--start <names>', BY_NAMES, names('start'));
  moveOptions(command, NAME, { workload: WORKLOAD, settle: `${SETTLE_MS / 1000}s` })
    .option('--report <file>', 'write it with pictures, as one HTML file that needs nothing else')
    .allowExcessArguments(false)
    .addHelpText('after', EXAMPLES)
    .action(async () => {
      const { axis, runs, goals, tracking, stop, start, report, ...flags } = command.optsWithGlobals<Flags>();
      const approaches: CompareWords = { tracking, stop, start };
      const options = { ...optionsOf(flags), approaches };
      const circumstances = CIRCUMSTANCE_AXES.find(({ name }) => name === axis);
      const idle = runs !== undefined ? '--runs' : goals === true ? '--goals' : undefined;
      if (circumstances !== undefined && idle !== undefined) {
        const why = `${idle} says nothing with --axis ${axis}: each cell is one move`;
        throw labErrors.error('usage', { why, command: NAME });
      }
      const file = report === undefined ? undefined : new WholeFile(report, 'report');
      const told = (line: string): void => {
        // It is long, and whoever puts the figures into a file may look on.
        if (!flags.json) process.stdout.write(`${line}\n`);
        else if (process.stderr.isTTY) process.stderr.write(`${line}\n`);
      };
      const found =
        circumstances === undefined
          ? await compared({ ...options, axis: axis as Axis | undefined, runs, goals }, told)
          : await filled(circumstances, options, told);
      const { columns } = process.stdout;
      process.stdout.write(flags.json ? `${JSON.stringify(found.data, null, 2)}\n` : found.text(columns));
      const cut = file?.write(await found.html());
      file?.close();
      process.exitCode = found.status;
      if (cut !== undefined && process.exitCode === 0) throw cut;
    });
}

/** What came of it, for each way to say so. */
interface Found {
  readonly data: Comparison | CircumstanceTable;
  readonly status: number;
  text(width: number | undefined): string;
  html(): Promise<string>;
}

async function compared(options: CompareOptions, told: (line: string) => void): Promise<Found> {
  const data = await compare(options, (progress) => told(progressLine(progress)));
  return {
    data,
    status: compareStatus(data),
    text: (width) => compareText(data, width),
    html: async () => (await import('../compare/report/report.js')).reportHtml(data),
  };
}

async function filled(
  axis: CircumstanceAxis,
  options: CompareOptions,
  told: (line: string) => void,
): Promise<Found> {
  const data = await fillTable(axis, options, (progress) => told(cellLine(progress)));
  return {
    data,
    status: tableStatus(data),
    text: (width) => circumstancesText(data, width),
    html: async () => (await import('../compare/report/circumstances.js')).circumstancesHtml(data),
  };
}

const BY_NAMES =
  'where it is compared: those to compare, names or module:PATH with commas (default: all); else the one to use (default: auto)';
