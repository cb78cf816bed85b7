/** The blackout that a source expects: of what it is made, what comes of it, and when rounds end that bring it no lower. */
import { describe, expect, it } from 'vitest';
import { MIB, microseconds, milliseconds, nanoseconds } from '../../base/units.js';
import { type BlackoutInputs, expectedBlackout, Shrinking } from '../../migration/estimate.js';
import type { BlackoutRecord } from '../../migration/record.js';
import { checkOneSurvivor, type Scene, simulate } from './simulate.js';
import { smallDevice } from './test-device.js';
import { type GuestShape, smallGuest } from './test-machine.js';

const known: BlackoutInputs = {
  remainingPages: 100,
  bytesPerSecond: 100e6,
  roundTripNs: microseconds(200),
  harvestNs: milliseconds(2),
  quiesceNs: milliseconds(0.5),
  pauseNs: milliseconds(1.5),
  deviceStateNs: milliseconds(1),
  loadNs: milliseconds(3),
  startNs: milliseconds(4),
};

describe('the expected blackout', () => {
  const sum = ({ totalNs, ...parts }: BlackoutRecord): number =>
    Object.values(parts).reduce((total, part) => total + part, 0) - totalNs;

  it('is the sum of its parts, and none of them is left out', () => {
    const expected = expectedBlackout(known);
    expect(sum(expected)).toBeCloseTo(0);
    expect(expected.lastPagesNs / 1e6).toBeCloseTo(2 + 100 * 4.096e-2);
    const { deviceStateNs: _beside, ...alone } = expected;
    for (const [part, ns] of Object.entries(alone)) expect(ns, part).toBeGreaterThan(0);
  });

  it.each([
    ['remainingPages', 200, 'lastPagesNs'],
    ['bytesPerSecond', 50e6, 'lastPagesNs'],
    ['roundTripNs', 2e6, 'stateNs'],
    ['roundTripNs', 2e6, 'loadNs'],
    ['roundTripNs', 2e6, 'startNs'],
    ['harvestNs', 3e6, 'lastPagesNs'],
    ['pauseNs', 3e6, 'pauseNs'],
    ['quiesceNs', 1e6, 'quiesceNs'],
    ['deviceStateNs', 20e6, 'deviceStateNs'],
    ['loadNs', 9e6, 'loadNs'],
    ['startNs', 9e6, 'startNs'],
  ] as const)('with %s %d has a longer %s', (input, value, part) => {
    expect(expectedBlackout({ ...known, [input]: value })[part]).toBeGreaterThan(
      expectedBlackout(known)[part],
    );
  });

  it('does not wait for a link when nothing is left, and expects no end of one that sends nothing', () => {
    const nothing = { ...known, remainingPages: 0, bytesPerSecond: 0 };
    expect(expectedBlackout(nothing).lastPagesNs).toBe(known.harvestNs);
    expect(expectedBlackout({ ...known, bytesPerSecond: 0 }).totalNs).toBe(Infinity);
  });
});

describe('rounds', () => {
  const small = [100_000, milliseconds(2)] as const;
  const judge = (
    expectations: readonly number[],
    sent: readonly [number, ReturnType<typeof milliseconds>] = small,
  ) => {
    const shrinking = new Shrinking();
    return expectations.map((ms) => shrinking.over(milliseconds(ms), ...sent)).indexOf(true);
  };

  it('go on as long as they gain', () => {
    expect(judge([40, 20, 18, 14, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2])).toBe(-1);
  });

  it('end some rounds after the last gain, and not in a burst', () => {
    expect(judge([40, 20, 10, 10, 10, 10, 10, 10])).toBe(7);
    expect(judge([40, 20, 10, 11, 10, 12, 10, 25, 10])).toBe(8);
  });

  it('end with one that promises as little as any of the last eight', () => {
    expect(judge([40, 20, 10, 12, 14, 11, 15, 11.5, 13, 10.5, 10.4])).toBe(10);
    expect(judge([40, 20, 10, 12, 14, 11, 15, 11.5, 13, 10.5, 10.6])).toBe(-1);
  });

  it('go on while the guest may yet be slowed down', () => {
    expect(judge(Array(20).fill(10), [16 * MIB, milliseconds(2)])).toBe(-1);
    expect(judge(Array(20).fill(10), [1, milliseconds(30)])).toBe(-1);
  });
});

describe('a migration', () => {
  const shape: GuestShape = { ...smallGuest, stepsPerSlice: 0.4 };
  const withTimes = (loadMs: number, runMs: number, downtimeLimitMs: number): Scene => ({
    shape,
    parameters: { downtimeLimitMs },
    prepare: ({ destination }) =>
      Object.assign(destination.takesUs, { load: loadMs * 1000, run: runMs * 1000 }),
  });

  it('expects what its destination announces, and keeps the limit that it can keep', async () => {
    const outcome = await simulate(withTimes(7, 5, 15));
    expect(checkOneSurvivor(outcome)).toBe('destination');
    const { expected, blackout, roundsEnd } = outcome.source;
    expect(roundsEnd).toMatch(/^(fits-downtime-limit|nothing-left)$/);
    expect(expected!.loadNs).toBeGreaterThan(milliseconds(7));
    expect(expected!.startNs).toBeGreaterThan(milliseconds(5));
    expect(blackout!.totalNs).toBeLessThan(milliseconds(15));
    // Everything in this world takes as long as it did before.
    expect(Math.abs(blackout!.totalNs - expected!.totalNs) / blackout!.totalNs).toBeLessThan(0.1);
  });

  it('expects the parts of an assigned device', async () => {
    const { source } = await simulate({
      shape: { ...shape, device: smallDevice },
      parameters: { downtimeLimitMs: 3 },
    });
    for (const part of ['quiesceNs', 'pauseNs', 'lastPagesNs', 'stateNs', 'loadNs', 'startNs'] as const) {
      expect(source.expected![part], part).toBeGreaterThan(0);
    }
  });

  it('that can not keep its limit ends its rounds when they bring nothing more, and says so', async () => {
    const outcome = await simulate({ ...withTimes(20, 10, 3), shape: smallGuest });
    expect(checkOneSurvivor(outcome)).toBe('destination');
    const { roundsEnd, rounds, expected, blackout } = outcome.source;
    expect(roundsEnd).toBe('no-longer-shrinks');
    expect(rounds.length).toBeLessThan(20);
    expect(expected!.totalNs).toBeGreaterThan(milliseconds(30));
    expect(blackout!.totalNs).toBeGreaterThan(milliseconds(30));
    // Nothing was gained by giving up on the limit: what is left to send is as little as it gets.
    expect(blackout!.lastPagesNs).toBeLessThan(milliseconds(3));
    expect(nanoseconds(outcome.source.remainingPages)).toBe(0);
  });
});
