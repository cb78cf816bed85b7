/** `ferry run`: experiments that are files, in virtual time or on real processes. */
import { type Command, Option } from 'commander';
import { EXIT_STATUS } from '../../base/exit-status.js';
import { labErrors } from '../errors.js';
import { HARNESSES, type Harness } from '../experiment/format.js';
import type { ExperimentRun } from '../experiment/outcome.js';
import { experimentFiles, readExperiment } from '../experiment/read.js';
import { resultText, runLine, verdictText } from '../experiment/report.js';
import { type ExperimentResult, FIRST_SEED, runExperiment } from '../experiment/run.js';
import { exitStatuses } from '../options/exit-statuses.js';
import { optionValue } from '../options/option-value.js';
import { parseWhole } from '../options/quantities.js';

const NAME = 'ferry run';
const RUNS_MAX = 100_000;
const SEEDS = 2 ** 32;

interface Flags {
  readonly harness?: Harness;
  readonly runs?: number;
  readonly seed?: number;
  readonly check?: boolean;
  readonly json?: boolean;
}

export function define(command: Command): void {
  const whole = (flag: string, min: number, max: number): ((text: string) => number) =>
    optionValue(NAME, flag, (text) => parseWhole(text, { min, max }));
  command
    .argument('<experiment...>', 'files, or folders with files that end in .json')
    .addOption(
      new Option('--harness <name>', 'only there (default: wherever each experiment says)').choices(
        HARNESSES,
      ),
    )
    .option(
      '--runs <n>',
      'runs in each harness (default: 5 in the simulator, one of processes)',
      whole('--runs', 1, RUNS_MAX),
    )
    .option(
      '--seed <n>',
      `the simulator's first; each run has the next (default: ${FIRST_SEED})`,
      whole('--seed', 0, SEEDS - 1),
    )
    .option('--check', 'say what is wrong with the files, and run nothing')
    .addHelpText(
      'after',
      `
An experiment says in JSON what is done to a migration and when, what an operator asks for meanwhile, who must have the guest in the end,
which errors may tell of it, and within what it must be that is measured. docs/experiments.md has all of it, and
docs/examples/experiments one for each of the first questions.

Examples:
  ferry run docs/examples/experiments/cut-before-commit.json
  ferry run docs/examples/experiments --harness simulator --runs 100
  ferry run docs/examples/experiments/two-generals.json --json
  ferry run --check docs/examples/experiments

${exitStatuses('everything held in each run', ['refused', 'not-verified', 'failed', 'environment'])}`,
    )
    .action((paths: readonly string[]) => run(paths, command.optsWithGlobals<Flags>()));
}

async function run(paths: readonly string[], { harness, runs, seed, check, json }: Flags): Promise<void> {
  // A mistake in the last is told before the first has taken its time.
  const files = experimentFiles(paths).map((path) => ({ path, experiment: readExperiment(path) }));
  const wanted = files.filter(
    ({ experiment }) => harness === undefined || experiment.harness.includes(harness),
  );
  if (check || wanted.length === 0) {
    if (files.length === 0)
      throw labErrors.error('usage', { why: `no file of ${paths.join(', ')} ends in .json`, command: NAME });
    if (!check) {
      const [{ experiment }] = files as [(typeof files)[number]];
      const facts = { name: experiment.name, harness: harness!, harnesses: experiment.harness.join(', ') };
      throw labErrors.error('experiment-elsewhere', facts);
    }
    const data = files.map(({ path, experiment }) => ({
      path,
      name: experiment.name,
      harness: experiment.harness,
    }));
    process.stdout.write(
      json
        ? `${JSON.stringify(data, null, 2)}\n`
        : `${data.map(({ path }) => `${path}: nothing wrong\n`).join('')}`,
    );
    return;
  }
  const results: ExperimentResult[] = [];
  for (const { path, experiment } of wanted) {
    const result = await runExperiment(experiment, {
      ...(harness && { harness }),
      ...(runs !== undefined && { runs }),
      ...(seed !== undefined && { seed }),
      onRun: (one) => {
        if (!json || process.stderr.isTTY) process.stderr.write(`${runLine(one)}\n`);
      },
    });
    results.push(result);
    if (!json)
      process.stdout.write(`${resultText(result, process.stdout.columns, (one) => again(path, one))}\n`);
  }
  if (results.some(({ held }) => !held)) process.exitCode = EXIT_STATUS['not-verified'];
  process.stdout.write(json ? `${JSON.stringify(results, null, 2)}\n` : verdictText(results));
}

const again = (path: string, { harness, seed }: ExperimentRun): string =>
  `${NAME} ${path} --harness ${harness} --runs 1${seed === undefined ? '' : ` --seed ${seed}`}`;
