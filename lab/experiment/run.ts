/**
 * Experiments, run: for `ferry run`, and for other people's test suites.
 *
 *     const { held, runs } = await runExperiment('experiments/cut-before-commit.json');
 */
import { labErrors } from '../errors.js';
import type { Experiment, Harness } from './format.js';
import { runInProcesses } from './in-processes.js';
import { SimulatedHarness } from './in-simulator.js';
import { type ExperimentRun, findingsOf, measuredIn, type Watched } from './outcome.js';
import { experimentOf, readExperiment } from './read.js';

export interface RunOptions {
  /** Only there; wherever the experiment says if absent. */
  readonly harness?: Harness;
  /** In each harness; 5 in the simulator, each with the next seed, and one of processes if absent. */
  readonly runs?: number;
  /** The first of the simulator's; 1 if absent. */
  readonly seed?: number;
  /** Told of each run when it has ended. */
  readonly onRun?: (run: ExperimentRun) => void;
}

export interface ExperimentResult {
  readonly experiment: string;
  readonly question: string;
  readonly answer: string | undefined;
  readonly runs: readonly ExperimentRun[];
  /** Whether everything held in every run. */
  readonly held: boolean;
}

const RUNS: Readonly<Record<Harness, number>> = { simulator: 5, processes: 1 };
export const FIRST_SEED = 1;

/** Boots its guest once for as many experiments as there are. */
const simulator = new SimulatedHarness();

/**
 * Runs an experiment: a file by its name, or what such a file holds. Rejects with `lab/experiment` if it is none, with
 * `lab/experiment-elsewhere` if it is not for the harness, and with what kept processes from starting. What does not hold is told in
 * `findings` of the runs.
 */
export async function runExperiment(
  fileOrExperiment: string | Experiment,
  options: RunOptions = {},
): Promise<ExperimentResult> {
  const experiment =
    typeof fileOrExperiment === 'string' ? readExperiment(fileOrExperiment) : experimentOf(fileOrExperiment);
  const { name, question, answer } = experiment;
  const { harness: only, seed: first = FIRST_SEED, onRun } = options;
  const harnesses = [...new Set(experiment.harness)].filter((one) => only === undefined || one === only);
  if (only !== undefined && harnesses.length === 0) {
    const facts = { name, harness: only, harnesses: experiment.harness.join(', ') };
    throw labErrors.error('experiment-elsewhere', facts);
  }
  const runs: ExperimentRun[] = [];
  const add = (run: ExperimentRun): void => {
    runs.push(run);
    onRun?.(run);
  };
  for (const harness of harnesses) {
    for (let run = 1; run <= (options.runs ?? RUNS[harness]); run++) {
      if (harness === 'simulator') {
        const seed = first + run - 1;
        const { hash, ...watched } = await simulator.run(experiment, seed);
        add({ experiment: name, harness, run, seed, hash, ...judged(experiment, watched) });
      } else {
        add({ experiment: name, harness, run, ...judged(experiment, await runInProcesses(experiment)) });
      }
    }
  }
  return {
    experiment: name,
    question,
    answer,
    runs,
    held: runs.every(({ findings }) => findings.length === 0),
  };
}

function judged(
  experiment: Experiment,
  watched: Watched,
): Pick<ExperimentRun, 'guest' | 'source' | 'destination' | 'measured' | 'findings'> {
  const { guest, happened } = watched;
  const { source, destination } = happened;
  return {
    guest,
    source,
    destination,
    measured: measuredIn(happened),
    findings: findingsOf(experiment, watched),
  };
}
