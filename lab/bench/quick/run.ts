/**
 * A check of performance for maintainers, in less than two minutes:
 *
 *     npm run bench:quick                  each ratio beside the committed one and the range it had
 *     npm run bench:quick -- --write       measures several times, and commits what came of it (on a calm machine)
 *
 * Ends with 1 if a ratio fell out of its range, or there are no committed ones.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import { reportOf } from '../../../vmm/process/report.js';
import { committedFrom, fallenOut, parseCommitted, quickText } from './committed.js';
import { measureRatios, type Ratios } from './ratios.js';

/** From `dist/lab/bench/quick`. */
const FILE = fileURLToPath(new URL('../../../../docs/bench-quick.json', import.meta.url));
const PASSES = 7;

const say = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

async function write(): Promise<number> {
  const passes: Ratios[] = [];
  for (let pass = 1; pass <= PASSES; pass++) {
    passes.push(await measureRatios((part) => say(`pass ${pass} of ${PASSES}: ${part} ...`)));
  }
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version };
  const committed = committedFrom(passes, machine);
  writeFileSync(FILE, `${JSON.stringify(committed, null, 2)}\n`);
  process.stdout.write(quickText(passes.at(-1)!, committed));
  return 0;
}

async function check(): Promise<number> {
  const committed = existsSync(FILE) ? parseCommitted(readFileSync(FILE, 'utf8')) : undefined;
  if (committed === undefined) {
    say(`${FILE} holds no figures of this version; npm run bench:quick -- --write makes them`);
    return 1;
  }
  const measured = await measureRatios((part) => say(`${part} ...`));
  process.stdout.write(quickText(measured, committed));
  return fallenOut(measured, committed).length === 0 ? 0 : 1;
}

const options = process.argv.slice(2);
if (options.some((option) => option !== '--write')) {
  say('the only option is --write');
  process.exitCode = 2;
} else {
  try {
    process.exitCode = await (options.length > 0 ? write() : check());
  } catch (error) {
    const { text, exitStatus } = reportOf(error, false);
    process.stderr.write(text);
    process.exitCode = exitStatus;
  }
}
