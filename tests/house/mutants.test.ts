/** Planted defects fit the tree that they are for. What notices them is for `npm run mutants`. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { endsByItself } from '../mutants/hanging.js';
import { applied, parseMutant } from '../mutants/patch.js';
import { foundIn, pageWith, type Simulated } from '../mutants/seeds.js';

const root = new URL('../../', import.meta.url);
const folder = new URL('tests/mutants/', root);
const read = (path: string): string => readFileSync(new URL(path, root), 'utf8');
const names = readdirSync(folder)
  .filter((file) => file.endsWith('.patch'))
  .map((file) => file.slice(0, -'.patch'.length));

const PATCH = [
  'Defect: two is three',
  'Area: base',
  'Kind: plain',
  'Checker: arithmetic',
  'Test: tests/a.test.ts',
  '',
  '--- a/x.ts',
  '+++ b/x.ts',
  '@@ -1,3 +1,3 @@',
  ' one',
  '-two',
  '+three',
  ' four',
  '',
];

describe('planted defects', () => {
  it('are enough of both kinds, and each has its header, its place, and tests that there are', () => {
    const mutants = names.map((name) => parseMutant(name, read(`tests/mutants/${name}.patch`)));
    for (const mutant of mutants) {
      for (const [path, text] of applied(mutant, read)) expect(text, path).not.toBe(read(path));
      for (const test of mutant.tests)
        expect(existsSync(new URL(test, root)), `${mutant.name}: ${test}`).toBe(true);
      expect(
        mutant.hunks.every(({ path }) => !path.startsWith('tests/')),
        mutant.name,
      ).toBe(true);
    }
    expect(new Set(mutants.map(({ defect }) => defect)).size).toBe(mutants.length);
  });

  it('are all in the table, and nothing else is', () => {
    const rows = [...read('docs/mutants.md').matchAll(/^\| ([\w-]+) \| (?!area)/gm)].map(([, name]) => name);
    expect(rows.toSorted()).toEqual(names.toSorted());
  });

  it('in the simulator: the first seed that failed counts, and a run that tells nothing has failed', () => {
    const failure = (seed: number) => ({
      seed,
      violations: [{ checker: 'one-runner', finding: `of ${seed}` }],
    });
    const out = JSON.stringify({ failures: [failure(9), failure(4)] });
    expect(foundIn(out, 1)).toEqual({ seed: 4, checker: 'one-runner', finding: 'of 4' });
    expect(foundIn(JSON.stringify({ failures: [] }), 0)).toBeUndefined();
    expect(foundIn('', null, 8)).toEqual({ seed: 8, checker: 'none', finding: 'it did not end' });
    expect(foundIn('', 70)?.finding).toBe('it ended with status 70');
  });

  it('in the simulator: a run is given up that rests, or takes more than any, and one that has no time is not', async () => {
    const running = (program: string) => spawn(process.execPath, ['--eval', program], { stdio: 'ignore' });
    const judged = async (program: string, cpuMs: number, rests?: number): Promise<boolean> => {
      const child = running(program);
      try {
        return await endsByItself(child, cpuMs, rests);
      } finally {
        child.kill('SIGKILL');
      }
    };
    expect(await judged('', 60_000)).toBe(true);
    expect(await judged('for (;;);', 500)).toBe(false);
    expect(await judged('setInterval(() => {}, 2 ** 30)', 60_000, 4)).toBe(false);
    // Stopped from outside, as a batch is beside a measurement: it goes on later.
    const child = running('setTimeout(() => {}, 100)');
    try {
      child.kill('SIGSTOP');
      setTimeout(() => child.kill('SIGCONT'), 3000);
      expect(await endsByItself(child, 60_000, 3)).toBe(true);
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('in the simulator: the page keeps rows of before, and has one for each, with why for those that it can not meet', () => {
    const result = (name: string, found?: Simulated['found']): Simulated => ({ name, seeds: 5, found });
    const head =
      'words\n\n| name | seeds run | first seed that failed | checker | finding |\n|---|---|---|---|---|\n';
    const listed = (name: string, why?: string) => ({ name, why, test: `tests/${name}.test.ts` });
    const first = pageWith(
      head,
      [result('b'), result('gone')],
      ['a', 'b', 'c', 'gone'].map((name) => listed(name)),
    );
    const found = { seed: 3, checker: 'bounded-time', finding: 'a | b\nmore' };
    const page = pageWith(
      first,
      [result('c', found)],
      [listed('c'), listed('d', 'one vCPU'), listed('a'), listed('b')],
    );
    expect(page.slice(head.length).split('\n')).toEqual([
      '| a | not run | | | |',
      '| b | 5 | **none** | | |',
      '| c | 5 | 3 | bounded-time | a \\| b |',
      '| d | | can not be met | tests/d.test.ts | one vCPU |',
      '',
    ]);
    expect(page.startsWith(head)).toBe(true);
  });

  it('a patch without place, with two, or with a wrong header is refused (the check can fail)', () => {
    const mutant = parseMutant('m', PATCH.join('\n'));
    expect(applied(mutant, () => 'zero\none\ntwo\nfour\n').get('x.ts')).toBe('zero\none\nthree\nfour\n');
    expect(() => applied(mutant, () => 'one\n2\nfour\n')).toThrow('m: x.ts has 0 places');
    expect(() => applied(mutant, () => 'one\ntwo\nfour\none\ntwo\nfour\n')).toThrow('2 places');
    const without = (at: number): string => PATCH.filter((_, i) => i !== at).join('\n');
    expect(() => parseMutant('m', without(0))).toThrow("lacks 'Defect'");
    expect(() => parseMutant('m', without(4))).toThrow("lacks 'Test'");
    expect(() => parseMutant('m', PATCH.join('\n').replace('plain', 'odd'))).toThrow("Kind is 'odd'");
    expect(() => parseMutant('m', PATCH.slice(0, 6).join('\n'))).toThrow('no change');
  });
});
