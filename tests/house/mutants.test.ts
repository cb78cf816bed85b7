/** Planted defects fit the tree that they are for. What notices them is for `npm run mutants`. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
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
    expect(foundIn('', null)?.finding).toBe('it did not end');
    expect(foundIn('', 70)?.finding).toBe('it ended with status 70');
  });

  it('in the simulator: the page keeps rows of before, and has one for each that can be met, and no other', () => {
    const result = (name: string, found?: Simulated['found']): Simulated => ({ name, seeds: 5, found });
    const head =
      'words\n\n| name | seeds run | first seed that failed | checker | finding |\n|---|---|---|---|---|\n';
    const first = pageWith(head, [result('b'), result('gone')], ['a', 'b', 'c', 'gone']);
    const found = { seed: 3, checker: 'bounded-time', finding: 'a | b\nmore' };
    const page = pageWith(first, [result('c', found)], ['c', 'a', 'b']);
    expect(page.slice(head.length).split('\n')).toEqual([
      '| a | not run | | | |',
      '| b | 5 | **none** | | |',
      '| c | 5 | 3 | bounded-time | a \\| b |',
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
