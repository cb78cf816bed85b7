/**
 * The contracts of tracking, stop and start, filled by approaches that are nothing like VFIO: one that asks the guest
 * while rounds go on, one of whose device nothing travels, one that starts the device when the guest runs, one whose
 * device is kept for a rollback. And several devices at once.
 */
import { describe, expect, it } from 'vitest';

import { milliseconds } from '../../base/units.js';
import type { RequestLimits } from '../../migration/patience.js';
import type { DeviceIdentity } from '../../migration/ports.js';
import { builtIn } from '../../migration/registry.js';
import type { DeviceStop } from '../../migration/stop/stop.js';
import { checkOneSurvivor, type Stage, simulate } from './simulate.js';
import { plugLater, registryOf, scene, scriptOf, takeAway, withDevice } from './test-approaches.js';
import { type DeviceShape, smallDevice } from './test-device.js';
import { refused } from './test-errors.js';
import { type GuestShape, smallGuest } from './test-machine.js';

describe('a stop after which nothing of the device travels, and a start after the guest runs', () => {
  it('move the guest; the record tells when the device worked, and what was kept is let go', async () => {
    let stage: Stage | undefined;
    const script = scriptOf({
      started: async (device) => {
        expect(stage!.destination.running).toBe(true);
        await stage!.world.scheduler.sleep(milliseconds(7));
        void device;
      },
    });
    const outcome = await simulate(
      scene(script, {
        prepare: (it) => {
          stage = it;
        },
      }),
    );
    const { source, destination } = outcome;
    expect(source.status).toBe('completed');
    expect(script.asked).toEqual(['quiesce', 'start', 'release']);
    expect(source.approaches).toEqual({ tracking: 'iommu-dirty', stop: 'take-away', start: 'plug-later' });
    expect(source.devices[0]).toMatchObject({ preCopyBytes: 0, blackoutBytes: 0, problem: undefined });
    expect(source.devices[0]!.startedAfterNs).toBeGreaterThanOrEqual(milliseconds(7));
    expect(destination.deviceBytes).toBe(0);
    expect(outcome.stage.destination.device!.calls).not.toContain('load');
  });

  it('end with the guest at the destination, and both records say why a device does not work', async () => {
    const script = scriptOf({ started: () => Promise.reject(refused('no link')) });
    const { source, destination } = await simulate(scene(script));
    expect([source.status, destination.status]).toEqual(['completed', 'completed']);
    expect(source.devices[0]!.problem).toMatch(/no link/);
    expect(destination.afterwards?.message).toMatch(/no link/);
  });

  it('are noted where what was kept can’t be let go: the guest has moved all the same', async () => {
    const script = scriptOf({ release: () => Promise.reject(refused('stuck in its slot')) });
    const { source } = await simulate(scene(script));
    expect(source.status).toBe('completed');
    expect(source.afterwards?.message).toMatch(/stuck in its slot/);
  });

  it('give the device back when the destination fails, and let nothing go', async () => {
    const script = scriptOf();
    const outcome = await simulate(
      scene(script, {
        prepare: ({ destination }) => {
          destination.failing = { load: refused('no room') };
        },
      }),
    );
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(script.asked).toEqual(['quiesce', 'resume']);
  });
});

describe('a request to the guest', () => {
  it('is made once, when the rest would fit; rounds go on until it is answered', async () => {
    let stage: Stage | undefined;
    const script = scriptOf({
      request: () => stage!.world.scheduler.sleep(milliseconds(100)),
    });
    const { source } = await simulate(
      scene(script, {
        prepare: (it) => {
          stage = it;
        },
      }),
    );
    expect(source.status).toBe('completed');
    expect(script.asked).toEqual(['request', 'quiesce', 'start', 'release']);
    const request = source.timeline.find(({ who, what }) => who === 'vf0' && what === 'request')!;
    const during = source.timeline.filter(
      ({ what, at }) => what === 'round' && at > request.at && at < request.at + request.duration!,
    );
    expect(during.length).toBeGreaterThan(2);
    const stopped = source.timeline.find(({ what }) => what === 'quiescing')!;
    expect(stopped.at).toBeGreaterThanOrEqual(request.at + request.duration!);
  });

  it('that is refused leaves guest and device at the source', async () => {
    const script = scriptOf({ request: () => Promise.reject(refused('I need it')) });
    const outcome = await simulate(scene(script));
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.error!.message).toMatch(/I need it/);
    expect(script.asked).toEqual(['request', 'resume']);
  });

  it('that nobody answers is given up when the migration is cancelled, and knows its patience', async () => {
    let given: RequestLimits | undefined;
    let givenUp = false;
    const script = scriptOf({
      request: (_device, limits) => {
        given = limits;
        void limits.givenUp.then(() => {
          givenUp = true;
        });
        return new Promise(() => undefined);
      },
    });
    const outcome = await simulate(
      scene(script, {
        parameters: { requestTimeoutMs: 1234 },
        prepare: ({ world, cancel }) => {
          world.scheduler.after(milliseconds(300), () => cancel.source.abort());
        },
      }),
    );
    expect(outcome.source.status).toBe('cancelled');
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(given!.patience.duration).toBe(milliseconds(1234));
    expect(givenUp).toBe(true);
  });
});

/** A device that is simply not asked. */
const quietStop: DeviceStop = { quiesce: async () => undefined, resume: async () => undefined };

describe('approaches', () => {
  it('whose stop sends what the start does not take, or the reverse, are refused before anything is sent', async () => {
    const script = scriptOf();
    for (const registry of [
      { ...builtIn, start: [plugLater(script)] },
      { ...builtIn, stop: [takeAway(script)] },
    ]) {
      const { source } = await simulate({ shape: withDevice, registry });
      expect(source.error).toMatchObject({ code: 'migration/approach', facts: { effort: 'start' } });
      expect(source.transferred.bytes).toBe(0);
    }
  });

  it.each(['dma', 'vfio'] as const)(
    'that need %s are refused where the device has it not, by name',
    async (facet) => {
      const { source } = await simulate({
        shape: withDevice,
        prepare: ({ source }) => Object.defineProperty(source.device, facet, { value: undefined }),
      });
      expect(source.error).toMatchObject({ code: 'migration/blocked' });
      expect(source.error!.message).toMatch(facet === 'dma' ? /tells what it writes/ : /does not speak VFIO/);
    },
  );

  it('that the destination’s device can’t serve are refused before any page', async () => {
    const { source, destination } = await simulate({
      shape: withDevice,
      prepare: ({ destination }) => Object.defineProperty(destination.device, 'vfio', { value: undefined }),
    });
    for (const record of [source, destination]) {
      expect(record.error!.message).toMatch(/at the destination vf0: it does not speak VFIO/);
    }
    expect(source.transferred.pages).toBe(0);
  });

  it('that are left to choose go together with those that are wanted', async () => {
    const script = scriptOf();
    const registry = {
      tracking: builtIn.tracking,
      stop: [...builtIn.stop, takeAway(script)],
      start: [...builtIn.start, plugLater(script)],
    };
    const both = { stop: 'device-state', start: 'device-state' };
    const later = { stop: 'take-away', start: 'plug-later' };
    for (const [parameters, approaches] of [
      [{}, both],
      [{ start: 'device-state' }, both],
      [{ stop: 'take-away' }, later],
      [{ start: 'plug-later' }, later],
    ] as const) {
      const { source } = await simulate({ shape: withDevice, registry, parameters });
      expect(source.approaches).toMatchObject(approaches);
      expect(source.status).toBe('completed');
    }
    // Without VFIO, what needs it is no choice, and the other stop and start remain.
    const untouching = { ...takeAway(script), make: () => quietStop };
    const { source } = await simulate({
      shape: withDevice,
      registry: { ...registry, stop: [...builtIn.stop, untouching] },
      prepare: ({ source, destination }) => {
        for (const { device } of [source, destination])
          Object.defineProperty(device, 'vfio', { value: undefined });
      },
    });
    expect(source.approaches).toMatchObject(later);
  });

  it('that need the guest are refused, or passed over, where it does not offer what they need', async () => {
    const script = scriptOf();
    const asking = { ...takeAway(script), name: 'ask', guestFeatures: ['quiesce', 'wake'] };
    const registry = { ...registryOf(script), stop: [asking, takeAway(script)] };
    const move = (stop: string, features: readonly string[] | undefined) =>
      simulate({
        shape: withDevice,
        registry,
        parameters: { stop },
        prepare: ({ source }) => {
          const guest = features && { features: async () => features };
          Object.defineProperty(source.device, 'guest', { value: guest });
        },
      });
    const offered = await move('auto', ['wake', 'quiesce', 'more']);
    expect(offered.source.approaches!.stop).toBe('ask');
    for (const [features, why] of [
      [['wake'], /vf0: its driver does not offer quiesce/],
      [[], /vf0: its driver does not offer quiesce, wake/],
      [undefined, /vf0: there is no channel to its driver/],
    ] as const) {
      const wanted = await move('ask', features);
      expect(wanted.source.error).toMatchObject({ code: 'migration/approach', facts: { effort: 'stop' } });
      expect(wanted.source.error!.message).toMatch(why);
      expect(wanted.source.transferred.bytes).toBe(0);
      expect(wanted.stage.source.calls).toEqual([]);
      expect((await move('auto', features)).source.approaches!.stop).toBe('take-away');
    }
  });

  it('of which none is left say so with the reason of each', async () => {
    const { source } = await simulate({
      shape: withDevice,
      prepare: ({ source }) => Object.defineProperty(source.device, 'dma', { value: undefined }),
    });
    expect(source.error).toMatchObject({ code: 'migration/blocked', facts: { effort: 'tracking' } });
    expect(source.error!.message).toMatch(/^migration blocked: .*: iommu-dirty: vf0: .*; pinned: vf0: /);
  });

  it('that cope with a destination without the device move the guest there, and tell', async () => {
    const script = scriptOf();
    const later = plugLater(script);
    for (const copesWith of [[], ['no-device']] as const) {
      const { source, stage } = await simulate({
        shape: withDevice,
        registry: { ...registryOf(script), start: [{ ...later, copesWith }] },
        prepare: ({ destination }) => Object.defineProperty(destination, 'devices', { value: [] }),
      });
      if (copesWith.length === 0) {
        expect(source.error).toMatchObject({ code: 'migration/device-mismatch' });
        expect(source.transferred.pages).toBe(0);
        continue;
      }
      expect([source.status, source.guest]).toEqual(['completed', 'there']);
      expect(stage.destination.calls.at(-1)).toBe('run');
      expect(source.devices[0]!.problem).toMatch(/no such device at the destination/);
      expect(script.asked).not.toContain('start');
      expect(script.asked.at(-1)).toBe('release');
    }
  });

  it.each([
    ['other-device', { kind: 'other:dev' }, /kind test:dev at the source, other:dev here/],
    ['revision', { revision: 2 }, /revision 1 at the source, 2 here/],
    ['vectors', { vectors: 2 }, /vectors 3 at the source, 2 here/],
    ['queues', { queues: 1 }, /queues 2 at the source, 1 here/],
    [
      'mac-policy',
      { mac: '02:00:00:00:00:02' },
      /mac 02:00:00:00:00:01 at the source, 02:00:00:00:00:02 here/,
    ],
  ] as const)('meet another device (%s) only if they cope with it', async (difference, change, why) => {
    const script = scriptOf();
    const later = plugLater(script);
    const coping = { ...later, name: 'coping', copesWith: [difference] };
    const move = (start: string, more: Partial<DeviceIdentity> = {}) =>
      simulate({
        shape: withDevice,
        registry: { ...registryOf(script), start: [later, coping] },
        parameters: { start },
        prepare: ({ destination }) => {
          const device = destination.device!;
          device.identity = { ...device.identity, ...change, ...more };
        },
      });
    const refused = await move(later.name);
    expect(checkOneSurvivor(refused)).toBe('source');
    expect(refused.source.error).toMatchObject({
      code: 'migration/device-differs',
      facts: { device: 'vf0' },
    });
    expect(refused.source.error!.message).toMatch(why);
    expect(refused.source.error!.advice).toMatch(/choose a start that copes: coping\./);
    expect(refused.source.transferred.pages).toBe(0);
    const moved = await move(coping.name);
    expect(moved.source.status).toBe('completed');
    // A second difference is one too many.
    const other = difference === 'revision' ? { vectors: 1 } : { revision: 9 };
    const both = await move(coping.name, other);
    expect(both.source.error).toMatchObject({ code: 'migration/device-differs' });
    expect(both.source.error!.message).not.toMatch(why);
  });

  it('unknown to the destination are named there with what it knows', async () => {
    const script = scriptOf();
    const { destination } = await simulate({
      shape: withDevice,
      registry: registryOf(script),
      destinationRegistry: builtIn,
    });
    const known = builtIn.stop.map(({ name }) => name).join(', ');
    expect(destination.error).toMatchObject({
      code: 'migration/approach-unknown',
      facts: { effort: 'stop', approach: 'take-away', known },
    });
  });
});

describe('several devices', () => {
  const area = (first: number): DeviceShape => ({ ...smallDevice, first, pages: 12 });
  const shape: GuestShape = { ...smallGuest, device: area(30), otherDevices: [area(50), area(70)] };

  it('move together, each with its state, and all are quiet before any stops', async () => {
    const outcome = await simulate({ shape, parameters: { verify: 'full' } });
    expect(checkOneSurvivor(outcome)).toBe('destination');
    const { source, stage } = outcome;
    expect(source.devices.map(({ name, blackoutBytes }) => [name, blackoutBytes])).toEqual([
      ['vf0', 16],
      ['vf1', 16],
      ['vf2', 16],
    ]);
    expect(stage.destination.devices.map(({ calls }) => calls.includes('load'))).toEqual([true, true, true]);
    const steps = (what: string) => source.timeline.filter((entry) => entry.what === what);
    const quiet = Math.max(...steps('quiesce').map(({ at, duration }) => at + duration!));
    const stopping = Math.min(...steps('stopCopy').map(({ at }) => at));
    expect(quiet).toBeLessThanOrEqual(stopping);
  });

  it.each(['quiesce', 'stopCopy', 'readDirty', 'preCopy'] as const)(
    'one of which fails in %s are all taken back',
    async (call) => {
      const outcome = await simulate({
        shape,
        prepare: ({ source }) => {
          source.devices[1]!.failing = { [call]: refused(`${call} failed`) };
        },
      });
      expect(checkOneSurvivor(outcome)).toBe('source');
      expect(outcome.source.error!.message).toMatch(new RegExp(`${call} failed`));
    },
  );

  it('one of which is refused by the destination stay, all of them', async () => {
    const outcome = await simulate({
      shape,
      prepare: ({ destination }) => {
        destination.devices[2]!.model = 9;
      },
    });
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.error!.message).toMatch(/device model 1, not 9/);
    expect(outcome.source.rounds).toEqual([]);
  });

  it('of another number or order are refused by name', async () => {
    const { source } = await simulate({
      shape,
      prepare: ({ destination }) =>
        Object.defineProperty(destination, 'devices', { value: destination.devices.slice(0, 2) }),
    });
    expect(source.error).toMatchObject({
      code: 'migration/device-mismatch',
      facts: { source: 'vf0, vf1, vf2', destination: 'vf0, vf1' },
    });
  });
});
