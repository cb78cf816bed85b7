// Writes the JSON schema of experiments, for editors: what `ferry run` judges by, as far as a schema can say it.
import { readFileSync, writeFileSync } from 'node:fs';
import { toJsonSchema } from '@valibot/to-json-schema';
import { experimentShape } from '../dist/lab/experiment/format.js';

const file = new URL('../dist/experiment.schema.json', import.meta.url);

function written() {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

// What a check of ours says beyond a pattern is said when it runs.
const made = toJsonSchema(experimentShape, { ignoreActions: ['check'] });
const told = { title: 'An experiment of vf-ferry', description: 'docs/experiments.md explains it', ...made };
const text = `${JSON.stringify(told, null, 2)}\n`;
if (written() !== text) writeFileSync(file, text);
