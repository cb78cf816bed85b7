/** Who is no source: at the door of a VMM that waits for a guest, whatever he does, nobody else waits for him. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { FerryError } from '../../dist/base/errors.js';
import { type SpawnOptions, spawnVmm, type Vmm } from '../../dist/lab/vmm-client/spawn.js';
import { sampleMessages } from '../../lab/fuzz/sample-messages.js';
import { decodeMessage, encodeMessage } from '../../migration/messages.js';
import type { DestinationRecord } from '../../migration/record.js';
import { Doorstep, type DoorstepOptions } from '../../vmm/process/doorstep.js';
import { socketVisitor } from '../../vmm/process/socket-visitor.js';
import { start as startNode } from '../processes.js';
import { within } from '../waiting.js';

const KERNEL = fileURLToPath(new URL('../../dist/guests/kernel.img', import.meta.url));
const LEDGER = { guest: KERNEL, memoryBytes: 64 * MIB, append: 'workload=ledger status_ms=100' } as const;
const INCOMING = { incoming: 'tcp:127.0.0.1:0' } as const;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(options: SpawnOptions): Promise<Vmm> {
  const vmm = await spawnVmm(options);
  cleanups.push(() => vmm.kill());
  return vmm;
}

async function connected(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  cleanups.push(() => socket.destroy());
  await within('a connection', once(socket, 'connect'));
  return socket;
}

const portOf = async (vmm: Vmm): Promise<number> => Number((await vmm.incomingAddress()).split(':').at(-1));

/** All that comes until the other side closes. */
async function lastWords(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  if (!socket.closed) await within('the other side to close', once(socket, 'close'));
  return Buffer.concat(chunks);
}

async function goesOn(vmm: Vmm): Promise<void> {
  const line = await vmm.waitForConsole(/^\[.*\] ledger: .* transactions/, { after: vmm.console.length });
  expect(line.text).toMatch(/, clean$/);
}

const hello = encodeMessage(sampleMessages.hello);
const strangers: readonly (readonly [string, (socket: Socket) => void])[] = [
  ['says nothing', () => undefined],
  ['sends a request of HTTP', (socket) => socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')],
  ['sends noise', (socket) => socket.write(Buffer.alloc(100_000, 0xa5))],
  ['stops in the middle of a hello', (socket) => socket.write(hello.subarray(0, hello.length - 7))],
  ['begins with another message', (socket) => socket.write(encodeMessage(sampleMessages.state))],
  ['hangs up', (socket) => socket.end()],
];

describe('a VMM that waits with --incoming', () => {
  it('takes its source whoever came before and stays at the door', async () => {
    const [here, there] = await Promise.all([start(LEDGER), start(INCOMING)]);
    const port = await portOf(there);
    for (const [name, behave] of strangers) {
      behave(await connected(port));
      // Whoever comes next is let in, so that this one has been heard.
      await connected(port);
      expect(await there.runState(), `somebody ${name}`).toBe('inmigrate');
    }
    await here.waitForConsole(/ledger: .*, clean$/);
    await here.migrate(await there.incomingAddress());
    await goesOn(there);
  });

  it('takes its source although a hundred others crowd the door', async () => {
    const [here, there] = await Promise.all([start(LEDGER), start(INCOMING)]);
    const port = await portOf(there);
    const crowd = await Promise.all(Array.from({ length: 100 }, () => connected(port)));
    await here.waitForConsole(/ledger: .*, clean$/);
    await here.migrate(await there.incomingAddress());
    await goesOn(there);
    // Those that were turned away were told why.
    const told = decodeMessage(await lastWords(crowd[0]!));
    expect(told).toMatchObject({ kind: 'error', code: 'migration/crowded' });
  });

  it('tells a second source that it is busy, and the first is not disturbed', async () => {
    const [first, second, there] = await Promise.all([start(LEDGER), start(LEDGER), start(INCOMING)]);
    const address = await there.incomingAddress();
    await Promise.all([first, second].map((vmm) => vmm.waitForConsole(/ledger: .*, clean$/)));
    await first.execute('migrate-set-parameters', { 'max-bandwidth': MIB });
    const moved = first.migrate(address);
    await first.waitFor('MIGRATION_PASS');
    const refused = await second.migrate(address).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(FerryError);
    expect((refused as FerryError).code).toBe('migration/busy');
    await goesOn(second);
    await first.execute('migrate-set-parameters', { 'max-bandwidth': 0 });
    await moved;
    await goesOn(there);
  });

  it('waits on after a cancel if it was asked to stay', async () => {
    const [here, there] = await Promise.all([start(LEDGER), start({ incoming: 'defer' })]);
    await there.execute('migrate-incoming', { uri: 'tcp:127.0.0.1:0', 'exit-on-error': false });
    await here.execute('migrate-set-parameters', { 'max-bandwidth': MIB });
    const moved = here.migrate(await there.incomingAddress()).catch((error: unknown) => error);
    await here.waitFor('MIGRATION_PASS');
    await here.execute('migrate_cancel');
    expect((await moved) as FerryError).toMatchObject({ code: 'migration/cancelled' });
    await here.execute('migrate-set-parameters', { 'max-bandwidth': 0 });
    await here.migrate(await there.incomingAddress());
    await goesOn(there);
  });
});

describe('an address that swallows what is sent to it', () => {
  /** A process that listens and never accepts: its queue is full, and further connections get no answer at all. */
  async function blackHole(): Promise<number> {
    const program = `require('node:net').createServer().listen({ host: '127.0.0.1', port: 0, backlog: 1 }, function () {
      require('node:fs').writeSync(1, this.address().port + '\\n');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    })`;
    const port = await startNode(['-e', program], { name: 'a black hole' }).out.find(/^\d+$/);
    for (let connections = 0; connections < 1000; connections++) {
      const socket = connect(Number(port), '127.0.0.1');
      socket.on('error', () => {});
      cleanups.push(() => socket.destroy());
      const timer = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 300));
      if (!(await Promise.race([once(socket, 'connect').then(() => true), timer]))) return Number(port);
    }
    throw new Error('a thousand connections wait to be accepted, and one more does not');
  }

  it('is given up at once by migrate_cancel', async () => {
    const port = await blackHole();
    const here = await start(LEDGER);
    await here.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
    await here.execute('migrate', { uri: `tcp:127.0.0.1:${port}` });
    expect(await here.execute('query-migrate')).toMatchObject({ status: 'setup' });
    // The connection itself would be given up after ten seconds.
    const cancelled = here.waitFor('MIGRATION', {
      where: ({ status }) => status === 'cancelled',
      timeoutMs: 5000,
    });
    await here.execute('migrate_cancel');
    await cancelled;
    await goesOn(here);
  });
});

describe('the doorstep', () => {
  async function doorstepWith(options: Partial<DoorstepOptions>) {
    const waits = new Set<() => void>();
    const doorstep = new Doorstep({
      turnedAway: () => {},
      recordOf: () => undefined,
      later: (_ms, callback) => {
        waits.add(callback);
        return () => waits.delete(callback);
      },
      ...options,
    });
    const server = createServer((socket) => doorstep.knock(socketVisitor(socket))).listen(0, '127.0.0.1');
    cleanups.push(() => server.close());
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    /** A connection that the doorstep knows of. */
    const stranger = async (): Promise<Socket> => {
      const known = once(server, 'connection');
      const socket = await connected(port);
      await known;
      return socket;
    };
    const timeIsUp = (): void => {
      for (const callback of waits) callback();
    };
    return { doorstep, stranger, timeIsUp };
  }

  it('gives a stranger its time and no more, and says why it lets it go', async () => {
    const turned: string[] = [];
    const { doorstep, stranger, timeIsUp } = await doorstepWith({
      turnedAway: ({ code }) => turned.push(code),
    });
    const silent = await stranger();
    timeIsUp();
    expect(decodeMessage(await lastWords(silent))).toMatchObject({ code: 'migration/no-hello' });
    const large = await stranger();
    large.write(encodeMessage(sampleMessages.state));
    expect(decodeMessage(await lastWords(large))).toMatchObject({ code: 'migration/unexpected-message' });
    const real = await stranger();
    const next = doorstep.next();
    real.write(hello);
    const { link, from } = (await next)!;
    timeIsUp();
    expect(from).toMatch(/^127\.0\.0\.1, port \d+$/);
    expect(decodeMessage((await link.receive())!)).toEqual(sampleMessages.hello);
    expect(turned).toEqual(['migration/no-hello', 'migration/unexpected-message']);
    doorstep.close();
    expect(await doorstep.next()).toBeUndefined();
  });

  it('answers a source that came before the guest did and asks after that', async () => {
    const status = { status: 'completed', parts: { startNs: 1, deviceStartNs: 1 } };
    const { doorstep, stranger } = await doorstepWith({
      recordOf: () => status as unknown as DestinationRecord,
    });
    const asks = await stranger();
    doorstep.close();
    asks.write(encodeMessage(sampleMessages.inquiry));
    expect(decodeMessage(await lastWords(asks))).toMatchObject({ kind: 'running' });
  });

  it.each([
    ['says nothing', '', 'no-hello'],
    ['says hello too late', hello, 'not-waiting'],
    ['talks nonsense', Buffer.alloc(100, 0xa5), 'not-a-stream'],
  ] as const)('promises nothing of any migration to one who %s', async (_, words, code) => {
    const { doorstep, stranger, timeIsUp } = await doorstepWith({});
    doorstep.close();
    const socket = await stranger();
    if (words === '') timeIsUp();
    else socket.write(words);
    expect(decodeMessage(await lastWords(socket))).toMatchObject({
      code: `migration/${code}`,
      discarded: false,
    });
  });
});
