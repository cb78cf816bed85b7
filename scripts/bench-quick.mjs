// A check of performance for maintainers, in less than two minutes:
//
//     npm run bench:quick                  each ratio beside the committed one and the range it had
//     npm run bench:quick -- --write       measures several times, and commits what came of it (on a calm machine)
//
// Ends with 1 if a ratio fell out of its range, or there are no committed ones.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { committedFrom, fallenOut, parseCommitted, quickText } from '../dist/lab/bench/quick/committed.js';
import { measureRatios } from '../dist/lab/bench/quick/ratios.js';

const FILE = fileURLToPath(new URL('../docs/bench-quick.json', import.meta.url));
const PASSES = 7;

async function write() {
  const passes = [];
  for (let pass = 1; pass <= PASSES; pass++) {
    passes.push(await measureRatios((part) => console.error(`pass ${pass} of ${PASSES}: ${part} ...`)));
  }
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version };
  const committed = committedFrom(passes, machine);
  writeFileSync(FILE, `${JSON.stringify(committed, null, 2)}\n`);
  console.log(quickText(passes.at(-1), committed));
  return 0;
}

async function check() {
  const committed = existsSync(FILE) ? parseCommitted(readFileSync(FILE, 'utf8')) : undefined;
  if (committed === undefined) {
    console.error(`${FILE} holds no figures of this version; npm run bench:quick -- --write makes them`);
    return 1;
  }
  const measured = await measureRatios((part) => console.error(`${part} ...`));
  console.log(quickText(measured, committed));
  return fallenOut(measured, committed).length === 0 ? 0 : 1;
}

const options = process.argv.slice(2);
if (options.some((option) => option !== '--write')) {
  console.error('the only option is --write');
  process.exitCode = 2;
} else {
  process.exitCode = await (options.length > 0 ? write() : check());
}
