import { describe, expect, it } from 'vitest';
import { FerryError } from '../../base/errors.js';
import {
  defaultParameters,
  MigrationParameters,
  type ParameterValues,
  parameterByQmpName,
  parameterTable,
} from '../../migration/parameters.js';

function refusal(action: () => unknown): FerryError {
  try {
    action();
  } catch (error) {
    if (error instanceof FerryError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('migration parameters', () => {
  it('have QEMU’s defaults where QEMU has the thing', () => {
    expect(defaultParameters).toMatchObject({
      downtimeLimitMs: 300,
      multifdChannels: 2,
      cpuThrottleInitial: 20,
      cpuThrottleIncrement: 10,
      maxCpuThrottle: 99,
      throttleTriggerThreshold: 50,
    });
    expect(parameterByQmpName('downtime-limit')).toBe('downtimeLimitMs');
    expect(parameterByQmpName('no-such')).toBeUndefined();
  });

  /** What goes with a parameter over its whole range. */
  const beside: Partial<Record<keyof ParameterValues, Partial<ParameterValues>>> = {
    maxCpuThrottle: { cpuThrottleInitial: 1 },
    peerTimeoutMs: { keepaliveIntervalMs: 10 },
    keepaliveIntervalMs: { peerTimeoutMs: 3_600_000 },
  };

  it('that contradict each other are refused, whichever comes last, and both are named', () => {
    const pairs = [
      [{ cpuThrottleInitial: 50 }, { maxCpuThrottle: 49 }, { maxCpuThrottle: 50 }],
      [{ maxCpuThrottle: 49 }, { cpuThrottleInitial: 50 }, { cpuThrottleInitial: 49 }],
      [{ keepaliveIntervalMs: 2000 }, { peerTimeoutMs: 1999 }, { peerTimeoutMs: 2000 }],
      [{ peerTimeoutMs: 1500 }, { keepaliveIntervalMs: 1501 }, { keepaliveIntervalMs: 1500 }],
    ] as const;
    for (const [first, wrong, right] of pairs) {
      const both = [first, wrong].flatMap((change) => Object.keys(change) as (keyof ParameterValues)[]);
      const parameters = new MigrationParameters(first);
      for (const action of [
        () => parameters.set(wrong),
        () => new MigrationParameters({ ...first, ...wrong }),
      ]) {
        const { message } = refusal(action);
        for (const name of both) expect(message).toContain(parameterTable[name].qmpName);
      }
      expect(parameters.values).toEqual({ ...defaultParameters, ...first });
      parameters.set(right);
      expect(parameters.values).toEqual({ ...defaultParameters, ...first, ...right });
    }
  });

  it('accept their default and both ends of their range, and nothing beyond', () => {
    for (const [name, parameter] of Object.entries(parameterTable)) {
      if (parameter.type !== 'number') continue;
      for (const value of [parameter.default, parameter.min, parameter.max]) {
        const set = new MigrationParameters({ ...beside[name as keyof ParameterValues], [name]: value });
        expect(set.values[name as keyof ParameterValues]).toBe(value);
      }
      for (const value of [parameter.min - 1, parameter.max + 1, 1.5, '5', null, Number.NaN]) {
        const error = refusal(() => new MigrationParameters({ [name]: value }));
        expect(error.code).toBe('migration/parameter');
        expect(error.facts.parameter).toBe(parameter.qmpName);
      }
    }
  });

  it('refuse unknown names, and take all of a change or none', () => {
    const parameters = new MigrationParameters();
    const change = { downtimeLimitMs: 5, maxRounds: 0 };
    expect(refusal(() => parameters.set(change)).facts).toMatchObject({
      parameter: 'max-rounds',
      value: '0',
    });
    expect(parameters.values.downtimeLimitMs).toBe(300);
    expect(refusal(() => parameters.set({ nonsense: 1 } as object)).facts).toMatchObject({
      parameter: 'nonsense',
    });
    expect(refusal(() => parameters.set({ toString: 1 } as object)).code).toBe('migration/parameter');
    expect(refusal(() => parameters.set({ verify: 'maybe' as 'off' })).message).toMatch(
      /off, root, after, full/,
    );
    expect(refusal(() => parameters.set({ autoConverge: 1 as unknown as boolean })).message).toMatch(
      /true or false/,
    );
  });

  it('tell listeners of each change until they no longer listen', () => {
    const parameters = new MigrationParameters();
    const seen: number[] = [];
    const cancel = parameters.onChange(() => seen.push(parameters.values.maxBandwidth));
    parameters.set({ maxBandwidth: 1 });
    cancel();
    parameters.set({ maxBandwidth: 2 });
    expect(seen).toEqual([1]);
  });
});
