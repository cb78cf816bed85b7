/**
 * Which planted defects the simulator finds, and within how many seeds: `npm run mutants -- --seeds N [NAME…]`. Of each that it can
 * meet; the table is `docs/mutants-simulated.md`.
 */
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { endsByItself } from './hanging.js';
import type { Mutant } from './patch.js';

export interface Simulated {
  readonly name: string;
  /** Seeds that ran, from 0 on: no more portions are begun after one in which a seed failed. */
  readonly seeds: number;
  /** The first that failed, and what its first finding is; undefined if none did. */
  readonly found: { readonly seed: number; readonly checker: string; readonly finding: string } | undefined;
}

/** Processor time beyond what any seed takes, and what a run takes before its first. */
const SEED_CPU_MS_MAX = 20_000;
const START_CPU_MS_MAX = 60_000;
/** Most defects that any seed shows are shown by one of the first. */
const FIRST_PORTION = 8;
const FINDING_MAX = 110;
const BEGIN = '| name | seeds run | first seed that failed | checker | finding |';

/** Sources that the threads of the simulator are made of, by their paths in the tree at `root`. */
export function simulatedSources(root: string): ReadonlySet<string> {
  const map = readFileSync(join(root, 'dist/bin/crew-worker.js.map'), 'utf8');
  const { sources } = JSON.parse(map) as { readonly sources: readonly string[] };
  return new Set(sources.map((source) => source.replace(/^(\.\.\/)+/, '')));
}

/** Why the simulator can't meet `mutant`; undefined if it can. */
export function unmet({ hunks, simulator }: Mutant, sources: ReadonlySet<string>): string | undefined {
  return simulator ?? (hunks.some(({ path }) => sources.has(path)) ? undefined : 'its code is not run there');
}

/** Runs at most `seeds` seeds from 0 on in the tree `copy`, whose simulator is built and has the defect `name`. */
export async function simulateIn(copy: string, name: string, seeds: number): Promise<Simulated> {
  let ran = 0;
  let found: Simulated['found'];
  for (let portion = FIRST_PORTION; ran < seeds && found === undefined; portion *= 4) {
    const to = Math.min(seeds, ran + portion) - 1;
    found = await simulateSome(copy, ran, to);
    ran = to + 1;
  }
  return { name, seeds: ran, found };
}

async function simulateSome(copy: string, from: number, to: number): Promise<Simulated['found']> {
  const ferry = join(copy, 'dist/bin/ferry.js');
  const args = ['simulate', '--seeds', `${from}..${to}`, '--jobs', '1', '--json'];
  const child = spawn(process.execPath, [ferry, ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  const closed = new Promise<number | null>((resolve) => child.on('close', resolve));
  if (!(await endsByItself(child, START_CPU_MS_MAX + (to - from + 1) * SEED_CPU_MS_MAX)))
    child.kill('SIGKILL');
  return foundIn(out, await closed, from);
}

interface Failure {
  readonly seed: number;
  readonly violations: readonly { readonly checker: string; readonly finding: string }[];
}

/** The first failure that the output of `ferry simulate --json` tells of; a run from `seed` on without such an output is one by itself. */
export function foundIn(out: string, status: number | null, seed = 0): Simulated['found'] {
  let failures: readonly Failure[];
  try {
    ({ failures } = JSON.parse(out) as { readonly failures: readonly Failure[] });
  } catch {
    const finding = status === null ? 'it did not end' : `it ended with status ${status}`;
    return { seed, checker: 'none', finding };
  }
  const first = failures.toSorted((a, b) => a.seed - b.seed)[0];
  const violation = first?.violations[0];
  return first && violation && { seed: first.seed, checker: violation.checker, finding: violation.finding };
}

const cell = (text: string): string => {
  const [line = ''] = text.split('\n');
  const short = line.length > FINDING_MAX ? `${line.slice(0, FINDING_MAX)}…` : line;
  return short.replaceAll('|', '\\|').replaceAll('<', '&lt;');
};

const rowOf = ({ name, seeds, found }: Simulated): string =>
  found === undefined
    ? `| ${name} | ${seeds} | **none** | | |`
    : `| ${name} | ${seeds} | ${found.seed} | ${found.checker} | ${cell(found.finding)} |`;

/** A planted defect, as the page has it: `why` the simulator can't meet it, or undefined. */
export interface Listed {
  readonly name: string;
  readonly why: string | undefined;
  /** What catches it in its place. */
  readonly test: string;
}

/** The page with the rows of `results` in the place of those that were there; `all` are all defects. */
export function pageWith(page: string, results: readonly Simulated[], all: readonly Listed[]): string {
  const at = page.indexOf(BEGIN);
  const rows = new Map(
    [...page.slice(at).matchAll(/^\| ([\w-]+) \| \d.*$/gm)].map(([row, name]) => [name!, row]),
  );
  for (const result of results) rows.set(result.name, rowOf(result));
  const listed = all
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, why, test }) =>
      why === undefined
        ? (rows.get(name) ?? `| ${name} | not run | | | |`)
        : `| ${name} | | can not be met | ${test} | ${cell(why)} |`,
    );
  return `${page.slice(0, at)}${BEGIN}\n|---|---|---|---|---|\n${listed.join('\n')}\n`;
}

/** Writes the page of the tree at `root` anew. */
export function writePage(root: string, results: readonly Simulated[], all: readonly Listed[]): void {
  const path = join(root, 'docs/mutants-simulated.md');
  writeFileSync(path, pageWith(readFileSync(path, 'utf8'), results, all));
}
