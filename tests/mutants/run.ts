/**
 * Plants each defect of this folder into a copy of the tree and runs the tests that must notice it.
 *
 *     npm run mutants                      all of them
 *     npm run mutants -- NAME…             those whose names hold one of the words
 *     npm run mutants -- --json            what came of it, for programs
 *     npm run mutants -- --write           and writes what came of it into the table of docs/mutants.md
 *     npm run mutants -- --seeds N         at most the simulator's first N seeds in place of the tests; see seeds.ts
 *
 * Ends with 1 if one went unnoticed, or does not apply.
 */
import { spawn, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { applied, type Mutant, parseMutant } from './patch.js';
import { type Simulated, simulatedSources, simulateIn, unmet, writePage } from './seeds.js';

/** From `dist/tests/mutants`. */
const root = fileURLToPath(new URL('../../../', import.meta.url));
const folder = join(root, 'tests/mutants');
/** A test that a defect keeps from ending is ended, and has noticed it. */
const HANGS_AFTER_MS = 180_000;
const SAID_MAX = 110;
/** Copies that are worked on at the same time. */
const JOBS = 2;
const NOTHING = '**nothing**';
/** What the simulator's threads are made of, in one file. */
const SIMULATOR = 'crew-worker';

interface Result {
  readonly mutant: Mutant;
  /** The test that failed first; undefined if none did. */
  readonly test: string | undefined;
  readonly said: string;
  readonly seconds: number;
}

interface VitestReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly message: string;
    readonly status: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly title: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

/** Everything but history and packages; packages are linked. */
function copyTree(): string {
  const copy = mkdtempSync(join(tmpdir(), 'ferry-mutants-'));
  for (const name of readdirSync(root)) {
    if (name === '.git' || name === 'node_modules' || name === 'recordings') continue;
    cpSync(join(root, name), join(copy, name), { recursive: true, preserveTimestamps: true });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  return copy;
}

/** Runs the tests of `mutant` in `copy`; resolves with the first that failed, and what it said. */
async function runTests(copy: string, mutant: Mutant): Promise<Pick<Result, 'test' | 'said'>> {
  const output = join(copy, 'mutant-report.json');
  rmSync(output, { force: true });
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  const options = ['--reporter=json', `--outputFile=${output}`, '--bail=1'];
  const child = spawn(process.execPath, [vitest, 'run', ...mutant.tests, ...options], {
    cwd: copy,
    stdio: 'ignore',
    detached: true,
  });
  let hung = false;
  const timer = setTimeout(() => {
    hung = true;
    // The whole group, which is this run's own: workers and what tests have started.
    process.kill(-child.pid!, 'SIGKILL');
  }, HANGS_AFTER_MS);
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  clearTimeout(timer);
  if (hung) return { test: mutant.tests[0], said: `did not end within ${HANGS_AFTER_MS / 1000} s` };
  const report = JSON.parse(readFileSync(output, 'utf8')) as VitestReport;
  for (const file of report.testResults) {
    const failed = file.assertionResults.find((one) => one.status === 'failed');
    if (failed !== undefined)
      return {
        test: `${file.name.slice(copy.length + 1)}: ${failed.title}`,
        said: firstLine(failed.failureMessages[0] ?? ''),
      };
    if (file.status === 'failed')
      return { test: file.name.slice(copy.length + 1), said: firstLine(file.message) };
  }
  return {
    test: status === 0 ? undefined : mutant.tests[0],
    said: status === 0 ? '' : 'an error outside of any test',
  };
}

function firstLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours of the terminal
  const [line = ''] = text.replace(/\u001b\[[0-9;]*m/g, '').split('\n');
  return line.length > SAID_MAX ? `${line.slice(0, SAID_MAX)}…` : line;
}

/** Every step of `npm run build`, also after one that finds wrong types: a defect need not be of the right type to run. */
function build(copy: string): void {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    readonly scripts: { readonly build: string };
  };
  const PATH = `${join(root, 'node_modules/.bin')}${delimiter}${process.env.PATH}`;
  for (const step of scripts.build.split('&&')) {
    spawnSync(step, { cwd: copy, stdio: 'ignore', shell: true, env: { ...process.env, PATH } });
  }
}

/** The threads of the simulator alone. Throws an Error if they can't be made. */
function buildSimulator(copy: string): void {
  const made = join(copy, `dist/bin/${SIMULATOR}.js`);
  rmSync(made, { force: true });
  spawnSync(process.execPath, ['scripts/bundle.mjs', SIMULATOR], { cwd: copy, stdio: 'ignore' });
  if (!existsSync(made)) throw new Error('the simulator can not be built with it');
}

/** Plants `mutant` in `copy` while `work` runs; `compile` comes before, and again afterwards if that is `undone`. */
async function planted<T>(
  copy: string,
  mutant: Mutant,
  { compile, undone }: { readonly compile: () => void; readonly undone: boolean },
  work: () => Promise<T>,
): Promise<T> {
  const read = (path: string): string => readFileSync(join(root, path), 'utf8');
  const files = applied(mutant, read);
  for (const [path, text] of files) writeFileSync(join(copy, path), text);
  try {
    compile();
    return await work();
  } finally {
    for (const path of files.keys()) writeFileSync(join(copy, path), read(path));
    if (undone) compile();
  }
}

async function tryOut(copy: string, mutant: Mutant): Promise<Result> {
  const from = Date.now();
  const compile = (): void => {
    if (mutant.build) build(copy);
  };
  const ran = await planted(copy, mutant, { compile, undone: true }, () => runTests(copy, mutant));
  return { mutant, ...ran, seconds: Math.round((Date.now() - from) / 100) / 10 };
}

const cell = (text: string): string => text.replaceAll('|', '\\|').replaceAll('<', '&lt;');

const rowOf = ({ mutant, test, said, seconds }: Result): string => {
  const { name, area, kind, defect, checker } = mutant;
  const noticed = test === undefined ? NOTHING : cell(test);
  return `| ${name} | ${area} | ${kind} | ${cell(defect)} | ${cell(checker)} | ${noticed} | ${cell(said)} | ${seconds} |`;
};

/** Puts the rows of `results` in the place of those that were there; rows without a patch go. */
function write(results: readonly Result[], known: readonly string[]): void {
  const path = join(root, 'docs/mutants.md');
  const text = readFileSync(path, 'utf8');
  const rows = new Map([...text.matchAll(/^\| ([\w-]+) \| .*$/gm)].map(([row, name]) => [name!, row]));
  for (const result of results) rows.set(result.mutant.name, rowOf(result));
  const kept = [...rows].filter(([name]) => known.includes(name)).map(([, row]) => row);
  const races = kept.filter((row) => row.split(' | ')[2] === 'race').length;
  const unnoticed = kept.filter((row) => row.includes(NOTHING)).length;
  const sum = `${kept.length} defects, ${races} of them races or lost updates; ${unnoticed || 'none'} went unnoticed.`;
  const words = text.slice(0, text.indexOf('\n| name |')).replace(/^\d+ defects, .*$/m, sum);
  const head = [
    'name',
    'area',
    'kind',
    'defect',
    'what must notice it',
    'the test that did',
    'what it said',
    's',
  ];
  const table = [`| ${head.join(' | ')} |`, `|${head.map(() => '---').join('|')}|`, ...kept.toSorted()];
  writeFileSync(path, `${words}\n${table.join('\n')}\n`);
}

const args = process.argv.slice(2);
const seedsAt = args.indexOf('--seeds');
const seeds = seedsAt < 0 ? undefined : Number(args[seedsAt + 1]);
if (seeds !== undefined && !(Number.isInteger(seeds) && seeds >= 1)) {
  console.error('--seeds takes how many seeds, as in --seeds 100');
  process.exit(2);
}
const words = args.filter((arg, i) => !arg.startsWith('--') && (seedsAt < 0 || i !== seedsAt + 1));
const names = readdirSync(folder)
  .filter((file) => file.endsWith('.patch'))
  .map((file) => file.slice(0, -'.patch'.length));
const all = names.map((name) => parseMutant(name, readFileSync(join(folder, `${name}.patch`), 'utf8')));
const sources = seeds === undefined ? new Set<string>() : simulatedSources(root);
const mutants = all
  .filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)))
  .filter((mutant) => seeds === undefined || unmet(mutant, sources) === undefined);
const json = args.includes('--json');
const writes = args.includes('--write');
const listed = all.map((mutant) => ({
  name: mutant.name,
  why: unmet(mutant, sources),
  test: mutant.tests[0]!,
}));
const waiting = [...mutants];
const results: Result[] = [];
const simulated: Simulated[] = [];

/** One defect after the other, in a copy of its own. */
async function work(): Promise<void> {
  const copy = copyTree();
  try {
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      if (seeds !== undefined) {
        const one = mutant;
        const compile = (): void => buildSimulator(copy);
        const simulate = (): Promise<Simulated> => simulateIn(copy, one.name, seeds);
        const result = await planted(copy, one, { compile, undone: false }, simulate);
        simulated.push(result);
        const { found } = result;
        const verdict =
          found === undefined ? `not in ${seeds} seeds` : `seed ${found.seed}, ${found.checker}`;
        if (!json) console.log(`${one.name}: ${verdict}\n  ${found?.finding ?? ''}`);
        // Kept as it comes: all of them take long.
        if (writes) writePage(root, simulated, listed);
        continue;
      }
      const result = await tryOut(copy, mutant);
      results.push(result);
      const { test, said, seconds } = result;
      const verdict = test === undefined ? 'UNNOTICED' : 'noticed';
      if (!json) console.log(`${verdict} ${mutant.name} (${seconds} s): ${test ?? mutant.defect}\n  ${said}`);
    }
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

await Promise.all(Array.from({ length: Math.min(JOBS, mutants.length) }, work));
if (seeds !== undefined) {
  if (json) console.log(JSON.stringify(simulated, null, 2));
  if (writes) writePage(root, simulated, listed);
  process.exit(simulated.length === 0 ? 1 : 0);
}
results.sort((a, b) => (a.mutant.name < b.mutant.name ? -1 : 1));
if (json) console.log(JSON.stringify(results, null, 2));
if (writes) write(results, names);
const unnoticed = results.filter(({ test }) => test === undefined);
if (!json) console.log(`${results.length - unnoticed.length} of ${results.length} defects were noticed`);
if (unnoticed.length > 0 || results.length === 0) process.exitCode = 1;
