import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { FerryError } from '../../base/errors.js';
import { QmpClient } from '../../lab/vmm-client/qmp-client.js';
import { endOfNextMigration } from '../../lab/vmm-client/spawn.js';
import { MigrationParameters } from '../../migration/parameters.js';
import { vmmErrors } from '../../vmm/errors.js';
import { vmmCommands } from '../../vmm/monitor/commands.js';
import type { VmControl } from '../../vmm/monitor/control.js';
import { MonitorListener } from '../../vmm/monitor/listener.js';
import { Monitor } from '../../vmm/monitor/monitor.js';

const directory = mkdtempSync(join(tmpdir(), 'ferry-qmp-'));
const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanUp.splice(0).reverse()) await clean();
});
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));

let serial = 0;
const freshPath = (): string => join(directory, `${serial++}.sock`);

function idleVm(): VmControl {
  return {
    name: undefined,
    runState: 'running',
    standstill: undefined,
    cpus: () => [],
    memory: () => ({
      ramBytes: 0,
      migratedPages: 0,
      pageBytes: 4096,
      residentBytes: 0,
      residentBytesMax: 0,
    }),
    pci: async () => [],
    injectError: () => Promise.reject(new Error('no device')),
    nics: async () => {
      throw vmmErrors.error('machine-state', { operation: 'x-ferry-query-nic', state: 'idle' });
    },
    pressPowerButton: async () => {},
    network: undefined,
    deviceDel: async () => {},
    deviceAdd: async () => {},
    calcDirtyRate: () => {},
    dirtyRate: {
      status: 'unstarted',
      'start-time': 0,
      'calc-time': 0,
      'calc-time-unit': 'second',
      mode: 'dirty-bitmap',
    },
    dumpPci: async () => {},
    consoleTail: () => [],
    stop: async () => {},
    cont: async () => {},
    quit: () => {},
    migrate: () => {
      throw vmmErrors.error('machine-state', { operation: 'migrate', state: 'busy' });
    },
    migrateIncoming: async () => {},
    migrateCancel: () => {},
    yankInstances: [],
    yank: () => {},
    reclaim: async () => {},
    migration: () => ({}),
    blockedReasons: async () => [],
    migrationRecord: () => undefined,
    parameters: new MigrationParameters(),
    setParameters: async () => {},
    migrationEvents: true,
  };
}

async function serveMonitor(
  address?: string,
): Promise<{ monitor: Monitor; listener: MonitorListener; vm: VmControl }> {
  const vm = idleVm();
  const monitor = new Monitor(
    vmmCommands({ vm, version: { qemu: { major: 0, minor: 1, micro: 0 }, package: 'test' } }),
    Date.now,
    (error) => {
      throw error;
    },
  );
  const target = address ?? `unix:${freshPath()}`;
  const listener = await MonitorListener.open(
    monitor,
    target.startsWith('unix:')
      ? { kind: 'unix', path: target.slice(5) }
      : { kind: 'tcp', host: '127.0.0.1', port: 0 },
  );
  cleanUp.push(() => listener.close(100));
  return { monitor, listener, vm };
}

/** A server that is no monitor: `behave` gets each connection. */
async function serveRaw(behave: (socket: Socket) => void): Promise<string> {
  const sockets: Socket[] = [];
  const server: Server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    behave(socket);
  });
  const path = freshPath();
  await new Promise<void>((resolve) => server.listen({ path }, resolve));
  cleanUp.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `unix:${path}`;
}

async function connectTo(address: string, timeoutMs?: number): Promise<QmpClient> {
  const client = await QmpClient.connect(address, timeoutMs === undefined ? {} : { timeoutMs });
  cleanUp.push(() => client.close());
  return client;
}

const coded = (code: string): unknown => expect.objectContaining({ code });

describe('QMP client and monitor sockets', () => {
  it.each(['unix', 'tcp'])('talk over %s: results, refusals, typed errors, events', async (kind) => {
    const { monitor, listener } = await serveMonitor(kind === 'tcp' ? 'tcp' : undefined);
    const client = await connectTo(listener.address);
    expect(client.version.package).toBe('test');
    expect(await client.execute('query-status')).toEqual({ status: 'running', running: true });
    await expect(client.execute('nothing')).rejects.toMatchObject({
      code: 'lab/monitor-refused',
      facts: { class: 'CommandNotFound' },
    });
    const refused = await client.execute('migrate', { uri: 'unix:x' }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(FerryError);
    expect(refused).toMatchObject({ code: 'vmm/machine-state', exit: 'refused', facts: { state: 'busy' } });
    const active = client.waitFor('MIGRATION', { where: ({ status }) => status === 'active' });
    monitor.emit('MIGRATION', { status: 'setup' });
    monitor.emit('MIGRATION', { status: 'active' });
    expect(await active).toMatchObject({ event: 'MIGRATION', data: { status: 'active' } });
    expect(Math.abs((await active).timeMs - Date.now())).toBeLessThan(60_000);
  });

  it('take no late word of an arrival for the end of the migration that is started next', async () => {
    const { monitor, listener } = await serveMonitor();
    const ended = endOfNextMigration(await connectTo(listener.address));
    for (const status of ['completed', 'setup', 'active', 'failed'] as const)
      monitor.emit('MIGRATION', { status });
    expect((await ended).data).toMatchObject({ status: 'failed' });
  });

  it('many clients are served at once, each with its own replies', async () => {
    const { listener } = await serveMonitor();
    const clients = await Promise.all(Array.from({ length: 10 }, () => connectTo(listener.address)));
    const replies = await Promise.all(
      clients.flatMap((client) => Array.from({ length: 20 }, () => client.execute('query-migrate'))),
    );
    expect(replies).toHaveLength(200);
  });

  it('a client that does not read is dropped, and the others are served on', async () => {
    const { monitor, listener } = await serveMonitor();
    const slow = connect({ path: listener.address.slice(5) });
    await new Promise<void>((resolve) => slow.once('data', () => resolve()));
    slow.write('{"execute":"qmp_capabilities"}');
    await new Promise<void>((resolve) => slow.once('data', () => resolve()));
    slow.pause();
    const client = await connectTo(listener.address);
    let events = 0;
    client.onEvent(() => events++);
    const lines = ['x'.repeat(100_000)];
    const sent = 200;
    for (let i = 0; i < sent; i++) {
      monitor.emit('X_FERRY_CONSOLE', { lines, dropped: 0 });
      await client.execute('query-status');
    }
    expect(events).toBe(sent);
    const gone = new Promise<void>((resolve) => slow.once('close', () => resolve()));
    slow.on('error', () => {});
    slow.resume();
    await gone;
    expect(await client.execute('query-status')).toBeDefined();
  });

  it('a stale socket file is replaced, a live one and other files are not', async () => {
    const stale = freshPath();
    const crash = `require('node:net').createServer().listen(${JSON.stringify(stale)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', crash]);
    expect(existsSync(stale)).toBe(true);
    const { listener } = await serveMonitor(`unix:${stale}`);
    await connectTo(listener.address);
    await expect(serveMonitor(listener.address)).rejects.toMatchObject({
      code: 'vmm/listen-failed',
      facts: { reason: 'the address is in use' },
    });
    await expect(serveMonitor(`unix:${directory}`)).rejects.toMatchObject({
      code: 'vmm/listen-failed',
      facts: { reason: 'a file that is no socket has this name' },
    });
    await expect(serveMonitor(`unix:${directory}/no/such`)).rejects.toMatchObject({
      code: 'vmm/listen-failed',
      facts: { reason: 'the directory does not exist' },
    });
  });

  it('says in words who is not there or does not speak QMP', async () => {
    await expect(QmpClient.connect('unix:/nowhere/at/all')).rejects.toEqual(coded('lab/monitor-lost'));
    await expect(QmpClient.connect('nonsense')).rejects.toEqual(coded('vmm/bad-address'));
    const http = await serveRaw((socket) => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await expect(QmpClient.connect(http)).rejects.toEqual(coded('lab/monitor-no-qmp'));
    const json = await serveRaw((socket) => socket.write('{"hello": 1}\n'));
    await expect(QmpClient.connect(json)).rejects.toEqual(coded('lab/monitor-no-qmp'));
    const mute = await serveRaw(() => {});
    await expect(QmpClient.connect(mute, { timeoutMs: 50 })).rejects.toEqual(coded('lab/timeout'));
    const rude = await serveRaw((socket) => socket.end());
    await expect(QmpClient.connect(rude)).rejects.toEqual(coded('lab/monitor-lost'));
  });

  it('rejects what waits, and what comes after, when the server goes away', async () => {
    const greeting =
      '{"QMP":{"version":{"qemu":{"major":9,"minor":0,"micro":0},"package":""},"capabilities":["oob"]}}';
    const address = await serveRaw((socket) => {
      socket.write(`${greeting}\r\n`);
      socket.once('data', () => {
        socket.write('{"return": {}, "id": 1}\r\n');
        socket.once('data', () => socket.destroy());
      });
    });
    const client = await connectTo(address);
    const event = client.waitFor('STOP');
    event.catch(() => {});
    await expect(client.execute('stop')).rejects.toEqual(coded('lab/monitor-lost'));
    await expect(event).rejects.toEqual(coded('lab/monitor-lost'));
    await client.closed;
    await expect(client.execute('stop')).rejects.toEqual(coded('lab/monitor-lost'));
  });

  it('waits for an event no longer than it was told to', async () => {
    const { listener } = await serveMonitor();
    const client = await connectTo(listener.address);
    await expect(client.waitFor('STOP', { timeoutMs: 20 })).rejects.toEqual(coded('lab/timeout'));
  });
});

describe('events that come with the end of the negotiation', () => {
  it('reach the listener given to connect, and only that one', async () => {
    const path = freshPath();
    const server = createServer((socket) => {
      socket.write(
        '{"QMP":{"version":{"qemu":{"major":0,"minor":1,"micro":0},"package":""},"capabilities":[]}}\n',
      );
      socket.once('data', (command) => {
        const { id } = JSON.parse(command.toString()) as { id: number };
        // One write, so that answer and event arrive together.
        socket.write(
          `{"return":{},"id":${id}}\n{"event":"RESUME","data":{},"timestamp":{"seconds":1,"microseconds":0}}\n`,
        );
      });
    });
    cleanUp.push(() => server.close());
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const early: string[] = [];
    const late: string[] = [];
    const client = await QmpClient.connect(`unix:${path}`, { onEvent: ({ event }) => early.push(event) });
    cleanUp.push(() => client.close());
    client.onEvent(({ event }) => late.push(event));
    expect(early).toEqual(['RESUME']);
    expect(late).toEqual([]);
  });
});
