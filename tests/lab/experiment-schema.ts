/** The JSON schema of experiments, for editors: what `ferry run` judges by, as far as a schema can say it. Run, it writes the file. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { toJsonSchema } from '@valibot/to-json-schema';
import { experimentShape } from '../../lab/experiment/format.js';

/** As the file has it. */
export function experimentSchema(): object {
  // What a check of ours says beyond a pattern is said when it runs.
  const made = toJsonSchema(experimentShape, { ignoreActions: ['check'] });
  return { title: 'An experiment of vf-ferry', description: 'docs/experiments.md explains it', ...made };
}

const [, self, file] = process.argv;
if (self === fileURLToPath(import.meta.url))
  writeFileSync(file!, `${JSON.stringify(experimentSchema(), null, 2)}\n`);
