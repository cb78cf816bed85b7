/** What `ferry explain` says, held against the descriptors. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { readComparison } from '../../lab/compare/comparison-file.js';
import { effortsOf, explainText, listText } from '../../lab/compare/explain.js';
import { COMPARISON_VERSION, type Comparison } from '../../lab/compare/figures.js';
import { commandLine } from '../../lab/ferry.js';
import { EFFORTS, FACETS } from '../../migration/approach.js';
import { type ApproachRegistry, builtIn } from '../../migration/registry.js';

const folder = mkdtempSync(join(tmpdir(), 'ferry-explain-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const carried = fileURLToPath(new URL('../../docs/comparison.json', import.meta.url));
const figures = { comparison: readComparison(carried), from: 'docs' };
const inOneLine = (text: string): string => text.replace(/\s+/g, ' ');
const all = EFFORTS.flatMap((effort) => builtIn[effort].map((descriptor) => ({ effort, descriptor })));

describe('each approach', () => {
  it('is in the list, by its name with its line', () => {
    const list = inOneLine(listText(builtIn));
    for (const { descriptor } of all) expect(list).toContain(`${descriptor.name} ${descriptor.text}`);
  });

  it('is explained: its steps in order, when to use it, its limits, and all that it needs', () => {
    for (const { effort, descriptor } of all) {
      const { name, steps, use, limits, needs, guestFeatures } = descriptor;
      const text = inOneLine(explainText(builtIn, effort, name, figures, 60));
      for (const [i, step] of steps.entries()) expect(text).toContain(`${i + 1}. ${inOneLine(step)}`);
      for (const words of [use, limits, ...needs.map((facet) => FACETS[facet].has), ...guestFeatures]) {
        expect(text, `${effort} ${name}`).toContain(inOneLine(words));
      }
    }
  });

  it('fits the terminal, but for words that are longer', () => {
    for (const { effort, descriptor } of all) {
      const told = explainText(
        builtIn,
        effort,
        descriptor.name,
        { ...figures, comparison: { ...figures.comparison, entries: [] } },
        60,
      );
      const long = told.split('\n').filter((line) => line.length > 60 && line.trim().includes(' '));
      // Headings are ours, and short enough for any.
      expect(long.filter((line) => line.startsWith('  '))).toEqual([]);
    }
  });

  it('names what it goes with', () => {
    const [tracking] = builtIn.tracking;
    const stop = { ...builtIn.stop[0]!, name: 'vanish', leaves: 'lost' } as const;
    const either = { ...stop, name: 'either', tries: [builtIn.stop[0]!, stop] };
    const start = { ...builtIn.start[0]!, name: 'renew', takes: ['lost'] } as const;
    const registry: ApproachRegistry = { tracking: [tracking!], stop: [stop, either], start: [start] };
    expect(explainText(registry, 'stop', 'vanish', figures)).toMatch(
      /believes its device at work: start renew/,
    );
    expect(explainText(registry, 'start', 'renew', figures)).toMatch(/: stop vanish, either/);
    expect(explainText(registry, 'stop', 'either', figures)).toMatch(/it tries .*, vanish, in this order/);
    const alone: ApproachRegistry = { ...registry, start: [] };
    expect(explainText(alone, 'stop', 'vanish', figures)).toMatch(/: start none/);
  });
});

describe('what it cost', () => {
  it('is that of the comparison, with its spread and where it was measured', () => {
    const [entry] = figures.comparison.entries;
    const text = explainText(builtIn, entry!.effort, entry!.name, figures);
    expect(text).toMatch(/What it cost\n[\s\S]*blackout +\d/);
    expect(inOneLine(text)).toContain(`${figures.comparison.host.cores} cores)`);
    const none: Comparison = { ...figures.comparison, entries: [] };
    const without = explainText(builtIn, entry!.effort, entry!.name, { comparison: none, from: 'docs' });
    expect(without).not.toMatch(/What it cost/);
  });

  it.each([
    ['no JSON', '{', /no JSON/],
    ['no comparison', '{"a": 1}', /it is no comparison/],
    ['nothing at all', 'null', /it is no comparison/],
    [
      'another version',
      JSON.stringify({ ...figures.comparison, version: COMPARISON_VERSION + 1 }),
      new RegExp(`of version ${COMPARISON_VERSION + 1}, and this is ${COMPARISON_VERSION}`),
    ],
  ])('can not be taken from %s', (_what, text, why) => {
    const file = join(folder, 'wrong.json');
    writeFileSync(file, text);
    expect(() => readComparison(file)).toThrow(why);
    expect(() => readComparison(join(folder, 'nope.json'))).toThrow(/no such file/);
  });
});

describe('a name', () => {
  it('that several efforts share is explained for each', () => {
    for (const { effort, descriptor } of all) expect(effortsOf(builtIn, descriptor.name)).toContain(effort);
    expect(effortsOf(builtIn, 'nope')).toEqual([]);
  });

  it('that is none is refused with those that there are', async () => {
    const args = ['explain', 'nope'];
    const refused = (await commandLine(args)).parseAsync(args, { from: 'user' });
    await expect(refused).rejects.toThrow(/no approach 'nope'; known are iommu-dirty, /);
  });
});
