// Takes the details that only pictures need out of a comparison, for docs: node scripts/strip-comparison.mjs FILE.json
import { readFileSync } from 'node:fs';

const comparison = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const entries = comparison.entries.map(({ detail, runs, ...entry }) => ({ ...entry, runs: [] }));
process.stdout.write(`${JSON.stringify({ ...comparison, entries }, null, 2)}\n`);
