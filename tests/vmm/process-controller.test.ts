import { describe, expect, it } from 'vitest';
import type { AbortSignalLike } from '../../base/clock.js';
import { VMM_ENDS } from '../../migration/endings.js';
import { migrationErrors } from '../../migration/errors.js';
import type { MachineDescription, MachineState } from '../../migration/ports.js';
import { vmmErrors } from '../../vmm/errors.js';

import {
  arrive,
  DESCRIPTION,
  destinationRecord,
  giveAway,
  running,
  STATE,
  settled,
  setUp,
  sourceRecord,
  TARGET,
  untilPaused,
} from './controller-world.js';

describe('a guest that was booted', () => {
  it.each([
    ['is let run', [], 'running'],
    ['is not, once somebody has said that it is to stop', ['stop'], 'prelaunch'],
    ['is stopped, if somebody says so while it is being let run', ['begin', 'stop'], 'paused'],
    ['is left as it was left by others', ['cont', 'stop'], 'paused'],
  ] as const)('%s', async (_name, before, state) => {
    const { controller } = setUp();
    await controller.boot();
    await Promise.all(before.map((action) => controller[action]()));
    await controller.begin();
    expect(controller.runState).toBe(state);
  });

  it('is not let run where it was to be left stopped', async () => {
    const { controller, log } = setUp('prelaunch', true);
    await controller.boot();
    await controller.begin();
    expect([controller.runState, log]).toEqual(['prelaunch', []]);
  });
});

describe('controller', () => {
  it('hears of a guest that ends before its start has been answered', async () => {
    const { controller, log, state } = setUp();
    await controller.boot();
    state.resuming = () => state.events!.poweredOff('guest-shutdown');
    await controller.cont();
    expect(controller.runState).toBe('shutdown');
    expect(log).toEqual(['booted resume', '-> shutdown', 'SHUTDOWN']);
  });

  it('starts, stops and continues the guest once each, with an event for each change', async () => {
    const { controller, log } = setUp();
    await controller.boot();
    expect(controller.runState).toBe('prelaunch');
    for (const action of ['cont', 'cont', 'stop', 'stop', 'cont'] as const) await controller[action]();
    expect(log).toEqual([
      'booted resume',
      '-> running',
      'RESUME',
      'booted pause',
      '-> paused',
      'STOP',
      'booted resume',
      '-> running',
      'RESUME',
    ]);
  });

  it('gives the guest away: stopped, then gone, and nothing continues it here', async () => {
    const { controller, log, state, defects } = await running();
    state.leave = giveAway;
    controller.migrate(TARGET);
    await settled(() => controller.runState === 'postmigrate');
    expect(log).toEqual(['booted pause', '-> finish-migrate', 'STOP', 'booted relinquish', '-> postmigrate']);
    await expect(controller.cont()).rejects.toMatchObject({ code: 'vmm/machine-state' });
    expect(defects).toEqual([]);
  });

  it('takes the guest back running if it ran, and stopped if it was stopped', async () => {
    for (const stopped of [false, true]) {
      const { controller, log, state } = await running();
      if (stopped) await controller.stop();
      log.length = 0;
      let over = false;
      state.leave = async (options) => {
        await untilPaused(options);
        await options.machine.resume();
        over = true;
        return sourceRecord('failed');
      };
      controller.migrate(TARGET);
      await settled(() => over);
      expect(controller.runState).toBe(stopped ? 'paused' : 'running');
      expect(log.filter((l) => l.startsWith('booted'))).toEqual(
        stopped ? [] : ['booted pause', 'booted resume'],
      );
    }
  });

  it('tells of a migration away, and not of an arrival that comes to its end meanwhile', async () => {
    const there = await running();
    let sent: { description: MachineDescription; state: MachineState } | undefined;
    there.state.leave = async (options) => {
      sent = { description: options.machine.description, state: await untilPaused(options) };
      return sourceRecord('completed');
    };
    there.controller.migrate(TARGET);
    await settled(() => sent !== undefined);

    const { controller, state, emitted } = setUp('inmigrate');
    controller.migrationEvents = true;
    let end = (): void => {};
    const ended = new Promise<void>((resolve) => {
      end = resolve;
    });
    let last = false;
    state.arrivals.push(async (options) => {
      options.observer?.started?.(() => destinationRecord('committed'));
      await arrive(sent!.description, sent!.state)(options);
      await ended;
      options.observer?.stateChanged?.('committed', 'completed', 'running');
      last = true;
      return destinationRecord('completed');
    });
    state.leave = async ({ observer }) => {
      observer?.started?.(() => sourceRecord('active'));
      observer?.stateChanged?.('none', 'setup', 'start');
      return new Promise(() => {});
    };
    await controller.migrateIncoming(TARGET);
    await settled(() => controller.runState === 'running');
    controller.migrate(TARGET);
    end();
    await settled(() => last);
    // The record is taken over in a turn after that.
    await new Promise((resolve) => setImmediate(resolve));
    expect(controller.migrationRecord()).toMatchObject({ role: 'source', status: 'active' });
    expect(emitted.filter((one) => JSON.stringify(one).includes('completed'))).toEqual([]);
  });

  it('refuses stop and cont that were let through before a migration stopped the guest', async () => {
    const { controller, log, state } = await running();
    let goOn = (): void => {};
    state.pausing = () =>
      new Promise<void>((resolve) => {
        goOn = resolve;
      });
    state.leave = giveAway;
    controller.migrate(TARGET);
    await settled(() => log.includes('booted pause'));
    const late = controller.stop();
    goOn();
    await expect(late).rejects.toMatchObject({ code: 'vmm/machine-state', facts: { operation: 'stop' } });
    expect(controller.runState).toBe('postmigrate');
  });

  it.each([true, false])('a guest that comes is told apart: it ran before: %s', async (ran) => {
    const there = await running();
    if (!ran) await there.controller.stop();
    let sent: { description: MachineDescription; state: MachineState } | undefined;
    there.state.leave = async (options) => {
      sent = { description: options.machine.description, state: await untilPaused(options) };
      return giveAway({ ...options, machine: { ...options.machine, pause: async () => {} } });
    };
    there.controller.migrate(TARGET);
    await settled(() => there.controller.runState === 'postmigrate');

    const here = setUp('inmigrate');
    here.state.arrivals.push((options) => arrive(sent!.description, sent!.state)(options));
    await here.controller.migrateIncoming(TARGET);
    await settled(() => here.controller.runState !== 'inmigrate');
    expect(here.controller.runState).toBe(ran ? 'running' : 'paused');
    // The machine itself never sees the record that says so.
    expect(here.log).toContain('awaiting0 accept console');
    expect(here.log).toContain('awaiting0 load 0');
    expect(here.log).toContain(ran ? 'awaiting0 run' : 'awaiting0 hold');
  });

  it('stop and cont before a guest has come decide whether it runs', async () => {
    const sent = { ...DESCRIPTION, devices: [...DESCRIPTION.devices, { name: 'run-state', version: 1 }] };
    const ran: MachineState = {
      ...STATE,
      devices: [{ name: 'run-state', version: 1, state: Uint8Array.of(1) }],
    };
    for (const stopped of [true, false]) {
      const { controller, state, log } = setUp('inmigrate', !stopped);
      await (stopped ? controller.stop() : controller.cont());
      state.arrivals.push(arrive(sent, ran));
      await controller.migrateIncoming(TARGET);
      await settled(() => controller.runState !== 'inmigrate');
      expect(controller.runState).toBe(stopped ? 'paused' : 'running');
      await controller.cont();
      expect(controller.runState).toBe('running');
      expect(log.at(-1)).toBe(stopped ? 'RESUME' : log.at(-1));
    }
  });

  it.each([
    ['no record', []],
    ['another version', [{ name: 'run-state', version: 2, state: Uint8Array.of(1) }]],
    ['no bytes', [{ name: 'run-state', version: 1, state: new Uint8Array(0) }]],
    ['a wild value', [{ name: 'run-state', version: 1, state: Uint8Array.of(2) }]],
  ])('refuses a run state of %s from the peer', async (_what, devices) => {
    const { controller, state } = setUp('inmigrate');
    let refusal: unknown;
    state.arrivals.push(async ({ machine }) => {
      refusal = await machine.load({ ...STATE, devices }).catch((error: unknown) => error);
      return destinationRecord('failed', vmmErrors.error('machine-state', { operation: 'x', state: 'y' }));
    });
    await controller.migrateIncoming(TARGET);
    await settled(() => refusal !== undefined);
    expect(refusal).toMatchObject({ code: 'vmm/state-refused' });
  });

  it('lets a guest come back after it left, on a new machine', async () => {
    const { controller, state, log } = await running();
    state.leave = giveAway;
    controller.migrate(TARGET);
    await settled(() => controller.runState === 'postmigrate');
    const sent = { ...DESCRIPTION, devices: [...DESCRIPTION.devices, { name: 'run-state', version: 1 }] };
    state.arrivals.push(
      arrive(sent, { ...STATE, devices: [{ name: 'run-state', version: 1, state: Uint8Array.of(1) }] }),
    );
    log.length = 0;
    await controller.migrateIncoming(TARGET);
    await settled(() => controller.runState === 'running');
    expect(log.slice(0, 3)).toEqual(['-> inmigrate', 'booted destroy', 'awaiting0 accept console']);
    await controller.stop();
    expect(log).toContain('awaiting0 pause');
  });

  it('goes on waiting after a failed arrival if it is told to, and gives up otherwise', async () => {
    const failure = migrationErrors.error('peer-closed', { phase: 'setup' });
    for (const goesOn of [true, false]) {
      const { controller, state, log } = setUp('inmigrate');
      state.goesOn = goesOn;
      let tries = 0;
      for (let i = 0; i < 3; i++) {
        state.arrivals.push(async () => {
          tries++;
          return destinationRecord('failed', failure);
        });
      }
      await controller.migrateIncoming(TARGET);
      await settled(() => log.includes('listener closed'));
      expect(tries).toBe(goesOn ? 3 : 1);
      expect(controller.runState).toBe('inmigrate');
      expect(controller.migration()).toMatchObject({ status: 'failed', 'error-desc': failure.message });
    }
  });

  it('keeps a guest whose commit was never acknowledged stopped, until a person reclaims it', async () => {
    const { controller, state, log } = await running();
    state.leave = async (options) => {
      await untilPaused(options);
      expect(controller.standstill).toBe('switching');
      options.observer?.undecided?.(options.machine.resume);
      return sourceRecord('unacknowledged');
    };
    await expect(controller.reclaim()).rejects.toThrow(/where the guest is is known/);
    controller.migrate(TARGET);
    await settled(() => controller.migration().status === 'failed');
    expect([controller.runState, controller.standstill]).toEqual(['finish-migrate', 'undecided']);
    expect(log).not.toContain('-> postmigrate');
    await expect(controller.cont()).rejects.toMatchObject({ code: 'vmm/machine-state' });
    await controller.reclaim();
    expect([controller.runState, controller.standstill]).toEqual(['running', undefined]);
    await expect(controller.reclaim(), 'once').rejects.toThrow(/where the guest is is known/);
  });

  it('lets a guest that could not be taken back go on when it is told to', async () => {
    const { controller, state, log } = await running();
    state.leave = async (options) => {
      await untilPaused(options);
      return sourceRecord('failed');
    };
    controller.migrate(TARGET);
    await settled(() => controller.standstill === 'kept');
    await controller.cont();
    expect(controller.runState).toBe('running');
    expect(log.slice(-3)).toEqual(['booted resume', '-> running', 'RESUME']);
  });

  it('tells the flows of either direction that it is the VMM that ends', async () => {
    const reasons: unknown[] = [];
    const untilAborted = (signal: AbortSignalLike | undefined): Promise<void> =>
      new Promise((resolve) =>
        signal?.addEventListener('abort', () => {
          reasons.push(signal.reason);
          resolve();
        }),
      );
    const source = await running();
    source.state.leave = async ({ signal }) => {
      await untilAborted(signal);
      return sourceRecord('failed');
    };
    source.controller.migrate(TARGET);
    const destination = setUp('inmigrate');
    destination.state.arrivals.push(async ({ signal }) => {
      await untilAborted(signal);
      return destinationRecord('failed', migrationErrors.error('peer-closed', { phase: 'setup' }));
    });
    await destination.controller.migrateIncoming(TARGET);
    await Promise.all([source.controller.destroy(), destination.controller.destroy()]);
    expect(reasons).toEqual([VMM_ENDS, VMM_ENDS]);
  });

  it('a guest that crashes stays crashed, whatever was under way', async () => {
    const crash = vmmErrors.error('guest-crashed', { vcpu: 0, reason: 'trap', where: '' });
    // In the middle of a stop.
    const first = await running();
    first.state.pausing = async () => first.state.events?.panicked(crash);
    await first.controller.stop();
    expect(first.controller.runState).toBe('guest-panicked');
    expect(first.log.filter((l) => l === 'GUEST_PANICKED' || l === 'STOP')).toEqual([
      'GUEST_PANICKED',
      'STOP',
    ]);

    // In the middle of a migration: the next harvest tells the flow, which gives up and has nothing to resume.
    const second = await running();
    let told: unknown;
    second.state.leave = async ({ machine }) => {
      second.state.events?.panicked(crash);
      told = await machine.harvest(undefined as never).catch((error: unknown) => error);
      await machine.resume();
      return sourceRecord('failed');
    };
    second.controller.migrate(TARGET);
    await settled(() => told !== undefined);
    expect(told).toMatchObject({ code: 'vmm/machine-state', facts: { state: 'guest-panicked' } });
    await settled(() => second.controller.migration().status === 'failed');
    expect(second.controller.runState).toBe('guest-panicked');
    expect(second.log).not.toContain('booted resume');
    expect(second.defects).toEqual([]);
  });

  it('tells what a standby is about, and of nothing else that devices report', async () => {
    const { state, log } = await running();
    state.events?.device({ kind: 'link', device: 'vf0', up: true });
    state.events?.device({ kind: 'failover-negotiated', device: 'virtio-net0' });
    state.events?.device({ kind: 'unplug-primary', device: 'vf0' });
    state.events?.device({ kind: 'rx-filter', device: 'vf0' });
    expect(log.slice(-3)).toEqual(['FAILOVER_NEGOTIATED', 'UNPLUG_PRIMARY', 'NIC_RX_FILTER_CHANGED']);
    expect(log.filter((entry) => entry.includes('link'))).toEqual([]);
  });

  it('shows setup from the first moment, never the state of an earlier migration', async () => {
    const { controller, state } = await running();
    expect(controller.migration()).toEqual({});
    controller.migrate(TARGET);
    await settled(() => controller.migration().status === 'failed');
    let goOn = (): void => {};
    state.leave = async () => {
      await new Promise<void>((resolve) => {
        goOn = resolve;
      });
      return sourceRecord('failed');
    };
    controller.migrate(TARGET);
    expect(controller.migration()).toEqual({ status: 'setup' });
    expect(() => controller.migrate(TARGET)).toThrow("There's a migration process in progress");
    goOn();
    await settled(() => controller.migration().status === 'failed');
  });

  it('a thread that failed is a defect, a host that refuses something is not', async () => {
    for (const [error, defective] of [
      [new TypeError('x'), true],
      [vmmErrors.error('ram-unavailable', { ramBytes: 1, reason: 'x' }), false],
    ] as const) {
      const { controller, state, defects } = await running();
      state.events?.broken(error);
      expect(controller.runState).toBe('internal-error');
      expect(defects).toEqual(defective ? [error] : []);
    }
  });
});

describe('a client that wants events of migrations', () => {
  it('hears that the guest is waited for, as from QEMU, and no more once it has answered', async () => {
    const { controller, state, emitted } = await running();
    controller.migrationEvents = true;
    const given: unknown[] = [];
    let answer = (): void => undefined;
    const answered = new Promise<void>((resolve) => {
      answer = resolve;
    });
    state.leave = async ({ observer }) => {
      observer!.started!(() => sourceRecord('active'));
      observer!.stateChanged!('setup', 'active', 'ready');
      observer!.waitsForGuest!(true);
      await answered;
      observer!.waitsForGuest!(false);
      given.push(controller.migration().status);
      observer!.stateChanged!('active', 'failed', 'fail');
      return sourceRecord('failed');
    };
    controller.migrate(TARGET);
    await settled(() => controller.migration().status === 'wait-unplug');
    answer();
    await settled(() => controller.migration().status === 'failed');
    expect(given).toEqual(['active']);
    const told = ['active', 'wait-unplug', 'active', 'failed'].map((status) => ['MIGRATION', { status }]);
    expect(emitted.filter((event) => (event as [string])[0] === 'MIGRATION')).toEqual(told);
  });

  it('is told that the power button was pressed, of a guest that is here', async () => {
    const { controller, log } = await running();
    await controller.pressPowerButton();
    expect(log).toEqual(['POWERDOWN', 'booted power button']);
    const { controller: waiting, log: nothing } = setUp('inmigrate');
    await expect(waiting.pressPowerButton()).rejects.toThrow();
    expect(nothing).toEqual([]);
  });

  it('is told that a migration is failing while it is taken back, and that it has failed when that is done', async () => {
    const { controller, state, emitted } = await running();
    controller.migrationEvents = true;
    const given: unknown[] = [];
    state.leave = async ({ observer }) => {
      observer!.started!(() => sourceRecord('active'));
      observer!.stateChanged!('setup', 'active', 'ready');
      observer!.failing!();
      given.push(controller.migration().status);
      observer!.stateChanged!('active', 'failed', 'fail');
      return sourceRecord('failed');
    };
    controller.migrate(TARGET);
    await settled(() => controller.migration().status === 'failed');
    expect(given).toEqual(['failing']);
    const told = ['active', 'failing', 'failed'].map((status) => ['MIGRATION', { status }]);
    expect(emitted.filter((event) => (event as [string])[0] === 'MIGRATION')).toEqual(told);
  });

  it('is not told that a guest is waited for that was given up', async () => {
    const { controller, state } = await running();
    const given: unknown[] = [];
    state.leave = async ({ observer }) => {
      observer!.started!(() => sourceRecord('active'));
      observer!.waitsForGuest!(true);
      observer!.stateChanged!('active', 'failed', 'fail');
      given.push(controller.migration().status);
      return sourceRecord('failed');
    };
    controller.migrate(TARGET);
    await settled(() => controller.migration().status === 'failed');
    expect(given).toEqual(['active']);
  });

  it("hears of the states of its guest's devices, by QEMU's names, and of none that QEMU has not", async () => {
    const { controller, state, emitted } = await running();
    const tell = (name: string): void =>
      state.events!.device({ kind: 'vfio-state', device: 'vf0', state: name });
    tell('STOP');
    controller.migrationEvents = true;
    for (const name of ['PRE_COPY_P2P', 'ERROR', 'RUNNING']) tell(name);
    const of = (name: string) => [
      'VFIO_MIGRATION',
      { 'device-id': 'vf0', 'qom-path': '/machine/peripheral/vf0', 'device-state': name },
    ];
    const [from] = [emitted.findIndex((event) => (event as [string])[0] === 'VFIO_MIGRATION')];
    expect(emitted.slice(from)).toEqual([of('pre-copy-p2p'), of('running')]);
  });
});
