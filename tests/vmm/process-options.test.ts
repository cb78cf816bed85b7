import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { InvariantError } from '../../base/errors.js';
import { EXIT_STATUS } from '../../base/exit-status.js';
import { compiledOf } from '../../vmm/built.js';
import { vmmErrors } from '../../vmm/errors.js';
import { conflictOf, settle, type VmmOptions } from '../../vmm/process/options.js';
import { reportOf } from '../../vmm/process/report.js';
import { VERSION } from '../../vmm/version.js';

describe('options of a VMM process', () => {
  it('have defaults where a guest is booted, and take what comes where one is awaited', () => {
    expect(settle({ guest: 'x' }, false)).toMatchObject({
      memoryBytes: 256 * 1024 * 1024,
      vcpus: 1,
      append: '',
      monitors: [],
      incoming: undefined,
      console: { kind: 'none' },
      paused: false,
    });
    expect(settle({ incoming: 'tcp:h:1' }, false)).toMatchObject({
      memoryBytes: undefined,
      vcpus: undefined,
      incoming: { kind: 'tcp', host: 'h', port: 1 },
    });
  });

  it.each<[VmmOptions, RegExp]>([
    [{}, /nothing to run/],
    [{ guest: 'x', incoming: 'defer' }, /--guest and --incoming contradict/],
    [{ incoming: 'tcp:h:1', append: 'x' }, /--append and --incoming contradict/],
    [{ incoming: 'tcp:h:1', seed: 1 }, /--seed and --incoming contradict/],
    [{ incoming: 'tcp:h:1', prealloc: true }, /need --memory/],
    [{ incoming: 'defer' }, /needs a --monitor/],
    [{ guest: 'x', paused: true }, /--paused needs a --monitor/],
  ])('%j contradict themselves', (options, why) => {
    expect(conflictOf(options)).toMatch(why);
    expect(() => settle(options, false)).toThrow(why);
  });

  it('defer needs no address of a monitor where the spawner has one', () => {
    expect(settle({ incoming: 'defer' }, true).incoming).toBe('defer');
    expect(conflictOf({ incoming: 'defer', monitors: ['unix:x'] })).toBeUndefined();
  });

  it.each([
    [undefined, /no object/],
    [[], /no object/],
    ['x', /no object/],
    [{ guest: 1 }, /'guest' must be a string/],
    [{ guest: 'x', monitors: 'unix:m' }, /'monitors' must be a list of strings/],
    [{ guest: 'x', monitors: [1] }, /'monitors' must be a list of strings/],
    [{ guest: 'x', toString: 'y' }, /no option 'toString'/],
    [{ guest: 'x', memory: '1G' }, /no option 'memory'/],
    [{ guest: 'x', seed: -1 }, /seed -1 is no whole number/],
    [{ guest: 'x', seed: 1.5 }, /seed 1.5/],
    [{ guest: 'x', console: 'tape' }, /'tape' is no console/],
    [{ guest: 'x', console: 'file:' }, /no console/],
    [{ incoming: 'carrier pigeon' }, /no socket address/],
  ])('%j is refused in words', (given, why) => {
    expect(() => settle(given, false)).toThrow(why);
    expect(() => settle(given, false)).toThrow(expect.objectContaining({ exitStatus: expect.any(Number) }));
  });
});

describe('the last words of a process', () => {
  const error = vmmErrors.error('listen-failed', { address: 'tcp:h:1', reason: 'busy' });

  it('are words and advice, or JSON, and the status of the error', () => {
    expect(reportOf(error, false)).toEqual({
      text: `ferry: can't listen at tcp:h:1: busy [vmm/listen-failed]\n  ${error.advice}\n`,
      exitStatus: EXIT_STATUS.environment,
    });
    const { text, exitStatus } = reportOf(error, true);
    expect(JSON.parse(text)).toEqual({ error: error.toJSON() });
    expect(exitStatus).toBe(EXIT_STATUS.environment);
  });

  it.each([new InvariantError('broken'), new TypeError('x is not a function'), 'a string', undefined])(
    'call %s a defect of ours, with status 70 and no stack trace',
    (defect) => {
      for (const json of [false, true]) {
        const { text, exitStatus } = reportOf(defect, json);
        expect(exitStatus).toBe(EXIT_STATUS.defect);
        expect(text).toMatch(/defect/);
        expect(text).not.toMatch(/\n\s+at /);
      }
      if (defect instanceof Error) {
        expect(reportOf(defect, false).text).toContain(defect.message);
        expect(reportOf(defect, false).text).toMatch(/process-options\.test\.ts:\d+/);
      }
    },
  );
});

it('the place of a defect in a bundle is told in the source that it was made from', () => {
  const start = compiledOf(new URL('vmm.js', import.meta.url));
  const bundle = new URL(/resolve\('(.+)'\)/.exec(readFileSync(start, 'utf8'))![1]!, start).pathname;
  const before = readFileSync(bundle, 'utf8').split('\nasync function runVmm(')[0]!;
  const defect = new TypeError('x is not a function');
  defect.stack = `TypeError: x\n    at runVmm (${bundle}:${before.split('\n').length + 1}:16)`;
  const source = readFileSync(new URL('../../vmm/process/vmm.ts', import.meta.url), 'utf8');
  const line = source.split('export async function runVmm(')[0]!.split('\n').length;
  expect(reportOf(defect, false).text).toContain(`vmm/process/vmm.ts:${line}:`);
});

it('the version is that of the package', () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  expect(VERSION).toBe(version);
});
