/** A guest that does not follow one stop is asked in the next way that was to be tried; what was asked before is taken back. */
import { describe, expect, it } from 'vitest';
import { milliseconds } from '../../base/units.js';
import { summaryLines } from '../../lab/report/migration-tables.js';
import { judgeChoice } from '../../migration/approaches.js';
import type { RequestLimits } from '../../migration/patience.js';
import { builtIn } from '../../migration/registry.js';
import type { StartDescriptor } from '../../migration/start/start.js';
import type { DeviceStop, StopDescriptor } from '../../migration/stop/stop.js';
import { checkOneSurvivor, type Scene, simulate } from './simulate.js';
import { plugLater, registryOf, scriptOf, takeAway, withDevice } from './test-approaches.js';
import { type DeviceShape, smallDevice } from './test-device.js';
import { refused } from './test-errors.js';

const asked: string[] = [];

/** A stop that notes what is asked of it under its name. */
function stop(
  name: string,
  request?: (limits: RequestLimits, device: string) => Promise<void>,
  more: Partial<StopDescriptor> & { readonly resume?: () => Promise<void> } = {},
): StopDescriptor {
  const { resume, ...descriptor } = more;
  return {
    ...takeAway(scriptOf()),
    name,
    ...descriptor,
    make: (device): DeviceStop => ({
      ...(request && {
        request: (limits: RequestLimits) => {
          asked.push(`${name} request`);
          return request(limits, device.name);
        },
      }),
      quiesce: async () => {
        asked.push(`${name} quiesce`);
        await device.vfio!.quiesce();
      },
      resume: async () => {
        asked.push(`${name} resume`);
        await resume?.();
        await device.vfio!.resume();
        return undefined;
      },
      release: async () => {
        asked.push(`${name} release`);
      },
    }),
  };
}

const start: StartDescriptor = plugLater(scriptOf());
const move = (stops: readonly StopDescriptor[], more: Scene = {}) => {
  asked.length = 0;
  const registry = { ...registryOf(scriptOf()), stop: stops, start: [start] };
  return simulate({ shape: withDevice, registry, ...more });
};
const refuses = (): Promise<void> => Promise.reject(refused('I need it'));
const inTime = async (): Promise<void> => undefined;
const never = async ({ patience }: RequestLimits): Promise<void> => {
  await patience.over;
  throw refused('no answer');
};

describe('a guest that does not follow the first stop', () => {
  it('is stopped by the next, and the record names both and the reason', async () => {
    const outcome = await move([stop('ask', refuses), stop('ask-again', inTime), stop('cut')]);
    expect(checkOneSurvivor(outcome)).toBe('destination');
    expect(asked).toEqual([
      'ask request',
      'ask resume',
      'ask-again request',
      'ask-again quiesce',
      'ask-again release',
    ]);
    const { source } = outcome;
    expect(source.approaches!.stop).toBe('ask-again');
    expect(source.fallbacks).toEqual([
      { effort: 'stop', from: 'ask', to: 'ask-again', because: expect.stringMatching(/I need it/) },
    ]);
    expect(summaryLines(source).join('\n')).toMatch(/stop ask-again instead of ask: .*I need it/);
    expect(source.timeline.filter(({ what }) => what === 'fallback')).toHaveLength(1);
  });

  it('and answers nobody is not waited for longer than each may take: the last needs no answer', async () => {
    const { source } = await move([stop('ask', never), stop('ask-again', never), stop('cut')], {
      parameters: { requestTimeoutMs: 300 },
    });
    expect(source.status).toBe('completed');
    expect(source.approaches!.stop).toBe('cut');
    expect(source.fallbacks.map(({ from }) => from)).toEqual(['ask', 'ask-again']);
    const first = source.timeline.find(({ what }) => what === 'request')!;
    const quiet = source.timeline.find(({ what }) => what === 'quiescing')!;
    expect(quiet.at - first.at).toBeGreaterThanOrEqual(milliseconds(600));
    expect(quiet.at - first.at).toBeLessThan(milliseconds(650));
  });

  it('stays at the source, with its device, where nothing else was to be tried', async () => {
    for (const [stops, parameters] of [
      [[stop('ask', refuses), stop('cut')], { stop: 'ask' }],
      [[stop('ask', refuses), stop('ask-again', refuses)], {}],
      // It leaves the device as no start takes it that goes with the first.
      [[stop('ask', refuses), stop('cut', undefined, { leaves: 'lost' })], {}],
    ] as const) {
      const outcome = await move(stops, { parameters });
      expect(checkOneSurvivor(outcome)).toBe('source');
      expect(outcome.source.error!.message).toMatch(/I need it/);
      expect(asked.at(-1)).toMatch(/resume$/);
      expect(asked.join()).not.toMatch(/cut|release/);
    }
  });

  it('takes the others along: all devices are stopped in the same way', async () => {
    const area = (first: number): DeviceShape => ({ ...smallDevice, first, pages: 12 });
    const shape = { ...withDevice, device: area(30), otherDevices: [area(50)] };
    let givenUp = 0;
    const second = async ({ givenUp: over }: RequestLimits, device: string): Promise<void> => {
      if (device === 'vf1') throw refused('I need it');
      await over;
      givenUp++;
    };
    const outcome = await move([stop('ask', second), stop('cut')], { shape });
    expect(checkOneSurvivor(outcome)).toBe('destination');
    expect(asked.filter((step) => step === 'ask resume')).toHaveLength(2);
    expect(asked.filter((step) => step === 'cut quiesce')).toHaveLength(2);
    expect(givenUp, 'the one that had not answered knows that nobody waits').toBe(1);
  });
});

describe('a migration that is cancelled while it falls back', () => {
  it.each([1, 5, 9])('after %i ms of the taking back asks nothing more of the guest', async (ms) => {
    let cancel = (): void => undefined;
    let sleep = async (_ms: number): Promise<void> => undefined;
    let resumed = 0;
    const resume = async (): Promise<void> => {
      if (resumed++ === 0) await sleep(10);
    };
    const refusing = async (): Promise<void> => {
      void sleep(ms).then(() => cancel());
      throw refused('I need it');
    };
    const outcome = await move([stop('ask', refusing, { resume }), stop('ask-again', inTime)], {
      prepare: (stage) => {
        cancel = () => stage.cancel.source.abort();
        sleep = (time) => stage.world.scheduler.sleep(milliseconds(time));
      },
    });
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.status).toBe('cancelled');
    expect(asked.join()).not.toMatch(/ask-again (request|quiesce)/);
  });
});

describe('a guest that does not do ahead what the start wants', () => {
  const keeping = (remember: NonNullable<StartDescriptor['remember']>): Scene => ({
    registry: {
      ...registryOf(scriptOf()),
      stop: [stop('ask', never), stop('ask-again', inTime)],
      start: [{ ...start, remember }],
    },
  });
  const silent = keeping(async (_device, { patience, givenUp }) => {
    await Promise.race([patience.over, givenUp]);
    throw refused('the agent did not answer');
  });
  const REQUEST_TIMEOUT = milliseconds(300);
  const spent = ({
    timeline,
  }: {
    readonly timeline: readonly { readonly what: string; readonly at: number }[];
  }) =>
    timeline.find(({ what }) => what === 'quiescing')!.at -
    timeline.find(({ what }) => what === 'request')!.at;

  it('moves without, where the start was left to choose, in the time that it may take anyhow; the record says why', async () => {
    const { source } = await move([], { ...silent, parameters: { requestTimeoutMs: 300 } });
    expect(source.status).toBe('completed');
    expect(source.devices[0]!.unprepared).toMatch(/the agent did not answer/);
    expect(summaryLines(source).join('\n')).toMatch(/nothing was done ahead for the start of vf0: .*agent/);
    // The first stop had what the start left of the patience; the second was not kept waiting again.
    expect(source.fallbacks.map(({ from }) => from)).toEqual(['ask']);
    expect(spent(source)).toBeGreaterThanOrEqual(REQUEST_TIMEOUT);
    expect(spent(source)).toBeLessThan(REQUEST_TIMEOUT + milliseconds(50));
  });

  it('has half of the patience left for what the stop wants', async () => {
    let sleep = async (_ms: number): Promise<void> => undefined;
    const slow = async ({ patience }: RequestLimits): Promise<void> => {
      const late = patience.over.then(() => Promise.reject(refused('no answer')));
      await Promise.race([sleep(100), late]);
    };
    const registry = { ...silent.registry!, stop: [stop('ask', slow), stop('ask-again', inTime)] };
    const { source } = await move([], {
      registry,
      parameters: { requestTimeoutMs: 300 },
      prepare: ({ world }) => {
        sleep = (ms) => world.scheduler.sleep(milliseconds(ms));
      },
    });
    expect([source.status, source.approaches!.stop, source.fallbacks]).toEqual(['completed', 'ask', []]);
    expect(spent(source)).toBeGreaterThanOrEqual(milliseconds(250));
  });

  it('is where it was, if the start was asked for by name', async () => {
    const parameters = { start: start.name, stop: 'ask-again', requestTimeoutMs: 300 };
    const outcome = await move([], { ...silent, parameters });
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.error!.message).toMatch(/the agent did not answer/);
    expect(asked.join()).not.toMatch(/request/);
  });

  it('is asked nothing more when the migration is cancelled meanwhile', async () => {
    const cancelling: Scene = {
      ...silent,
      parameters: { requestTimeoutMs: 300 },
      prepare: ({ world, cancel }) => {
        void world.scheduler.sleep(milliseconds(100)).then(() => cancel.source.abort());
      },
    };
    const outcome = await move([], cancelling);
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.status).toBe('cancelled');
    expect(asked.join()).not.toMatch(/request/);
  });
});

describe('a stop that stands for several', () => {
  const gentle: StopDescriptor = {
    ...stop('gentle'),
    tries: [stop('talk', inTime, { guestFeatures: ['ears'] }), stop('ask', refuses), stop('cut')],
  };

  it('is those of them that fit, in their order', async () => {
    const { source } = await move([gentle, ...gentle.tries!], { parameters: { stop: 'gentle' } });
    expect(source.status).toBe('completed');
    expect(source.approaches!.stop).toBe('cut');
    expect(source.fallbacks.map(({ from, to }) => [from, to])).toEqual([['ask', 'cut']]);
    expect(asked.join()).not.toMatch(/talk/);
  });

  it('is refused with the reason of each where none fits', async () => {
    const talk = gentle.tries![0]!;
    const tries = [talk, { ...talk, name: 'shout' }];
    const { source } = await move([{ ...gentle, tries }], { parameters: { stop: 'gentle' } });
    expect(source.error!.message).toMatch(/stop = gentle: talk: vf0: .*; shout: vf0: /);
  });
});

describe('a stop and a start that make no sense together', () => {
  it('are refused with what each does and what would do', async () => {
    const { source } = await move([stop('cut', undefined, { leaves: 'lost' }), stop('take')], {
      parameters: { stop: 'cut' },
    });
    expect(source.error!.message).toMatch(
      /stop = cut leaves a driver that believes its device at work; this start goes with stop = take$/,
    );
    expect(source.transferred.bytes).toBe(0);
  });

  it('are refused without a machine as well, where both are named or none could go with the other', () => {
    const [lost, state] = [stop('cut', undefined, { leaves: 'lost' }), stop('take')];
    const start = builtIn.start[0]!;
    const registry = {
      tracking: builtIn.tracking,
      stop: [lost, state],
      start: [{ ...start, takes: [state.leaves] }],
    };
    const judge = (stop: string, name: string) =>
      judgeChoice({ tracking: 'auto', stop, start: name }, registry);
    expect(() => judge('cut', start.name)).toThrow(/this start goes with stop = take$/);
    expect(() => judge('cut', 'auto')).toThrow(/stop = cut leaves a driver/);
    for (const right of ['take', 'auto']) for (const name of [start.name, 'auto']) judge(right, name);
    // Whoever chooses knows all names.
    judge('nope', 'auto');
  });

  it('and one that the machine can not do with, with those that it could', async () => {
    const { source } = await move([stop('take'), stop('slotted', undefined, { needs: ['slot'] })], {
      parameters: { stop: 'slotted' },
    });
    expect(source.error!.message).toMatch(
      /vf0: it sits in no slot that the host controls; this machine could do with stop = take$/,
    );
  });
});
