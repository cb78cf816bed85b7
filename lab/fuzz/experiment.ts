/**
 * Experiments as files that somebody got from somewhere. One that is taken says what `JSON.parse` finds in it, and is taken again as it
 * is written back; one that is refused is so with places that are in the text.
 */
import { isDeepStrictEqual } from 'node:util';
import { isFerryError } from '../../base/errors.js';
import type { SeededRandom } from '../../base/random.js';
import type { Experiment, ExperimentFault, ExperimentPlace } from '../experiment/format.js';
import { parseExperiment } from '../experiment/read.js';
import type { FuzzTarget, Outcome } from './engine.js';
import { mutateBytes, mutateTree } from './mutate.js';

const PLACES: readonly ExperimentPlace[] = [
  { message: 'commit' },
  { message: 'ping', edge: 'after', nth: 3, from: 'source' },
  { phase: 'rounds' },
  { dataByte: 40 },
  { controlByte: 30 },
  { sent: 500_000 },
  { pages: { from: 3, to: 9 } },
  { time: '2.5ms' },
  { event: 'MIGRATION_PASS', side: 'destination', nth: 2, where: { pass: 2 } },
];
const FAULTS: readonly ((at: ExperimentPlace) => ExperimentFault)[] = [
  (at) => ({ do: 'cut', at }),
  (at) => ({ do: 'delay', at, time: '20ms', jitter: '1s' }),
  (at) => ({ do: 'limit', at, rate: '20MiB/s' }),
  (at) => ({ do: 'stall', at, time: '1min' }),
  (at) => ({ do: 'half-open', at, lost: 'source' }),
  (at) => ({ do: 'truncate', at }),
  (at) => ({ do: 'flip', at, bit: 7 }),
  (at) => ({ do: 'swallow', at }),
  (at) => ({ do: 'repeat', at, message: 'hello' }),
  (at) => ({ do: 'garbage', at }),
  (at) => ({ do: 'stranger', at, door: 'data' }),
  (at) => ({ do: 'kill', at, process: 'fabric' }),
  (at) => ({ do: 'suspend', at, process: 'destination', time: '400ms' }),
  (at) => ({ do: 'unreachable', at }),
];

function sample(random: SeededRandom): Experiment {
  const some = <T>(make: () => T): T[] => Array.from({ length: random.below(3) }, make);
  return {
    name: 'sample',
    question: 'Does it hold?',
    harness: [random.pick(['simulator', 'processes'] as const)],
    ...(random.chance(0.3) && { machine: { memory: '128MiB', vcpus: 2, behaviour: 'late' } }),
    ...(random.chance(0.3) && { workload: { workingSet: '8MiB' } }),
    ...(random.chance(0.1) && { host: { busyCores: 2 } }),
    ...(random.chance(0.3) && { approach: { tracking: 'auto', stop: 'auto', start: 'auto' } }),
    ...(random.chance(0.3) && { parameters: { 'peer-timeout': 4000, verify: 'full', 'max-rounds': 3 } }),
    ...(random.chance(0.3) && { patience: 'short' }),
    faults: some(() => random.pick(FAULTS)(random.pick(PLACES))),
    operator: some(() => ({
      execute: 'migrate-set-parameters',
      arguments: { 'max-rounds': 3 },
      at: random.pick(PLACES),
      refused: random.chance(0.5),
    })),
    must: { guest: 'either', errors: ['migration/cancelled'], hold: ['one-runner'] },
    measure: { took: { max: '10s' }, lost: { min: 1, max: 100 } },
  };
}

/** As people write it. */
function written(value: unknown, random: SeededRandom): string {
  const plain =
    JSON.stringify(value, (_key, item) => (item instanceof Uint8Array ? [...item] : item)) ?? 'null';
  if (random.chance(0.1)) return plain.replaceAll('e', '\\u0065');
  return random.chance(0.5) ? plain : plain.replace(/[:,{[]/g, (sign) => `${sign}\n `);
}

function parsedPlainly(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

const NAME = 'sample.json';

/** Whether each line of a refusal begins with a place that is in the text. */
function misplaced(message: string, text: string): string | undefined {
  const lines = text.split('\n');
  return message.split('\n').find((told) => {
    if (/^and \d+ more$/.test(told)) return false;
    const [, line, column] = new RegExp(`^${NAME}:(\\d+):(\\d+): `).exec(told) ?? [];
    return !(Number(column) <= (lines[Number(line) - 1]?.length ?? -1) + 1);
  });
}

/** `parse` is the product's, unless a test puts a broken one in its place. */
export function experimentTarget(parse: typeof parseExperiment = parseExperiment): FuzzTarget {
  return {
    name: 'experiment',
    make(random) {
      const valid = sample(random);
      const text = written(random.chance(0.4) ? mutateTree(valid, random) : valid, random);
      const bytes = new TextEncoder().encode(text);
      return random.chance(0.3) ? mutateBytes(bytes, random) : bytes;
    },
    run(input): Outcome {
      const text = new TextDecoder().decode(input);
      let experiment: Experiment;
      try {
        experiment = parse(text, NAME);
      } catch (error) {
        if (!isFerryError(error) || error.code !== 'lab/experiment') throw error;
        const line = misplaced(error.message, text);
        return line === undefined ? 'refused' : { problem: `refused, and nowhere in the text: ${line}` };
      }
      if (!isDeepStrictEqual(parsedPlainly(text)?.value, experiment)) {
        return { problem: 'taken, and not as it is written' };
      }
      if (!isDeepStrictEqual(parse(JSON.stringify(experiment), NAME), experiment)) {
        return { problem: 'taken, and another one when it is written back' };
      }
      return 'accepted';
    },
  };
}
