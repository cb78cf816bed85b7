/**
 * Whatever goes wrong at whatever step of an approach that asks the guest, takes its device away and gives it another one
 * later: up to the commit the guest is left with its device at the source, and then the guest has moved, and nothing is
 * kept for a rollback that can't come.
 */
import { describe, expect, it } from 'vitest';

import { MIB, milliseconds } from '../../base/units.js';
import type { LinkRule } from '../../lab/simulator/link.js';
import { ordinary } from '../../migration/approach.js';
import { decodeMessage, encodeMessage } from '../../migration/messages.js';
import { builtIn } from '../../migration/registry.js';
import type { DeviceStart, StartDescriptor } from '../../migration/start/start.js';
import type { DeviceStop, StopDescriptor } from '../../migration/stop/stop.js';
import { checkOneSurvivor, type Outcome, type Scene, type Stage, simulate } from './simulate.js';
import { type Script, scene, scriptOf, withDevice } from './test-approaches.js';
import { smallDevice } from './test-device.js';
import { refused } from './test-errors.js';

type Step = 'request' | 'quiesced' | 'started' | 'release';

/** A script with one step that does `act`; the request, which is always made, takes a while. */
function acting(step: Step, act: (stage: Stage) => Promise<void>, stage: () => Stage): Script {
  return scriptOf({
    request: () => stage().world.scheduler.sleep(milliseconds(20)),
    [step]: () => act(stage()),
  });
}

async function run(
  step: Step,
  act: (stage: Stage) => Promise<void>,
  more: Scene = {},
): Promise<{ outcome: Outcome; script: Script }> {
  let stage: Stage | undefined;
  const script = acting(step, act, () => stage!);
  const outcome = await simulate(
    scene(script, {
      ...more,
      prepare: (prepared) => {
        stage = prepared;
      },
    }),
  );
  return { outcome, script };
}

const fails = (): Promise<void> => Promise.reject(refused('it fails'));
const cancels = (side: 'source' | 'destination') => async (stage: Stage) => {
  stage.cancel[side].abort();
  await stage.world.scheduler.sleep(milliseconds(5));
};
const ways: readonly [string, (stage: Stage) => Promise<void>][] = [
  ['fails', fails],
  ['is under way when the source is cancelled', cancels('source')],
  ['is under way when the destination is cancelled', cancels('destination')],
];

/** The guest runs at the destination, and never will at the source. */
function checkMoved({ source, destination, stage }: Outcome): void {
  expect([source.status, destination.status]).toEqual(['completed', 'completed']);
  expect([source.guest, destination.guest]).toEqual(['there', 'here']);
  expect(stage.source.calls).toContain('relinquish');
  expect(stage.source.calls).not.toContain('resume');
}

describe('before the commit', () => {
  const steps = (['request', 'quiesced'] as const).flatMap((step) =>
    ways.map(([way, act]) => [step, way, act] as const),
  );
  it.each(steps)('%s %s: guest and device go on at the source', async (step, _way, act) => {
    const { outcome, script } = await run(step, act);
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(script.asked.at(-1)).toBe('resume');
    expect(script.asked).not.toContain('release');
    expect(script.asked).not.toContain('start');
  });
});

describe('after the commit', () => {
  const steps = (['started', 'release'] as const).flatMap((step) =>
    ways.map(([way, act]) => [step, way, act] as const),
  );
  it.each(steps)('%s %s: the guest has moved, and what was kept is let go', async (step, _way, act) => {
    const { outcome, script } = await run(step, act);
    checkMoved(outcome);
    expect(script.asked).toEqual(['request', 'quiesce', 'start', 'release']);
    if (act === fails) expect(outcome.source.afterwards ?? outcome.destination.afterwards).toBeDefined();
  });

  it('what was kept is let go also when nothing is heard of the devices any more', async () => {
    const cut: LinkRule = {
      name: 'cut at devices-started',
      judge: ({ kind }) => (kind === 'devices-started' ? { do: 'cut', when: 'before' } : undefined),
    };
    const { outcome, script } = await run('started', async () => undefined, { rules: [cut] });
    checkMoved(outcome);
    expect(script.asked.at(-1), 'the last that was asked of the approach').toBe('release');
    expect(outcome.source.afterwards).toBeDefined();
  });

  it('a report of other devices than those that went is named, and changes nothing', async () => {
    const other: LinkRule = {
      name: 'devices-started of another device',
      judge: ({ kind, bytes }) => {
        if (kind !== 'devices-started') return undefined;
        const message = decodeMessage(bytes) as Extract<
          ReturnType<typeof decodeMessage>,
          { kind: 'devices-started' }
        >;
        const devices = message.devices.map((device) => ({ ...device, name: 'vf7' }));
        return { do: 'replace', bytes: encodeMessage({ ...message, devices }) };
      },
    };
    const { outcome, script } = await run('started', async () => undefined, { rules: [other] });
    checkMoved(outcome);
    expect(outcome.source.afterwards).toMatchObject({
      code: 'migration/malformed-message',
      facts: { message: 'devices-started', field: 'devices' },
    });
    expect(outcome.source.devices.map(({ name }) => name)).toEqual(['vf0']);
    expect(script.asked.at(-1)).toBe('release');
  });
});

describe('patience', () => {
  it('is over for a request in time, and the approach decides what comes then', async () => {
    const script = scriptOf({ request: (_device, { patience }) => patience.over });
    const { source } = await simulate(scene(script, { parameters: { requestTimeoutMs: 300 } }));
    expect(source.status).toBe('completed');
    const request = source.timeline.find(({ what }) => what === 'request')!;
    expect(request.duration).toBe(milliseconds(300));
  });

  it('with an approach that comes to no end ends the migration, by name', async () => {
    const script = scriptOf({ request: () => new Promise(() => undefined) });
    const parameters = { requestTimeoutMs: 300, answerTimeoutMs: 2000 };
    const outcome = await simulate(scene(script, { parameters }));
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.error).toMatchObject({
      code: 'migration/approach-overdue',
      facts: { effort: 'stop', approach: 'take-away', device: 'vf0', waitedMs: 2300 },
    });
  });

  it('with a device that never comes up ends too: the guest has moved without it', async () => {
    const script = scriptOf({ started: () => new Promise(() => undefined) });
    const parameters = { deviceStartTimeoutMs: 300, answerTimeoutMs: 2000 };
    const outcome = await simulate(scene(script, { parameters }));
    checkMoved(outcome);
    expect(outcome.destination.afterwards).toMatchObject({
      code: 'migration/approach-overdue',
      facts: { effort: 'start', approach: 'plug-later', device: 'vf0', waitedMs: 2300 },
    });
    expect(outcome.source.devices[0]!.problem).toMatch(/has come to no end/);
    expect(script.asked.at(-1)).toBe('release');
  });
});

describe('a refusal', () => {
  it('is heard at once, also while the rest does not fit the downtime limit any more', async () => {
    let stage: Stage | undefined;
    const script = scriptOf({
      request: async () => {
        // From here on no round comes near the limit.
        stage!.parameters.set({ downtimeLimitMs: 0 });
        await stage!.world.scheduler.sleep(milliseconds(7));
        throw refused('I need it');
      },
    });
    const outcome = await simulate(
      scene(script, {
        prepare: (prepared) => {
          stage = prepared;
        },
      }),
    );
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.error!.message).toMatch(/I need it/);
    const refusal = outcome.source.timeline.find(({ what }) => what === 'request')!;
    const end = outcome.source.timeline.findLast(({ what }) => what === 'state')!;
    expect(end.at - (refusal.at + refusal.duration!)).toBeLessThan(milliseconds(2));
  });
});

describe('devices that are taken back', () => {
  const shape = { ...withDevice, otherDevices: [{ ...smallDevice, first: 10, pages: 12 }] };

  it('are each named that can’t go back', async () => {
    const { source } = await simulate({
      shape,
      prepare: ({ source, destination }) => {
        destination.failing = { load: refused('no room') };
        for (const device of source.devices)
          device.failing = { resume: refused('stuck'), reset: refused(`${device.name} is dead`) };
      },
    });
    expect(source.error).toMatchObject({ code: 'migration/take-back-failed', facts: { count: 2 } });
    expect(source.error!.message).toMatch(
      /what vf0 was asked: .*vf0 is dead.*what vf1 was asked: .*vf1 is dead/,
    );
  });

  it('are told of when it took a reset: nobody is left to believe that nothing happened', async () => {
    const outcome = await simulate({
      shape,
      prepare: ({ source, destination }) => {
        destination.failing = { load: refused('no room') };
        source.devices[1]!.failing = { resume: refused('stuck') };
      },
    });
    expect(checkOneSurvivor(outcome)).toBe('source');
    const { error, devices } = outcome.source;
    expect(error!.advice).toMatch(/nothing is lost\. But vf1 was reset, .*stuck/);
    expect(devices.map(({ takenBack }) => takenBack)).toEqual([
      undefined,
      expect.stringMatching(/was reset/),
    ]);
  });
});

describe('a device that takes its state more slowly than it comes', () => {
  it('is waited for, and nobody is blamed for what waits meanwhile', async () => {
    const pieces = 64;
    const taken: number[] = [];
    let stage: Stage | undefined;
    const sending: StopDescriptor = {
      ...ordinary,
      name: 'much',
      text: 'sends more than may wait anywhere',
      leaves: 'state',
      make: (): DeviceStop => {
        let gave = 0;
        return {
          ahead: async () => new Uint8Array(gave++ === 0 ? pieces * MIB : 0),
          quiesce: async () => undefined,
          stopCopy: async () => new Uint8Array(1),
          resume: async () => undefined,
        };
      },
    };
    const taking: StartDescriptor = {
      ...ordinary,
      name: 'slowly',
      text: 'takes it at its own pace',
      takes: ['state'],
      afterRun: false,
      make: (): DeviceStart => ({
        take: async (piece) => {
          await stage!.world.scheduler.sleep(milliseconds(400));
          taken.push(piece.length);
        },
      }),
    };
    const { source, destination } = await simulate({
      shape: withDevice,
      registry: { tracking: builtIn.tracking, stop: [sending], start: [taking] },
      prepare: (prepared) => {
        stage = prepared;
      },
    });
    expect([source.error?.message, destination.error?.message]).toEqual([undefined, undefined]);
    expect(source.status).toBe('completed');
    expect(taken.reduce((sum, bytes) => sum + bytes, 0)).toBe(pieces * MIB + 1);
    expect(source.totalNs, 'longer than a peer may be silent').toBeGreaterThan(milliseconds(10_000));
  });
});

describe('a defect of ours once the guest runs at the destination', () => {
  it('is thrown, and the record says all the same that the guest has moved', async () => {
    let snapshot: (() => Outcome['source']) | undefined;
    const script = scriptOf({ release: () => Promise.reject(new TypeError('no such slot')) });
    await expect(
      simulate(
        scene(script, {
          observer: {
            started: (take) => {
              snapshot = take;
            },
          },
        }),
      ),
    ).rejects.toThrow('no such slot');
    expect(snapshot!()).toMatchObject({ status: 'completed', guest: 'there', error: undefined });
  });
});
