/** Approaches of a user's own: what is refused before they are offered, and what becomes of what they throw. */
import { describe, expect, it } from 'vitest';
import { isFerryError } from '../../base/errors.js';
import { type Effort, FACETS } from '../../migration/approach.js';
import {
  type OwnStart,
  type OwnStop,
  type OwnTracking,
  type OwnTries,
  withOwnApproach,
} from '../../migration/own-approach.js';
import { MigrationParameters } from '../../migration/parameters.js';
import { type ApproachRegistry, builtIn } from '../../migration/registry.js';
import { checkOneSurvivor, simulate } from './simulate.js';
import { withDevice } from './test-approaches.js';

const PATH = './mine.mjs';

const tracking: OwnTracking = {
  name: 'mine',
  text: 'what the CPU wrote',
  converges: true,
  make: (machine) => ({
    start: () => machine.startDirtyLog(),
    harvest: (into) => machine.harvest(into),
    stop: () => machine.stopDirtyLog(),
  }),
};
const stop: OwnStop = {
  name: 'mine',
  text: 'stops',
  leaves: 'lost',
  make: () => ({ quiesce: async () => undefined, resume: async () => undefined }),
};
const start: OwnStart = { name: 'mine', text: 'starts', takes: ['lost'], make: () => ({}) };
const several: OwnTries = { name: 'mine', text: 'either', tries: ['capability', 'device-state'] };
const right = { tracking, stop, start };

const offered = (
  effort: Effort,
  descriptor: unknown,
  registry: ApproachRegistry = builtIn,
): ApproachRegistry => withOwnApproach(registry, effort, PATH, { default: descriptor }).registry;

function refusal(effort: Effort, exported: Record<string, unknown>): { problem: string; message: string } {
  try {
    withOwnApproach(builtIn, effort, PATH, exported);
  } catch (error) {
    if (!isFerryError(error, 'migration/own-approach')) throw error;
    expect(error.facts).toMatchObject({ effort, path: PATH });
    return { problem: String(error.facts.problem), message: error.message };
  }
  throw new Error('it was taken');
}

describe('a module', () => {
  it.each(['tracking', 'stop', 'start'] as const)(
    'offers its %s beside those that there are, as most approaches are in what it leaves out',
    (effort) => {
      for (const exported of [{ [effort]: right[effort] }, { default: right[effort] }, right]) {
        const { registry, name } = withOwnApproach(builtIn, effort, PATH, exported);
        expect(name).toBe('mine');
        expect(registry[effort].map(({ name }) => name)).toEqual([
          ...builtIn[effort].map(({ name }) => name),
          'mine',
        ]);
        expect(registry[effort].at(-1)).toMatchObject({ serves: 'device', needs: [], bounded: true });
        // Given once more, as a parameter may be, it is the same.
        expect(withOwnApproach(registry, effort, PATH, exported).registry).toBe(registry);
      }
    },
  );

  it.each<[what: string, Effort, Record<string, unknown>, RegExp]>([
    ['no descriptor', 'tracking', {}, /exports no descriptor, neither as `tracking` nor by default/],
    ['only another effort', 'tracking', { stop }, /neither as `tracking`/],
    ['no name', 'stop', { stop: { ...stop, name: undefined } }, /`name` .* must be small letters/],
    ['the name of a choice', 'stop', { stop: { ...stop, name: 'auto' } }, /not auto/],
    ['a name that is taken', 'tracking', { tracking: { ...tracking, name: 'pinned' } }, /= pinned already/],
    ['no make', 'start', { start: { name: 'x', text: 'x', takes: ['lost'] } }, /has no `make`: a function/],
    ['no takes', 'start', { start: { ...start, takes: [] } }, /`takes` .* at least one of state, /],
    [
      'a way to leave that is none',
      'stop',
      { stop: { ...stop, leaves: 'gone' } },
      /`leaves` .* one of state, /,
    ],
    [
      'a facet that is none',
      'stop',
      { stop: { ...stop, needs: ['disk'] } },
      new RegExp(`\`needs\` .* ${Object.keys(FACETS).join(', ')}`),
    ],
    ['a difference that is none', 'start', { start: { ...start, copesWith: ['all'] } }, /`copesWith`/],
    ['no word on converging', 'tracking', { tracking: { ...tracking, converges: 1 } }, /`converges`/],
    [
      'goals that are none',
      'stop',
      { stop: { ...stop, goals: { blackoutMs: 'short' } } },
      /`goals` .* blackoutMs/,
    ],
    [
      'something to try that is none',
      'stop',
      { stop: { ...several, tries: ['nope'] } },
      /it tries nope; what/,
    ],
    ['nothing to try', 'stop', { stop: { ...several, tries: [] } }, /`tries` .* at least one name/],
    [
      'several to be tried among several',
      'stop',
      { stop: { ...several, tries: ['graceful'] } },
      /it tries graceful/,
    ],
    [
      'both ways and something made',
      'stop',
      { stop: { ...stop, tries: ['surprise'] } },
      /both `tries` and `make`/,
    ],
    ['several starts', 'start', { start: { ...start, tries: ['hot-plug'] } }, /has a member `tries`/],
    [
      'a member misspelt',
      'stop',
      { stop: { ...stop, leave: 'lost' } },
      /has a member `leave`; known are name/,
    ],
  ])('is refused with %s, by path and with what is missing', (_what, effort, exported, why) => {
    const { problem, message } = refusal(effort, exported);
    expect(problem).toMatch(why);
    expect(message).toContain(`${effort} = module:${PATH}`);
  });

  it('is offered by parameters from then on, and chosen by its name', () => {
    const parameters = new MigrationParameters();
    expect(() => parameters.set({ tracking: 'mine' })).toThrow(/must be one of auto/);
    parameters.offer(offered('tracking', tracking));
    parameters.set({ tracking: 'mine' });
    expect(parameters.values.tracking).toBe('mine');
    expect(() => parameters.set({ tracking: 'yours' })).toThrow(/mine/);
  });
});

describe('at work', () => {
  /** Stops and starts by VFIO's protocol, whatever the tracking is. */
  const move = (own: OwnTracking) =>
    simulate({
      shape: withDevice,
      registry: offered('tracking', own),
      parameters: { tracking: 'mine', verify: 'full' },
    });
  const withDma: OwnTracking = {
    ...tracking,
    needs: ['dma'],
    make: (machine, devices) => ({
      start: async () => {
        await devices[0]!.dma!.track('dirty-bits');
        await machine.startDirtyLog();
      },
      harvest: async (into) => {
        await devices[0]!.dma!.readDirty();
        return machine.harvest(into);
      },
      stop: () => machine.stopDirtyLog(),
    }),
  };

  const thrown = (): never => {
    throw new TypeError('x is not a function');
  };

  it('a right one moves the guest, whole', async () => {
    const outcome = await move(withDma);
    expect(checkOneSurvivor(outcome)).toBe('destination');
    expect(outcome.source.approaches).toMatchObject({ tracking: 'mine' });
  });

  it('several that it names are tried in turn, and the record has the one that was used', async () => {
    const registry = offered('stop', several);
    // The simulated device's driver offers nothing.
    const parameters = { stop: 'mine', verify: 'full' } as const;
    const { source } = await simulate({ shape: withDevice, registry, parameters });
    expect(source.status, source.error?.message).toBe('completed');
    expect(source.approaches).toMatchObject({ stop: 'device-state', start: 'device-state' });
  });

  it('what it does when the guest runs at the destination is done, and what that throws is only noted', async () => {
    const names: string[][] = [];
    const telling: OwnTracking = {
      ...withDma,
      arrived: async (devices) => {
        names.push(devices.map(({ name }) => name));
        thrown();
      },
    };
    const { source, destination } = await move(telling);
    expect(names).toEqual([source.devices.map(({ name }) => name)]);
    expect(source.status).toBe('completed');
    expect(destination.afterwards).toMatchObject({
      code: 'migration/own-approach-failed',
      facts: { step: 'arrived' },
    });
  });

  it('one that misses what the device writes is found out, and the guest stays', async () => {
    const outcome = await move(tracking);
    expect(outcome.source.error).toMatchObject({ code: 'migration/verification-failed' });
    expect(checkOneSurvivor(outcome)).toBe('source');
  });

  const made = (change: object): OwnTracking => ({
    ...withDma,
    make: (machine, devices) => ({ ...withDma.make(machine, devices), ...change }),
  });
  it.each<[what: string, OwnTracking, step: string, RegExp]>([
    ['throws', made({ harvest: thrown }), 'harvest', /x is not a function/],
    ['rejects', made({ start: async () => thrown() }), 'start', /x is not a function/],
    ['reports nothing', made({ harvest: async () => undefined }), 'harvest', /must resolve with a report/],
    ['lacks a step', made({ stop: undefined }), 'make', /has no method `stop`/],
    ['makes nothing', { ...tracking, make: () => undefined as never }, 'make', /makes no object/],
    ['throws as it is made', { ...tracking, make: thrown }, 'make', /x is not a function/],
  ])(
    'one that %s ends the migration with the step and the reason, and the guest stays',
    async (_what, own, step, why) => {
      const outcome = await move(own);
      expect(outcome.source.error).toMatchObject({
        code: 'migration/own-approach-failed',
        facts: { effort: 'tracking', approach: 'mine', step },
      });
      expect(outcome.source.error!.message).toMatch(why);
      expect(checkOneSurvivor(outcome)).toBe('source');
    },
  );
});
