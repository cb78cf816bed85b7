import { describe, expect, it, vi } from 'vitest';
import { notingVm } from '../../lab/fuzz/noting-vm.js';
import { parameterTable } from '../../migration/parameters.js';
import { vmmErrors } from '../../vmm/errors.js';
import { COMMANDS, vmmCommands } from '../../vmm/monitor/commands.js';
import { Monitor, type MonitorSession } from '../../vmm/monitor/monitor.js';
import { RUN_STATES } from '../../vmm/monitor/run-state.js';

const { multifdChannels } = parameterTable;
const CHANNELS_MAX = 'max' in multifdChannels ? multifdChannels.max : Number.NaN;

interface Client {
  readonly session: MonitorSession;
  readonly lines: Record<string, unknown>[];
  readonly flow: string[];
  /** Sends a message and returns the reply to it. */
  ask(message: unknown): Promise<Record<string, unknown>>;
}

function setUp() {
  const vm = notingVm();
  const defects: unknown[] = [];
  const monitor = new Monitor(
    vmmCommands({ vm, version: { qemu: { major: 0, minor: 1, micro: 0 }, package: 'test' } }),
    () => 1_500_000_000_123.25,
    (error) => defects.push(error),
  );
  const connect = (): Client => {
    const lines: Record<string, unknown>[] = [];
    const flow: string[] = [];
    let arrived = (): void => {};
    const session = monitor.attach({
      send(line) {
        expect(line).toMatch(/^[^\r\n]*\r\n$/);
        lines.push(JSON.parse(line) as Record<string, unknown>);
        arrived();
      },
      drained: async () => undefined,
      pause: () => flow.push('pause'),
      resume: () => flow.push('resume'),
      end: () => flow.push('end'),
    });
    return {
      session,
      lines,
      flow,
      async ask(message) {
        const text = typeof message === 'string' ? message : JSON.stringify(message);
        const before = lines.length;
        session.push(new TextEncoder().encode(`${text}\n`));
        for (;;) {
          const reply = lines.slice(before).find((l) => 'return' in l || 'error' in l);
          if (reply !== undefined) return reply;
          await new Promise<void>((resolve) => {
            arrived = resolve;
          });
        }
      },
    };
  };
  const negotiated = async (): Promise<Client> => {
    const client = connect();
    expect(await client.ask({ execute: 'qmp_capabilities' })).toEqual({ return: {} });
    return client;
  };
  return { vm, monitor, defects, connect, negotiated };
}

describe('monitor', () => {
  it('greets, and refuses everything but negotiation until it took place, and negotiation after that', async () => {
    const client = setUp().connect();
    expect(client.lines).toEqual([
      {
        QMP: { version: { qemu: { major: 0, minor: 1, micro: 0 }, package: 'test' }, capabilities: ['oob'] },
      },
    ]);
    expect(await client.ask({ execute: 'query-status', id: 1 })).toEqual({
      error: {
        class: 'CommandNotFound',
        desc: "Expecting capabilities negotiation with 'qmp_capabilities'",
      },
      id: 1,
    });
    expect(await client.ask({ execute: 'qmp_capabilities', arguments: { enable: ['x'] } })).toEqual({
      error: { class: 'GenericError', desc: "Parameter 'enable[0]' does not accept value 'x'" },
    });
    expect(await client.ask({ execute: 'qmp_capabilities', arguments: { enable: [] } })).toEqual({
      return: {},
    });
    expect(await client.ask({ execute: 'qmp_capabilities' })).toMatchObject({
      error: { class: 'CommandNotFound' },
    });
    expect(await client.ask({ execute: 'query-status' })).toEqual({
      return: { status: 'running', running: true },
    });
  });

  it('echoes any id exactly, and none where none was given', async () => {
    const { negotiated } = setUp();
    const client = await negotiated();
    for (const id of [0, null, false, 'x', [1, { a: null }], { b: 1.5 }]) {
      expect(await client.ask({ execute: 'query-name', id })).toEqual({ return: { name: 'guest' }, id });
      expect(await client.ask({ execute: 'nothing', id })).toMatchObject({ id });
    }
    expect(await client.ask({ execute: 'query-name' })).not.toHaveProperty('id');
  });

  it.each([
    ['[]', 'QMP input must be a JSON object'],
    ['{}', "QMP input lacks member 'execute'"],
    ['{"execute": 1}', "QMP input member 'execute' must be a string"],
    ['{"execute": "stop", "arguments": []}', "QMP input member 'arguments' must be an object"],
    ['{"execute": "stop", "what": 1}', "QMP input member 'what' is unexpected"],
    ['{"execute": "stop", "__proto__": 1}', "QMP input member '__proto__' is unexpected"],
    ['{"exec-oob": "stop"}', "QMP input member 'exec-oob' is unexpected"],
    ['{"execute": "stop", "arguments": {"now": true}}', "Parameter 'now' is unexpected"],
    ['{"execute": "migrate"}', "need either 'uri' or 'channels' argument"],
    ['{"execute": "migrate", "arguments": {"uri": 7}}', "Invalid parameter type for 'uri', expected: string"],
    [
      '{"execute": "migrate", "arguments": {"uri": "exec:cat"}}',
      "'exec:cat' is no socket address: it begins with neither 'tcp:' nor 'unix:'; Write it as tcp:HOST:PORT or unix:PATH.",
    ],
    [
      '{"execute": "migrate-set-parameters", "arguments": {"multifd-channels": 1000}}',
      `Parameter 'multifd-channels' expects channels between 1 and ${CHANNELS_MAX}`,
    ],
    [
      '{"execute": "migrate-set-parameters", "arguments": {"max-bandwidth": "1G"}}',
      "Invalid parameter type for 'max-bandwidth', expected: integer",
    ],
    [
      '{"execute": "migrate-set-capabilities", "arguments": {"capabilities": [{"capability": "xbzrle", "state": true}]}}',
      "Capability 'xbzrle' is not provided here; provided are events, auto-converge, multifd, return-path",
    ],
    [
      '{"execute": "migrate-set-capabilities", "arguments": {"capabilities": [{"capability": "events"}]}}',
      "Parameter 'capabilities[0].state' is missing",
    ],
    [
      '{"execute": "migrate-set-capabilities", "arguments": {"capabilities": [{"capability": "no", "state": false}]}}',
      "Parameter 'capabilities[0].capability' does not accept value 'no'",
    ],
    ['{"execute"}', /^JSON parse error/],
  ])('answers %s with one error that says what is wrong', async (message, desc) => {
    const { negotiated, vm } = setUp();
    const client = await negotiated();
    const before = client.lines.length;
    const reply = await client.ask(message);
    expect(reply).toEqual({
      error: expect.objectContaining({
        class: 'GenericError',
        desc: typeof desc === 'string' ? desc : expect.stringMatching(desc),
      }),
    });
    expect(client.lines).toHaveLength(before + 1);
    expect(vm.calls).toEqual([]);
    expect(await client.ask({ execute: 'query-status' })).toHaveProperty('return');
  });

  it('takes where to migrate to as a uri or as a channel, but not as both', async () => {
    const { negotiated, vm } = setUp();
    const client = await negotiated();
    const channels = [
      { 'channel-type': 'main', addr: { transport: 'socket', type: 'inet', host: '::1', port: '99' } },
    ];
    await client.ask({ execute: 'migrate', arguments: { uri: 'unix:/run/x' } });
    expect(await client.ask({ execute: 'migrate', arguments: { uri: 'tcp:h:1', channels } })).toHaveProperty(
      'error',
    );
    expect(vm.calls).toEqual([['migrate', { kind: 'unix', path: '/run/x' }]]);
    const v6 = channels.map((c) => ({ ...c, addr: { ...c.addr, host: '[::1]' } }));
    await client.ask({ execute: 'migrate', arguments: { channels: v6 } });
    expect(vm.calls.at(-1)).toEqual(['migrate', { kind: 'tcp', host: '::1', port: 99 }]);
    vm.calls.length = 0;
    await client.ask({ execute: 'migrate', arguments: { channels } });
    expect(vm.calls.at(-1), 'as `socket-address` shows it').toEqual([
      'migrate',
      { kind: 'tcp', host: '::1', port: 99 },
    ]);
  });

  it('measures the dirty rate for so many seconds, or milliseconds, and tells it in either', async () => {
    const { negotiated, vm } = setUp();
    const client = await negotiated();
    const calc = (args: object) => client.ask({ execute: 'calc-dirty-rate', arguments: args });
    await calc({ 'calc-time': 2 });
    await calc({ 'calc-time': 250, 'calc-time-unit': 'millisecond', 'x-ferry-period': 20 });
    expect(vm.calls).toEqual([
      ['calcDirtyRate', { durationMs: 2000, periodMs: 100 }],
      ['calcDirtyRate', { durationMs: 250, periodMs: 20 }],
    ]);
    const query = async (args: object) =>
      (await client.ask({ execute: 'query-dirty-rate', arguments: args })).return;
    expect(await query({})).toMatchObject({ 'dirty-rate': 7, 'calc-time': 3, 'calc-time-unit': 'second' });
    expect(await query({ 'calc-time-unit': 'millisecond' })).toMatchObject({ 'calc-time': 2500 });
  });

  it('sets all of the parameters or capabilities asked for, or none, and shows what is in force', async () => {
    const { negotiated, vm } = setUp();
    const client = await negotiated();
    const ask = (execute: string, args = {}): Promise<Record<string, unknown>> =>
      client.ask({ execute, arguments: args });
    expect(await ask('migrate-set-parameters', { 'max-bandwidth': 1000, 'downtime-limit': 20 })).toEqual({
      return: {},
    });
    expect(await ask('migrate-set-parameters', { 'max-bandwidth': 5, verify: 'maybe' })).toHaveProperty(
      'error',
    );
    expect(await ask('query-migrate-parameters')).toMatchObject({
      return: { 'max-bandwidth': 1000, 'downtime-limit': 20, 'multifd-channels': 2, verify: 'root' },
    });
    const set = (...capabilities: [string, boolean][]): Promise<Record<string, unknown>> =>
      ask('migrate-set-capabilities', {
        capabilities: capabilities.map(([capability, state]) => ({ capability, state })),
      });
    expect(await set(['events', true], ['auto-converge', false], ['xbzrle', false])).toEqual({ return: {} });
    expect(await set(['auto-converge', true], ['return-path', false])).toHaveProperty('error');
    expect([vm.migrationEvents, vm.parameters.values.autoConverge]).toEqual([true, false]);
    expect(await set(['multifd', false])).toEqual({ return: {} });
    expect(vm.parameters.values.multifd).toBe(false);
    const { return: listed } = await ask('query-migrate-capabilities');
    expect(listed).toEqual(
      expect.arrayContaining([
        { capability: 'events', state: true },
        { capability: 'auto-converge', state: false },
        { capability: 'multifd', state: false },
        { capability: 'postcopy-ram', state: false },
      ]),
    );
  });

  it('permits each command in exactly the run states that its table entry does not refuse', async () => {
    const valid: Record<string, string[]> = {
      stop: ['prelaunch', 'running', 'paused', 'inmigrate'],
      cont: ['prelaunch', 'running', 'paused', 'inmigrate'],
      migrate: ['prelaunch', 'running', 'paused'],
      'x-ferry-reclaim': [],
      'calc-dirty-rate': ['prelaunch', 'running', 'paused'],
      device_del: ['prelaunch', 'running', 'paused'],
      device_add: ['prelaunch', 'running', 'paused'],
      'x-ferry-aer-inject': ['prelaunch', 'running', 'paused'],
      set_link: ['prelaunch', 'running', 'paused'],
      system_powerdown: ['prelaunch', 'running', 'paused'],
      'announce-self': ['running'],
      'migrate-incoming': ['inmigrate', 'postmigrate'],
    };
    const args: Record<string, unknown> = {
      migrate: { uri: 'tcp:h:1' },
      'migrate-incoming': { uri: 'tcp:h:1' },
      'migrate-set-capabilities': { capabilities: [] },
      'x-ferry-pci-dump': { path: 'pci.txt' },
      'calc-dirty-rate': { 'calc-time': 1 },
      device_del: { id: 'vf0' },
      device_add: { driver: 'vfio-pci', id: 'vf0' },
      'x-ferry-aer-inject': { id: 'vf0', error: 'MALF_TLP' },
      'x-ferry-mute-events': { events: [] },
      set_link: { name: 'vf0', up: true },
      yank: { instances: [] },
      'announce-self': { initial: 50, max: 550, rounds: 5, step: 100 },
    };
    const { negotiated, vm } = setUp();
    const client = await negotiated();
    for (const { name } of COMMANDS) {
      for (const state of RUN_STATES) {
        vm.runState = state;
        const reply = await client.ask({ execute: name, arguments: args[name] ?? {} });
        const permitted = (valid[name] ?? RUN_STATES).includes(state);
        expect([name, state, 'return' in reply]).toEqual([name, state, permitted]);
        if (!permitted) {
          expect(reply).toMatchObject({
            error: { class: 'GenericError', desc: expect.stringContaining(`in '${state}' state: `) },
          });
        }
      }
    }
  });

  it('says why a guest that a migration left standing still is refused, and what lets it go on', async () => {
    const { negotiated, vm } = setUp();
    const client = await negotiated();
    const ask = async (execute: string): Promise<string> => {
      const reply = (await client.ask({
        execute,
        arguments: execute.startsWith('migrate') ? { uri: 'tcp:h:1' } : {},
      })) as { error?: { desc: string } };
      return reply.error?.desc ?? 'done';
    };
    vm.runState = 'finish-migrate';
    const words = { switching: /last part of a migration/, undecided: /`x-ferry-reclaim`/, kept: /`cont`/ };
    for (const standstill of ['switching', 'undecided', 'kept'] as const) {
      vm.standstill = standstill;
      for (const name of ['stop', 'migrate', 'migrate-incoming']) {
        expect(await ask(name), `${name} ${standstill}`).toMatch(words[standstill]);
      }
      const permitted = { cont: standstill === 'kept', 'x-ferry-reclaim': standstill === 'undecided' };
      for (const [name, may] of Object.entries(permitted)) {
        expect(await ask(name), `${name} ${standstill}`).toMatch(may ? /^done$/ : words[standstill]);
      }
    }
  });

  it('sends events with their time to the clients that have negotiated, and to no other', async () => {
    const { monitor, negotiated, connect } = setUp();
    const [first, second, silent] = [await negotiated(), await negotiated(), connect()];
    monitor.emit('STOP', {});
    monitor.emit('MIGRATION', { status: 'active' });
    const timestamp = { seconds: 1_500_000_000, microseconds: 123_250 };
    for (const client of [first, second]) {
      expect(client.lines.slice(-2)).toEqual([
        { timestamp, event: 'STOP' },
        { timestamp, event: 'MIGRATION', data: { status: 'active' } },
      ]);
    }
    expect(silent.lines).toHaveLength(1);
    first.session.close();
    monitor.emit('RESUME', {});
    expect(first.lines.at(-1)).not.toHaveProperty('event', 'RESUME');
    expect(second.lines.at(-1)).toHaveProperty('event', 'RESUME');
  });

  it('spares a client the events that it does not want to hear, and no other client, until it says otherwise', async () => {
    const { monitor, negotiated } = setUp();
    const [quiet, other] = [await negotiated(), await negotiated()];
    const mute = (...events: string[]): Promise<Record<string, unknown>> =>
      quiet.ask({ execute: 'x-ferry-mute-events', arguments: { events } });
    const print = (text: string): void => monitor.emit('X_FERRY_CONSOLE', { lines: [text], dropped: 0 });
    const heard = ({ lines }: Client): unknown[] => lines.filter((l) => 'event' in l).map((l) => l.event);
    print('one');
    expect(await mute('X_FERRY_CONSOLE')).toEqual({ return: {} });
    print('two');
    monitor.emit('STOP', {});
    expect(heard(quiet)).toEqual(['X_FERRY_CONSOLE', 'STOP']);
    expect(heard(other)).toEqual(['X_FERRY_CONSOLE', 'X_FERRY_CONSOLE', 'STOP']);
    expect(await mute('STOP')).toEqual({ return: {} });
    print('three');
    monitor.emit('STOP', {});
    expect(heard(quiet)).toEqual(['X_FERRY_CONSOLE', 'STOP', 'X_FERRY_CONSOLE']);
    expect(await mute('NO_SUCH')).toMatchObject({
      error: { desc: "Parameter 'events[0]' does not accept value 'NO_SUCH'" },
    });
  });

  it('answers a client that has said its last word, and then lets it go', async () => {
    const { negotiated } = setUp();
    const client = await negotiated();
    client.session.push(new TextEncoder().encode('{"execute":"query-name"}\n'.repeat(3)));
    client.session.end();
    expect(client.flow).toEqual([]);
    while (!client.flow.includes('end')) await new Promise((resolve) => setImmediate(resolve));
    expect(client.lines.slice(2)).toEqual(Array(3).fill({ return: { name: 'guest' } }));
    const idle = await negotiated();
    idle.session.end();
    expect(idle.flow).toEqual(['end']);
  });

  it('runs the commands of all clients one at a time, and answers each in order', async () => {
    const { negotiated, vm } = setUp();
    let running = 0;
    let most = 0;
    vm.stop = async () => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setImmediate(resolve));
      running--;
    };
    const [first, second] = [await negotiated(), await negotiated()];
    const text = (ids: number[]): Uint8Array =>
      new TextEncoder().encode(ids.map((id) => JSON.stringify({ execute: 'stop', id })).join(''));
    first.session.push(text([1, 2, 3]));
    second.session.push(text([4, 5]));
    first.session.push(new TextEncoder().encode('oops\n'));
    second.session.push(text([6]));
    while (second.lines.length < 2 + 3) await new Promise((resolve) => setImmediate(resolve));
    expect(most).toBe(1);
    expect(first.lines.slice(2).map((l) => l.id ?? 'oops')).toEqual([1, 2, 3, 'oops']);
    expect(second.lines.slice(2).map((l) => l.id)).toEqual([4, 5, 6]);
  });

  it('carries out of band what can be, at once and whoever waits for what, for who has asked for that', async () => {
    const { connect, vm } = setUp();
    let finish = (): void => {};
    vm.stop = () =>
      new Promise((resolve) => {
        finish = resolve;
      });
    const client = connect();
    expect(await client.ask({ 'exec-oob': 'migrate_cancel' })).toMatchObject({
      error: { class: 'GenericError' },
    });
    const enable = ['oob'];
    expect(await client.ask({ execute: 'qmp_capabilities', arguments: { enable } })).toEqual({ return: {} });
    client.session.push(new TextEncoder().encode('{"execute": "stop", "id": 1}\n'));
    expect(await client.ask({ 'exec-oob': 'migrate_cancel', id: 2 })).toEqual({ return: {}, id: 2 });
    expect(vm.calls).toEqual([['migrateCancel']]);
    expect(await client.ask({ 'exec-oob': 'query-status', id: 3 })).toEqual({
      error: { class: 'GenericError', desc: 'The command query-status does not support OOB' },
      id: 3,
    });
    expect(await client.ask({ 'exec-oob': 'no-such', id: 4 })).toMatchObject({
      error: { class: 'CommandNotFound' },
    });
    const both = { 'exec-oob': 'migrate_cancel', execute: 'cont', id: 5 };
    expect(await client.ask(both)).toMatchObject({ error: { class: 'GenericError' }, id: 5 });
    expect(client.lines.some(({ id }) => id === 1)).toBe(false);
    finish();
    expect(await client.ask({ execute: 'query-name', id: 6 })).toMatchObject({ id: 1 });
    expect(vm.calls).toEqual([['migrateCancel']]);
    client.session.push(new TextEncoder().encode('{"exec-oob": "quit", "id": 7}\n'));
    client.session.end();
    await vi.waitFor(() => expect(client.flow).toEqual(['end']));
    expect(client.lines).toContainEqual({ return: {}, id: 7 });
  });

  it('stops reading from a client that asks faster than it is answered, and reads on afterwards', async () => {
    const { negotiated } = setUp();
    const client = await negotiated();
    client.session.push(new TextEncoder().encode('{"execute":"query-name"}\n'.repeat(50)));
    expect(client.flow).toEqual(['pause']);
    await client.ask({ execute: 'query-name' });
    while (client.lines.length < 2 + 51) await new Promise((resolve) => setImmediate(resolve));
    expect(client.flow).toEqual(['pause', 'resume']);
  });

  it('does not run what a client that left still asked for', async () => {
    const { negotiated, vm } = setUp();
    const [gone, there] = [await negotiated(), await negotiated()];
    gone.session.push(new TextEncoder().encode('{"execute":"quit"}'));
    gone.session.close();
    await there.ask({ execute: 'query-status' });
    expect(vm.calls).toEqual([]);
  });

  it("carries a typed error's code and facts beside its words", async () => {
    const { negotiated, vm, defects } = setUp();
    vm.migrateIncoming = async () => {
      throw vmmErrors.error('listen-failed', { address: 'tcp:h:1', reason: 'x' });
    };
    vm.runState = 'inmigrate';
    const client = await negotiated();
    expect(await client.ask({ execute: 'migrate-incoming', arguments: { uri: 'tcp:h:1' } })).toMatchObject({
      error: {
        class: 'GenericError',
        desc: expect.stringContaining("can't listen at tcp:h:1: x"),
        data: { code: 'vmm/listen-failed', facts: { reason: 'x' } },
      },
    });
    expect(defects).toEqual([]);
  });

  it('reports a defect of ours as one, and goes on with the next command', async () => {
    const { negotiated, vm, defects } = setUp();
    vm.stop = async () => {
      throw new TypeError('broken');
    };
    const client = await negotiated();
    client.session.push(new TextEncoder().encode('{"execute":"stop"}'));
    expect(await client.ask({ execute: 'query-name', id: 9 })).toMatchObject({ id: 9 });
    expect(defects).toEqual([expect.any(TypeError)]);
  });

  it('tells what happened before it answers, also where events wait', async () => {
    const lines: string[] = [];
    const monitor: Monitor = new Monitor(
      {
        version: { qemu: { major: 0, minor: 1, micro: 0 }, package: 'test' },
        run: async () => monitor.emit('STOP', {}),
      },
      () => 0,
      () => undefined,
      // As a guest that stands still does.
      () => undefined,
    );
    await new Promise<void>((resolve) => {
      const drained = async (): Promise<void> => undefined;
      const nothing = (): void => undefined;
      const session = monitor.attach({
        send: (line) => lines.push(line),
        drained,
        pause: nothing,
        resume: nothing,
        end: resolve,
      });
      session.push(new TextEncoder().encode('{"execute":"qmp_capabilities"}{"execute":"stop","id":1}'));
      session.end();
    });
    expect(lines.slice(-2).map((line) => Object.keys(JSON.parse(line))[0])).toEqual(['timestamp', 'return']);
  });
});
