/**
 * Which planted defects the simulator finds, and within how many seeds: `npm run mutants -- --seeds N [NAME…]`. Only those whose
 * code it runs, by what is in the bundle of its threads; the table is `docs/mutants-simulated.md`.
 */
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Mutant } from './patch.js';

export interface Simulated {
  readonly name: string;
  /** Seeds that ran, from 0 on. */
  readonly seeds: number;
  /** The first that failed, and what its first finding is; undefined if none did. */
  readonly found: { readonly seed: number; readonly checker: string; readonly finding: string } | undefined;
}

/** Beyond what any seed takes. */
const SEED_MS_MAX = 20_000;
const FINDING_MAX = 110;
const BEGIN = '| name | seeds run | first seed that failed | checker | finding |';

/** Sources that the threads of the simulator are made of, by their paths in the tree at `root`. */
export function simulatedSources(root: string): ReadonlySet<string> {
  const map = readFileSync(join(root, 'dist/bin/crew-worker.js.map'), 'utf8');
  const { sources } = JSON.parse(map) as { readonly sources: readonly string[] };
  return new Set(sources.map((source) => source.replace(/^(\.\.\/)+/, '')));
}

/** Whether the simulator runs code that `mutant` changes. */
export const isSimulated = ({ hunks }: Mutant, sources: ReadonlySet<string>): boolean =>
  hunks.some(({ path }) => sources.has(path));

/** Runs seeds from 0 on in the tree `copy`, which is built and has the defect `name`. */
export async function simulateIn(copy: string, name: string, seeds: number): Promise<Simulated> {
  const range = `0..${seeds - 1}`;
  const ferry = join(copy, 'dist/bin/ferry.js');
  const child = spawn(process.execPath, [ferry, 'simulate', '--seeds', range, '--jobs', '1', '--json'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => {
    out += chunk.toString();
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), seeds * SEED_MS_MAX);
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  clearTimeout(timer);
  return { name, seeds, found: foundIn(out, status) };
}

interface Failure {
  readonly seed: number;
  readonly violations: readonly { readonly checker: string; readonly finding: string }[];
}

/** The first failure that the output of `ferry simulate --json` tells of; a run without such an output is one by itself. */
export function foundIn(out: string, status: number | null): Simulated['found'] {
  let failures: readonly Failure[];
  try {
    ({ failures } = JSON.parse(out) as { readonly failures: readonly Failure[] });
  } catch {
    const finding = status === null ? 'it did not end' : `it ended with status ${status}`;
    return { seed: 0, checker: 'none', finding };
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

/** The page with the rows of `results` in the place of those that were there; `known` are all that the simulator can meet. */
export function pageWith(page: string, results: readonly Simulated[], known: readonly string[]): string {
  const at = page.indexOf(BEGIN);
  const rows = new Map(
    [...page.slice(at).matchAll(/^\| ([\w-]+) \| .*$/gm)].map(([row, name]) => [name!, row]),
  );
  for (const result of results) rows.set(result.name, rowOf(result));
  const all = known.toSorted().map((name) => rows.get(name) ?? `| ${name} | not run | | | |`);
  return `${page.slice(0, at)}${BEGIN}\n|---|---|---|---|---|\n${all.join('\n')}\n`;
}

/** Writes the page of the tree at `root` anew. */
export function writePage(root: string, results: readonly Simulated[], known: readonly string[]): void {
  const path = join(root, 'docs/mutants-simulated.md');
  writeFileSync(path, pageWith(readFileSync(path, 'utf8'), results, known));
}
