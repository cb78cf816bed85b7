/** Experiments on real processes: the same files as in the simulator, and one that must fail. */
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { runExperiment } from '../../dist/lab/experiment/run.js';
import { readExperiment } from '../../lab/experiment/read.js';

const file = (name: string): string =>
  fileURLToPath(new URL(`../../docs/examples/experiments/${name}.json`, import.meta.url));
const TIMEOUT_MS = 120_000;

it(
  'an operator who cancels at an event ends a move of processes',
  async () => {
    const { runs, held } = await runExperiment(file('cancel-in-mid-flight'), { harness: 'processes' });
    expect(runs.flatMap(({ findings }) => findings)).toEqual([]);
    expect(held).toBe(true);
  },
  TIMEOUT_MS,
);

it(
  'a fault and a refusal of a monitor are as an experiment says, and what is wrong with it is all that is found',
  async () => {
    const twice = readExperiment(file('twice-at-once'));
    const { runs, held } = await runExperiment(
      {
        ...twice,
        faults: [{ do: 'delay', time: '5ms', at: { phase: 'rounds' } }],
        operator: [...twice.operator!, { execute: 'stop', at: { event: 'SHUTDOWN' } }],
        must: { guest: 'source' },
        measure: { took: { max: '1ns' } },
      },
      { harness: 'processes' },
    );
    expect(held).toBe(false);
    expect(runs[0]?.findings).toEqual([
      'struck: nothing came to {"event":"SHUTDOWN","side":"source","nth":1,"where":{}}, so nothing was shown',
      'keeper: destination has the guest in the end, and not source',
      expect.stringMatching(/^measure: took is .*, which is more than 1ns$/),
    ]);
  },
  TIMEOUT_MS,
);
