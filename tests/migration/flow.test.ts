/** What a migration without a broken link does: agree, converge within its limits, verify, fail in an orderly way. */
import { describe, expect, it } from 'vitest';
import { FaultPlan } from '../../base/fault.js';
import { PAGE_BYTES } from '../../base/units.js';
import type { LinkRule } from '../../lab/simulator/link.js';
import type { MachineState } from '../../migration/ports.js';
import type { RoundRecord } from '../../migration/record.js';
import { checkOneSurvivor, simulate } from './simulate.js';
import { refused } from './test-errors.js';
import type { GuestShape, TestMachine } from './test-machine.js';

/** Writes about 400 MB/s worth of pages, as most of its words are in pages of their own. */
const fastGuest: GuestShape = { pages: 512, workingSet: 500, stepsPerSlice: 10 };

describe('a migration without faults', () => {
  it('moves the guest with the bytes it must have, and the source gives it up', async () => {
    const outcome = await simulate();
    expect(checkOneSurvivor(outcome)).toBe('destination');
    const { source, destination, stage } = outcome;
    expect(source.status).toBe('completed');
    expect(source.error).toBeUndefined();
    expect(destination.status).toBe('completed');
    expect(stage.source.calls).toEqual(['startDirtyLog', 'pause', 'relinquish']);
    expect(stage.destination.calls).toEqual(['accept', 'prepareCode', 'load', 'run']);
    expect(source.setupNs).toBeGreaterThan(0);
    expect(source.totalNs).toBeGreaterThan(source.setupNs);
    expect(destination.migrationId).toBe(source.migrationId);
  });

  it('opens its channels while the hello travels, and takes them back from a destination that refuses it', async () => {
    for (const refuses of [false, true]) {
      const order: string[] = [];
      const { source, destination } = await simulate({
        prepare: ({ data, destination }) => {
          const { open, close } = data.source;
          data.source.open = (options) => {
            order.push('open');
            return open.call(data.source, options);
          };
          data.source.close = () => {
            order.push('close');
            return close.call(data.source);
          };
          const { accept } = destination;
          destination.accept = async (description) => {
            order.push('accept');
            if (refuses) throw refused('as it likes');
            return accept.call(destination, description);
          };
        },
      });
      expect(order.slice(0, 2)).toEqual(['open', 'accept']);
      expect(order).toContain('close');
      expect([source.status, destination.status]).toEqual(
        refuses ? ['failed', 'failed'] : ['completed', 'completed'],
      );
    }
  });

  it('compiles the code during pre-copy, before the guest is paused', async () => {
    const outcome = await simulate({
      prepare: ({ source, destination }) => {
        const { pause } = source;
        source.pause = () => {
          expect(destination.calls).toContain('prepareCode');
          return pause.call(source);
        };
      },
    });
    expect(checkOneSurvivor(outcome)).toBe('destination');
  });

  it('compiles it while the first round is still on its way', async () => {
    let roundIsOver = false;
    const { source, destination } = await simulate({
      prepare: ({ data, source, destination }) => {
        source.describedAs = { imageGpa: 40 * PAGE_BYTES, imageBytes: 5 * PAGE_BYTES };
        const { received } = data.destination;
        data.destination.received = async (round, channels) => {
          const count = await received.call(data.destination, round, channels);
          roundIsOver ||= round === 1;
          return count;
        };
        const { prepareCode } = destination;
        destination.prepareCode = () => {
          expect(roundIsOver).toBe(false);
          return prepareCode.call(destination);
        };
      },
    });
    expect([source.status, destination.status]).toEqual(['completed', 'completed']);
    expect(roundIsOver).toBe(true);
  });

  it('asks again after the round where the code was not there as it will be', async () => {
    let asked = 0;
    const { source, stage } = await simulate({
      prepare: ({ destination }) => {
        const { prepareCode } = destination;
        destination.prepareCode = async () => (++asked === 1 ? false : prepareCode.call(destination));
      },
    });
    expect(source.status).toBe('completed');
    expect(asked).toBe(2);
    expect(stage.destination.calls).toEqual(['accept', 'prepareCode', 'load', 'run']);
  });

  it('records rounds whose sums are the totals, and a blackout whose parts are the whole', async () => {
    const { source } = await simulate({ shape: fastGuest, parameters: { verify: 'full' } });
    const sum = (field: 'pages' | 'zeroPages' | 'resentPages' | 'bytes'): number =>
      source.rounds.reduce((total, round) => total + round[field], 0);
    expect(source.rounds[0]).toMatchObject({ round: 1, pages: 512, resentPages: 0, last: false });
    expect(source.rounds.at(-1)).toMatchObject({ last: true });
    for (const field of ['pages', 'zeroPages', 'resentPages', 'bytes'] as const) {
      expect(source.transferred[field]).toBe(sum(field));
    }
    expect(sum('resentPages')).toBe(sum('pages') - 512);
    const { totalNs, ...parts } = source.blackout!;
    expect(Object.values(parts).reduce((total, part) => total + part, 0)).toBe(totalNs);
    expect(source.blackout!.loadNs).toBeGreaterThanOrEqual(
      source.destination!.lastPagesNs + source.destination!.integrityNs + source.destination!.loadNs,
    );
    expect(source.verification).toMatchObject({ mode: 'full', pages: 512 });
    expect(source.verification!.durationNs).toBeGreaterThan(0);
    expect(source.dirtied.cpu).toBeGreaterThan(0);
    expect(source.harvests.count).toBe(source.rounds.length);
  });

  it('of a guest that writes nothing takes one round, and the last one is empty', async () => {
    const { source } = await simulate({ shape: { pages: 64, workingSet: 10, stepsPerSlice: 0.001 } });
    expect(source.rounds.map(({ round }) => round)).toEqual([1, 2]);
    expect(source.roundsEnd).toBe('nothing-left');
    expect(source.rounds[1]!.bytes).toBe(0);
  });

  it('reports its states, rounds and throttle to the observer as they happen', async () => {
    const seen: string[] = [];
    const rounds: RoundRecord[] = [];
    let snapshot: () => { readonly status: string } = () => ({ status: '' });
    const outcome = await simulate({
      shape: fastGuest,
      bytesPerSecond: 50e6,
      observer: {
        started: (take) => {
          snapshot = take;
        },
        stateChanged: (from, to) => {
          seen.push(`${from} ${to}`);
          expect(snapshot().status).toBe(to);
        },
        roundStarted: (round) => seen.push(`round ${round}`),
        roundFinished: (round) => rounds.push(round),
        throttleChanged: (percent) => seen.push(`throttle ${percent}`),
      },
    });
    expect(rounds).toEqual(outcome.source.rounds);
    expect(seen.slice(0, 4)).toEqual(['none setup', 'setup active', 'round 1', 'round 2']);
    expect(seen).toContain('throttle 20');
    expect(seen.slice(-5)).toEqual([
      'active pre-switchover',
      'pre-switchover device',
      `round ${rounds.length}`,
      'device committed',
      'committed completed',
    ]);
  });
});

describe('the limits', () => {
  it('downtime-limit is honoured by a guest that the link keeps up with', async () => {
    const slow: GuestShape = { pages: 1024, workingSet: 1000, stepsPerSlice: 1 };
    for (const downtimeLimitMs of [1, 5, 20]) {
      const { source } = await simulate({
        shape: slow,
        bytesPerSecond: 100e6,
        parameters: { downtimeLimitMs },
      });
      expect(source.roundsEnd).not.toBe('max-rounds');
      expect(source.blackout!.totalNs / 1e6).toBeLessThan(downtimeLimitMs);
    }
  });

  it('a longer downtime-limit means fewer rounds', async () => {
    const rounds = async (downtimeLimitMs: number): Promise<number> =>
      (await simulate({ shape: fastGuest, bytesPerSecond: 100e6, parameters: { downtimeLimitMs } })).source
        .rounds.length;
    expect(await rounds(100)).toBeLessThan(await rounds(1));
  });

  it('goes over one channel where several are not wanted, however many there may be', async () => {
    const channels = async (multifd: boolean): Promise<number> => {
      const { source } = await simulate({ parameters: { multifd, multifdChannels: 3 } });
      expect(source.status).toBe('completed');
      return source.channels;
    };
    expect([await channels(true), await channels(false)]).toEqual([3, 1]);
  });

  it('max-rounds ends pre-copy of a guest that is too fast, and the record says so', async () => {
    const outcome = await simulate({
      shape: fastGuest,
      bytesPerSecond: 20e6,
      parameters: { maxRounds: 4, autoConverge: false },
    });
    expect(checkOneSurvivor(outcome)).toBe('destination');
    expect(outcome.source.roundsEnd).toBe('max-rounds');
    expect(outcome.source.rounds.length).toBe(5);
    expect(outcome.source.blackout!.totalNs).toBeGreaterThan(2e6);
  });

  it('auto-converge slows a guest that outruns the link until it fits, and lets it go at the end', async () => {
    const scene = {
      shape: fastGuest,
      bytesPerSecond: 40e6,
      parameters: { downtimeLimitMs: 10, maxRounds: 60 },
    };
    const outcome = await simulate(scene);
    expect(checkOneSurvivor(outcome)).toBe('destination');
    expect(outcome.source.roundsEnd).toBe('fits-downtime-limit');
    const throttles = [...new Set(outcome.source.rounds.map((round) => round.throttlePercent))];
    expect(throttles.slice(0, 4)).toEqual([0, 20, 30, 40]);
    expect(Math.max(...throttles)).toBeLessThanOrEqual(99);
    const control = await simulate({ ...scene, parameters: { ...scene.parameters, autoConverge: false } });
    expect(control.source.roundsEnd).toBe('max-rounds');
  });

  it('max-bandwidth is respected while the guest runs, and lifted for the last pages', async () => {
    const outcome = await simulate({
      shape: fastGuest,
      bytesPerSecond: 400e6,
      parameters: { maxBandwidth: 30e6, maxRounds: 5, autoConverge: false },
    });
    const { rounds } = outcome.source;
    const peak = outcome.stage.data.peakRate(rounds.length - 1);
    expect(peak).toBeGreaterThan(10e6);
    // A frame may end just inside a window that it began outside of.
    expect(peak).toBeLessThan(30e6 * 1.5);
    const last = rounds.at(-1)!;
    expect(last.bytesPerSecond).toBeGreaterThan(100e6);
    // What was saved up before a round comes on top: 10 ms of it.
    for (const { bytes, durationNs } of rounds.slice(0, -1))
      expect(bytes).toBeLessThanOrEqual(30e6 * (durationNs / 1e9 + 0.0101));
  });

  it('max-bandwidth changed while it runs takes effect', async () => {
    const scene = { shape: { pages: 1024, workingSet: 1000, stepsPerSlice: 1 }, bytesPerSecond: 400e6 };
    const slow = await simulate({ ...scene, parameters: { maxBandwidth: 10e6 } });
    const lifted = await simulate({
      ...scene,
      parameters: { maxBandwidth: 10e6 },
      prepare: ({ parameters, world: { scheduler } }) => {
        scheduler.after(20e6 as never, () => parameters.set({ maxBandwidth: 0 }));
      },
    });
    expect(lifted.source.totalNs).toBeLessThan(slow.source.totalNs / 2);
    expect(lifted.source.status).toBe('completed');
  });
});

describe('a refusal or failure of a machine', () => {
  const cases: readonly (readonly [
    string,
    (source: TestMachine, destination: TestMachine) => void,
    RegExp,
  ])[] = [
    [
      'of another RAM size',
      (_, d) => {
        d.failing = { accept: refused('ramBytes 1, not 2') };
      },
      /ramBytes 1, not 2/,
    ],
    [
      'that fails to prepare the code',
      (_, d) => {
        d.failing = { prepareCode: refused('no code') };
      },
      /no code/,
    ],
    [
      'that fails to load',
      (_, d) => {
        d.failing = { load: refused('bad record') };
      },
      /bad record/,
    ],
    [
      'whose source fails to harvest',
      (s) => {
        s.failing = { harvest: refused('log lost') };
      },
      /log lost/,
    ],
    [
      'whose source fails to pause',
      (s) => {
        s.failing = { pause: refused('stuck vCPU') };
      },
      /stuck vCPU/,
    ],
  ];

  it.each(cases)('%s leaves the guest at the source, and both sides know why', async (_, prepare, words) => {
    const outcome = await simulate({ prepare: ({ source, destination }) => prepare(source, destination) });
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.status).toBe('failed');
    expect(outcome.source.error!.message).toMatch(words);
    expect(outcome.destination.error!.message).toMatch(words);
    // The same refusal ends with the same status wherever it was found.
    expect(outcome.source.error!.exit).toBe(outcome.destination.error!.exit);
  });

  it('by the destination comes before any page was sent', async () => {
    const outcome = await simulate({
      prepare: ({ destination }) => {
        destination.failing = { accept: refused('no') };
      },
    });
    expect(outcome.source.transferred.bytes).toBe(0);
    expect(outcome.stage.source.calls).toEqual(['startDirtyLog', 'stopDirtyLog']);
  });

  it('to run after commit is reported as unknown at the source, which stays paused', async () => {
    const outcome = await simulate({
      prepare: ({ destination }) => {
        destination.failing = { run: refused('no thread') };
      },
    });
    expect(outcome.source.status).toBe('unacknowledged');
    expect(outcome.source.error!.code).toBe('migration/commit-unacknowledged');
    expect(outcome.source.error!.exitStatus).toBe(5);
    expect(outcome.source.error!.message).toMatch(/no thread/);
    expect(outcome.stage.source.calls).not.toContain('resume');
    expect(outcome.destination.status).toBe('failed');
  });

  it('to resume at the source is reported with what came before it', async () => {
    const outcome = await simulate({
      prepare: ({ source, destination }) => {
        destination.failing = { load: refused('bad record') };
        source.failing = { resume: refused('no thread') };
      },
    });
    expect(outcome.source.error!.code).toBe('migration/take-back-failed');
    expect(outcome.source.error!.message).toMatch(/bad record.*the pause of the vCPUs: .*no thread/);
    expect(outcome.stage.source.calls).toContain('stopDirtyLog');
  });
});

describe('verification', () => {
  /** Damages one byte of a page on the way, each time it is sent: nothing heals the damage. */
  const flip = () => {
    const damaged = { page: -1 };
    const onPage = (page: number, _round: number, bytes: Uint8Array): void => {
      if (damaged.page < 0) damaged.page = page;
      if (page === damaged.page) bytes[1234]! ^= 0x40;
    };
    return { onPage, damaged };
  };
  const quiet: GuestShape = { pages: 128, workingSet: 20, stepsPerSlice: 2 };

  it('by root catches a byte flipped on the way, names the page at both ends, and the guest stays', async () => {
    const { onPage, damaged } = flip();
    const outcome = await simulate({ shape: quiet, onPage, parameters: { verify: 'root' } });
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.error).toMatchObject({
      code: 'migration/integrity-mismatch',
      facts: { pages: `${damaged.page}`, count: 1 },
    });
    expect(outcome.destination.error).toMatchObject({
      code: 'migration/integrity-mismatch',
      facts: { pages: `${damaged.page}`, count: 1 },
    });
  });

  it('switched off lets the flipped byte pass: the check is what finds it', async () => {
    const outcome = await simulate({ shape: quiet, onPage: flip().onPage, parameters: { verify: 'off' } });
    expect(outcome.source.status).toBe('completed');
    expect(() => checkOneSurvivor(outcome)).toThrow(/differs from the truth/);
  });

  it('in full catches a byte changed in RAM after it arrived', async () => {
    const scene = {
      shape: quiet,
      prepare: ({ destination }: { destination: TestMachine }) => {
        const { load } = destination;
        destination.load = async (state: MachineState, ramArrived?: Promise<void>) => {
          await ramArrived;
          destination.ram[42 * PAGE_BYTES + 7]! ^= 1;
          await load.call(destination, state);
        };
      },
    };
    const outcome = await simulate({ ...scene, parameters: { verify: 'full' } });
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.error).toMatchObject({ code: 'migration/verification-failed' });
    expect(outcome.source.error!.message).toContain('pages 42');
    const control = await simulate({ ...scene, parameters: { verify: 'root' } });
    expect(() => checkOneSurvivor(control)).toThrow(/differs from the truth/);
  });

  it('in full catches a skipped last pass; by root alone it does not', async () => {
    const skip = () => new FaultPlan([{ site: 'migration/last-pass-skipped' }]);
    const outcome = await simulate({ parameters: { verify: 'full' }, faults: skip() });
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.error!.code).toBe('migration/verification-failed');
    const control = await simulate({ parameters: { verify: 'root' }, faults: skip() });
    expect(() => checkOneSurvivor(control)).toThrow(/differs from the truth/);
  });

  const distortions: readonly (readonly [string, (state: MachineState) => MachineState, RegExp])[] = [
    [
      'a register',
      (s) => ({
        ...s,
        vcpus: [{ ...s.vcpus[0]!, registers: s.vcpus[0]!.registers.map((b, i) => (i === 8 ? b ^ 1 : b)) }],
      }),
      /vCPU 0 register seed: 0x/,
    ],
    [
      'the stack',
      (s) => ({ ...s, vcpus: [{ ...s.vcpus[0]!, unwind: Uint8Array.of(1, 2, 4) }] }),
      /stack differs from byte 2/,
    ],
    [
      'a pending vector',
      (s) => ({ ...s, vcpus: [{ ...s.vcpus[0]!, pir: s.vcpus[0]!.pir.map((b, i) => (i === 4 ? 2 : b)) }] }),
      /PIR: vector 0x21 added/,
    ],
    [
      'the timer',
      (s) => ({ ...s, vcpus: [{ ...s.vcpus[0]!, timerDeadlineNs: 5 }] }),
      /timer: -1 ns saved, 5 ns loaded/,
    ],
    [
      'a device',
      (s) => ({ ...s, devices: [{ ...s.devices[0]!, state: Uint8Array.of(0, 0) }] }),
      /device console: record differs/,
    ],
    ['the clock', (s) => ({ ...s, clockNs: s.clockNs + 1 }), /virtual clock/],
    ['a missing device', (s) => ({ ...s, devices: [] }), /devices: 1 saved, 0 loaded/],
  ];

  it.each(distortions)('in full names %s that differs after loading', async (_, distort, words) => {
    const scene = (verify: 'root' | 'full') => ({
      parameters: { verify },
      registerNames: ['steps', 'seed'],
      prepare: ({ destination }: { destination: TestMachine }) => {
        destination.distort = distort;
      },
    });
    const outcome = await simulate(scene('full'));
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.error!.message).toMatch(words);
    expect(outcome.destination.error!.message).toMatch(words);
    expect((await simulate(scene('root'))).source.status).toBe('completed');
  });

  it('in full is not counted in the blackout', async () => {
    const [root, full] = [
      await simulate({ parameters: { verify: 'root' } }),
      await simulate({ parameters: { verify: 'full' } }),
    ];
    expect(full.source.verification!.durationNs).toBeGreaterThan(100e3);
    expect(Math.abs(full.source.blackout!.totalNs - root.source.blackout!.totalNs)).toBeLessThan(100e3);
  });
});

describe('a commit that comes twice', () => {
  it('runs the guest once, and the destination reports it', async () => {
    const twice: LinkRule = {
      name: 'the commit comes twice',
      judge: ({ kind }) => (kind === 'commit' ? { do: 'repeat' } : undefined),
    };
    const outcome = await simulate({ rules: [twice] });
    expect(checkOneSurvivor(outcome)).toBe('destination');
    expect(outcome.destination.afterwards).toMatchObject({
      code: 'migration/unexpected-message',
      facts: { message: 'commit' },
    });
  });
});
