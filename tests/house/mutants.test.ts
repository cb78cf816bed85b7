/** Planted defects fit the tree that they are for. What notices them is for `npm run mutants`. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { applied, parseMutant } from '../mutants/patch.js';

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
