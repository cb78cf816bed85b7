/** Migrations of a machine whose device writes memory by itself: nothing it wrote is lost, whoever ends with the guest. */
import { describe, expect, it } from 'vitest';
import { FaultPlan, type FaultSite } from '../../base/fault.js';
import { seededRandom } from '../../base/random.js';
import { microseconds } from '../../base/units.js';
import { checkOneSurvivor, type Outcome, type Scene, simulate } from './simulate.js';
import { type DeviceShape, smallDevice } from './test-device.js';
import { refused } from './test-errors.js';
import { type GuestShape, smallGuest } from './test-machine.js';

const withDevice: GuestShape = { ...smallGuest, device: smallDevice };
/** A guest that does next to nothing itself: what is lost was the device's. */
const onlyDevice: GuestShape = { ...withDevice, stepsPerSlice: 0.05 };
const full = { verify: 'full' } as const;

describe('a machine with an assigned device', () => {
  it('moves with the bytes that both wrote, and its device goes on over there', async () => {
    const outcome = await simulate({ shape: withDevice, parameters: full });
    expect(checkOneSurvivor(outcome)).toBe('destination');
    const { source, destination, stage } = outcome;
    expect(source.approaches).toEqual({
      tracking: 'iommu-dirty',
      stop: 'device-state',
      start: 'device-state',
    });
    expect(destination.approaches).toEqual(source.approaches);
    expect(stage.source.device!.calls.filter((call) => !['readDirty', 'preCopy'].includes(call))).toEqual([
      ...['run', 'track', 'quiesce', 'stopCopy', 'save'],
    ]);
    expect(stage.destination.device!.calls.filter((call) => call !== 'write')).toEqual([
      ...['load', 'save', 'run'],
    ]);
  });

  it('moves whole whatever its device, its guest and the link do when', async () => {
    let both = 0;
    for (let seed = 1; seed <= 60; seed++) {
      const random = seededRandom(seed);
      const device: DeviceShape = {
        first: random.below(100),
        pages: 1 + random.below(28),
        writesPerBurst: 1 + random.below(4),
        heldUs: 1 + random.below(600),
      };
      const outcome = await simulate({
        seed,
        shape: { ...smallGuest, stepsPerSlice: random.below(6) + 0.1, device },
        latency: microseconds(5 + random.below(300)),
        bytesPerSecond: 50e6 + random.below(400e6),
        parameters: { ...full, downtimeLimitMs: 1 + random.below(3), maxRounds: 1 + random.below(8) },
      });
      expect(outcome.source.error, `seed ${seed}`).toBeUndefined();
      expect(checkOneSurvivor(outcome), `seed ${seed}`).toBe('destination');
      both += outcome.source.dirtied.both;
    }
    expect(both).toBeGreaterThan(0);
  });

  it('moves the same, event for event, for the same seed', async () => {
    const scene = { seed: 3, shape: withDevice };
    expect((await simulate(scene)).hash).toBe((await simulate(scene)).hash);
  });

  it('is recorded: pages by who wrote them, which the device wrote, its bytes, its parts of the blackout', async () => {
    const { source, stage } = await simulate({ shape: withDevice, parameters: full });
    const { dirtied, devices, deviceDirtied, blackout, rounds } = source;
    expect(dirtied.cpu).toBeGreaterThan(0);
    expect(dirtied.device).toBeGreaterThan(0);
    expect(rounds[0]!.dirtied.device + rounds[0]!.dirtied.both).toBeGreaterThan(0);
    expect(devices).toEqual([
      {
        name: 'vf0',
        preCopyBytes: 8 + 300 * (rounds.length - 1),
        blackoutBytes: 16,
        startedAfterNs: undefined,
        problem: undefined,
      },
    ]);
    const { first, pages } = smallDevice;
    for (const [from, to] of deviceDirtied!.ranges) {
      expect(from).toBeGreaterThanOrEqual(first);
      expect(to).toBeLessThan(first + pages);
    }
    expect(deviceDirtied!.pages).toBe(stage.source.deviceDirtied!.count());
    expect(blackout!.quiesceNs).toBeGreaterThan(0);
    const { totalNs, ...parts } = blackout!;
    expect(Object.values(parts).reduce((total, part) => total + part, 0)).toBe(totalNs);
    expect(source.destination!.deviceLoadNs).toBeGreaterThan(0);
  });

  it('whose pages are all pinned sends them in every pass, and does not go round in circles', async () => {
    const outcome = await simulate({
      shape: onlyDevice,
      bytesPerSecond: 50e6,
      parameters: { ...full, tracking: 'pinned' },
    });
    expect(checkOneSurvivor(outcome)).toBe('destination');
    const { roundsEnd, rounds, approaches } = outcome.source;
    expect(roundsEnd).toBe('same-pages');
    expect(approaches!.tracking).toBe('pinned');
    expect(rounds.length).toBe(2);
    expect(rounds[1]!.pages).toBeGreaterThanOrEqual(smallDevice.pages);
    const dirty = await simulate({ shape: onlyDevice, bytesPerSecond: 50e6, parameters: full });
    expect(dirty.source.rounds.at(-1)!.pages).toBeLessThan(smallDevice.pages);
  });
});

describe('a choice that contradicts the machine', () => {
  it.each([
    ['tracking', 'iommu-dirty', smallGuest],
    ['tracking', 'pinned', smallGuest],
    ['stop', 'device-state', smallGuest],
    ['start', 'device-state', smallGuest],
    ['tracking', 'cpu-log', withDevice],
  ] as const)(
    '%s = %s is refused before anything is sent, and the guest goes on',
    async (effort, approach, shape) => {
      const outcome = await simulate({ shape, parameters: { [effort]: approach } });
      expect(checkOneSurvivor(outcome)).toBe('source');
      expect(outcome.source.error).toMatchObject({ code: 'migration/approach', facts: { effort, approach } });
      expect(outcome.source.transferred.bytes).toBe(0);
      expect(outcome.source.approaches).toBeUndefined();
    },
  );
});

describe('a destination', () => {
  const without = (side: 'source' | 'destination'): Scene => ({
    shape: withDevice,
    prepare: (stage) => Object.defineProperty(stage[side], 'device', { value: undefined }),
  });

  it.each([
    ['without the device', 'destination', /source has the assigned device vf0, the destination no/],
    ['with a device that the source has not', 'source', /source has no assigned device, the destination the/],
  ] as const)('%s refuses the guest by name, before any page', async (_, side, words) => {
    const { source, destination, stage } = await simulate(without(side));
    for (const record of [source, destination]) {
      expect(record.error).toMatchObject({ code: 'migration/device-mismatch' });
      expect(record.error!.message).toMatch(words);
    }
    expect(source.transferred.bytes).toBe(0);
    expect(stage.source.running || stage.source.steps > 0).toBe(true);
  });

  it('whose device is of another model refuses it before any page was sent', async () => {
    const outcome = await simulate({
      shape: withDevice,
      prepare: ({ destination }) => {
        destination.device!.model = 2;
      },
    });
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.error!.message).toMatch(/device model 1, not 2/);
    expect(outcome.source.error!.exit).toBe(outcome.destination.error!.exit);
    // Pages of the first round may be on their way when the refusal comes; no further round is begun.
    expect(outcome.source.rounds.length).toBe(0);
    expect(outcome.stage.source.calls).not.toContain('pause');
  });

  it('names the difference of a device that is not as it was', async () => {
    const scene = (verify: 'root' | 'full'): Scene => ({
      shape: withDevice,
      parameters: { verify },
      prepare: ({ destination }) => {
        destination.device!.distort = (record) => ({
          ...record,
          state: record.state.map((b, i) => b ^ +(i === 9)),
        });
      },
    });
    const outcome = await simulate(scene('full'));
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.error!.message).toMatch(/device vf0: record differs from byte 9/);
    expect((await simulate(scene('root'))).source.status).toBe('completed');
  });
});

describe('a failure of the device', () => {
  it.each(['track', 'readDirty', 'preCopy', 'quiesce', 'stopCopy', 'save'] as const)(
    'at the source, in %s, leaves guest and device working there',
    async (call) => {
      const outcome = await simulate({
        shape: withDevice,
        parameters: full,
        prepare: ({ source }) => {
          source.device!.failing = { [call]: refused(`${call} failed`) };
        },
      });
      // It can't be switched on and yet be switched off again.
      if (call === 'track') expect(outcome.source.error!.message).toMatch(/track failed/);
      else {
        expect(checkOneSurvivor(outcome)).toBe('source');
        expect(outcome.source.error!.message).toMatch(new RegExp(`${call} failed`));
        expect(outcome.destination.error!.message).toMatch(new RegExp(`${call} failed`));
      }
    },
  );

  it.each(['write', 'load', 'save'] as const)('at the destination, in %s, does too', async (call) => {
    const outcome = await simulate({
      shape: withDevice,
      parameters: full,
      prepare: ({ destination }) => {
        destination.device!.failing = { [call]: refused(`${call} failed`) };
      },
    });
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.error!.message).toMatch(new RegExp(`${call} failed`));
  });

  it('to resume ends in a reset, with which it works again', async () => {
    const outcome = await simulate({
      shape: withDevice,
      prepare: ({ source, destination }) => {
        destination.device!.failing = { load: refused('bad state') };
        source.device!.failing = { resume: refused('stuck') };
      },
    });
    expect(outcome.source.error!.message).toMatch(/bad state$/);
    expect(outcome.stage.source.device!.calls).toContain('reset');
    expect(checkOneSurvivor(outcome)).toBe('source');
  });

  it('to resume and to be reset is reported with what came before it, and everything else is undone', async () => {
    const { source, stage } = await simulate({
      shape: withDevice,
      prepare: ({ source, destination }) => {
        destination.device!.failing = { load: refused('bad state') };
        source.device!.failing = { resume: refused('stuck'), reset: refused('dead') };
      },
    });
    expect(source.error!.code).toBe('migration/take-back-failed');
    expect(source.error!.message).toMatch(/bad state.*what vf0 was asked: .*dead/);
    expect(stage.source.calls).toEqual(expect.arrayContaining(['resume', 'stopDirtyLog']));
  });
});

describe('what is done wrong on purpose is caught by the verifying run, which names pages', () => {
  const caught = (outcome: Outcome): void => {
    expect(outcome.source.error?.code).toBe('migration/verification-failed');
    expect(outcome.source.error!.message).toMatch(/pages [0-9]+/);
    expect(outcome.source.verification!.established).toBe(false);
  };
  const scene = (sites: readonly FaultSite[], verify: 'full' | 'root'): Scene => ({
    shape: onlyDevice,
    parameters: { verify, downtimeLimitMs: 1 },
    faults: new FaultPlan(sites.map((site) => ({ site, count: 1000 }))),
  });

  it.each([
    'migration/last-pass-skipped',
    'migration/device-untracked',
    'migration/copy-before-drain',
    'iommu/flush-skipped',
  ] as const)('%s', async (site) => {
    const outcome = await simulate(scene([site], 'full'));
    caught(outcome);
    expect(checkOneSurvivor(outcome)).toBe('source');
    // Without the check the damage passes: it is real.
    const control = await simulate(scene([site], 'root'));
    expect(control.source.status).toBe('completed');
    expect(() => checkOneSurvivor(control)).toThrow(/differs from the truth/);
  });

  it('a device that goes on writing', async () => {
    const outcome = await simulate({
      ...scene([], 'full'),
      prepare: ({ source }) => {
        source.device!.neverStops = true;
      },
    });
    caught(outcome);
  });

  it('and is told by the record where it was a choice of tracking', async () => {
    const { source } = await simulate(scene(['migration/device-untracked'], 'full'));
    expect(source.approaches!.tracking).toBe('cpu-log');
  });
});
