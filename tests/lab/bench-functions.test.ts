/** How long a guest stands still by the number of its functions, on a real move. Needs the built tree. */
import { expect, it } from 'vitest';
import { nanoseconds } from '../../base/units.js';
import { benchFunctions } from '../../dist/lab/bench/functions.js';
import { functionsFigures } from '../../lab/bench/functions.js';
import { functionsText } from '../../lab/bench/texts.js';
import type { BlackoutRecord } from '../../migration/record.js';

it('is measured by a whole move, whose parts add up', async () => {
  const parts: string[] = [];
  const result = await benchFunctions({
    runs: 1,
    counts: [2],
    rate: 1000,
    memoryBytes: 64 * 2 ** 20,
    settleMs: 100,
    onPart: (what) => parts.push(what),
  });
  expect(parts).toEqual(['move 1 of 1 with 2 of them']);
  const [{ functions, ratio, blackoutMs, partsMs }] = result.figures as [(typeof result.figures)[number]];
  expect({ functions, ratio }).toEqual({ functions: 2, ratio: 1 });
  const sum = Object.values(partsMs).reduce((total, part) => total + part, 0);
  expect(sum).toBeCloseTo(blackoutMs.median);
});

const blackout = (ms: number): BlackoutRecord => {
  const none = nanoseconds(0);
  const parts = { quiesceNs: none, pauseNs: none, lastPagesNs: none, deviceStateNs: none, stateNs: none };
  return { totalNs: nanoseconds(ms * 1e6), ...parts, loadNs: none, startNs: nanoseconds(ms * 1e6) };
};

it.each([
  [15, / Reached\.$/],
  [15.1, /Not reached\.$/],
])(
  'is compared with that of the first number by its median: of eight with %s ms, of one with 10',
  (ms, word) => {
    const figures = functionsFigures([1, 8], [[9, 10, 30].map(blackout), [ms, ms, 2].map(blackout)]);
    expect(figures.map(({ ratio }) => ratio)).toEqual([1, ms / 10]);
    expect(functionsText({ runs: 3, rate: 1, goal: 1.5, figures }).split('\n').at(-1)).toMatch(word);
  },
);
