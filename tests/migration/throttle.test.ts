/** Auto-converge holds only as long as it is wanted, and never beyond the migration. */
import { describe, expect, it } from 'vitest';
import { checkOneSurvivor, type Scene, type Stage, simulate } from './simulate.js';
import type { GuestShape } from './test-machine.js';

/** Outruns the link by far, so that it is throttled from the second round on. */
const fastGuest: GuestShape = { pages: 512, workingSet: 500, stepsPerSlice: 10 };
const scene: Scene = { shape: fastGuest, bytesPerSecond: 40e6 };

/** In the place of a percentage: it is told that the migration is failing. */
const FAILING = -1;

/** Runs `scene` and calls `act` once when the guest has been throttled to at least `percent`. */
async function whenThrottled(percent: number, act: (stage: Stage) => void, more: Scene = {}) {
  let stage: Stage | undefined;
  const seen: number[] = [];
  let acted = false;
  const outcome = await simulate({
    ...scene,
    ...more,
    prepare: (prepared) => {
      stage = prepared;
    },
    observer: {
      failing: () => seen.push(FAILING),
      throttleChanged: (changed) => {
        seen.push(changed);
        if (acted || changed < percent) return;
        acted = true;
        act(stage!);
      },
    },
  });
  expect(acted, 'the guest was throttled').toBe(true);
  return { outcome, seen };
}

describe('a throttled guest', () => {
  it('runs at full speed again when its migration is cancelled', async () => {
    const { outcome, seen } = await whenThrottled(30, ({ cancel }) => cancel.source.abort());
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.status).toBe('cancelled');
    expect(outcome.stage.source.throttled, 'percent that the guest is throttled after the migration').toBe(0);
    expect(outcome.source.throttlePercent).toBe(0);
    expect(seen.at(-1)).toBe(0);
    expect(seen).not.toContain(FAILING);
  });

  it('runs at full speed again when its migration fails', async () => {
    const { outcome, seen } = await whenThrottled(30, ({ cancel }) => cancel.destination.abort());
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.status).toBe('failed');
    // Told before anything is taken back.
    expect(seen.slice(-2)).toEqual([FAILING, 0]);
    expect(outcome.stage.source.throttled, 'percent that the guest is throttled after the migration').toBe(0);
  });

  it('runs at full speed at once when auto-converge is switched off, and is not throttled again', async () => {
    let after = Number.NaN;
    const { outcome, seen } = await whenThrottled(
      30,
      ({ parameters, source }) => {
        parameters.set({ autoConverge: false });
        after = source.throttled;
      },
      { parameters: { maxRounds: 12 } },
    );
    expect(after, 'percent, as soon as it was switched off').toBe(0);
    expect(seen.slice(-2)).toEqual([30, 0]);
    expect(outcome.source.rounds.at(-2)?.throttlePercent).toBe(0);
    expect(outcome.source.roundsEnd).toBe('max-rounds');
  });

  it('is throttled from the beginning when auto-converge is switched on again', async () => {
    const { seen } = await whenThrottled(
      30,
      ({ parameters }) => {
        parameters.set({ autoConverge: false });
        parameters.set({ autoConverge: true });
      },
      { parameters: { maxRounds: 14 } },
    );
    expect(seen.slice(0, 5)).toEqual([20, 30, 0, 20, 30]);
  });

  it('is throttled no more than max-cpu-throttle says, also when that is lowered meanwhile', async () => {
    const { seen, outcome } = await whenThrottled(
      40,
      ({ parameters }) => parameters.set({ maxCpuThrottle: 25 }),
      { parameters: { maxRounds: 14 } },
    );
    expect(seen).toEqual([20, 30, 40, 25]);
    expect(outcome.source.rounds.at(-2)?.throttlePercent).toBe(25);
  });
});
