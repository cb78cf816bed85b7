/** How long a guest stands still by the number of its functions, on real moves. Needs the built tree. */
import { expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { benchFunctions } from '../../dist/lab/bench/functions.js';
import { functionsText } from '../../dist/lab/bench/texts.js';

it('is measured by whole moves with each number, in turn, and compared with the first', async () => {
  const parts: string[] = [];
  const onPart = (what: string): number => parts.push(what);
  const result = await benchFunctions({
    runs: 1,
    counts: [1, 2],
    rate: 1000,
    memoryBytes: 64 * MIB,
    settleMs: 100,
    onPart,
  });
  expect(parts).toEqual(['move 1 of 1 with 1 of them', 'move 1 of 1 with 2 of them']);
  const [one, two] = result.figures;
  expect(one).toMatchObject({ functions: 1, ratio: 1 });
  expect(two!.ratio).toBeCloseTo(two!.blackoutMs.median / one!.blackoutMs.median);
  for (const { blackoutMs, partsMs } of result.figures) {
    const sum = Object.values(partsMs).reduce((total, part) => total + part, 0);
    expect(sum).toBeCloseTo(blackoutMs.median);
  }
  const reached = (ratio: number): string =>
    functionsText({ ...result, figures: [one!, { ...two!, ratio }] })
      .split('\n')
      .at(-1)!;
  expect(reached(result.goal)).toMatch(/ Reached\.$/);
  expect(reached(result.goal + 0.01)).toMatch(/Not reached\.$/);
});
