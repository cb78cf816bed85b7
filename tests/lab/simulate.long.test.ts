/** Two thousand simulated migrations of whole machines under random faults, on all cores. */
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { runCrew } from '../../dist/lab/simulator/crew.js';
import { DRAWN } from '../../lab/simulator/random-plan.js';
import { campaignText } from '../../lab/simulator/report.js';

const SEEDS = 2000;

it(`hold what must hold for ${SEEDS} seeds, in which every kind of fault has struck`, async () => {
  const began = performance.now();
  const jobs = availableParallelism();
  const tally = await runCrew({
    imagePath: fileURLToPath(new URL('../../dist/guests/kernel.img', import.meta.url)),
    plan: undefined,
    parameters: undefined,
    jobs,
    portions: [{ from: 100_000, to: 100_000 + SEEDS - 1 }],
    enough: () => false,
    progress: () => undefined,
  });
  const pace = { seconds: (performance.now() - began) / 1000, jobs };
  expect(
    tally.failures,
    campaignText(tally, pace, (seed) => `ferry simulate --seed ${seed}`),
  ).toEqual([]);
  expect(tally.seeds).toBe(SEEDS);
  expect(Object.keys(tally.struck).sort()).toEqual([...DRAWN].sort());
}, 1_800_000);
