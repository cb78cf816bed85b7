/**
 * Clients of a monitor over real sockets: one that asks faster than it reads is waited for, one that does not read at all
 * costs a bounded amount, and one too many is told so. The fabric's monitor is served by the same code.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { CLIENTS_MAX, MonitorListener } from '../../vmm/monitor/listener.js';
import { Monitor } from '../../vmm/monitor/monitor.js';

const folder = mkdtempSync(join(tmpdir(), 'ferry-monitor-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const REPLY = 'x'.repeat(48 * 1024);
let serial = 0;

async function served() {
  const ran: string[] = [];
  const monitor = new Monitor(
    {
      version: { qemu: { major: 0, minor: 1, micro: 0 }, package: 'test' },
      run: async (execute) => {
        ran.push(execute);
        return execute === 'large' ? REPLY : {};
      },
    },
    () => 0,
    (error) => {
      throw error;
    },
  );
  const path = join(folder, `${serial++}.sock`);
  const listener = await MonitorListener.open(monitor, { kind: 'unix', path });
  cleanups.push(() => listener.close(100));
  return { monitor, path, ran };
}

async function client(path: string): Promise<Socket> {
  const socket = connect({ path });
  socket.on('error', () => {});
  cleanups.push(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

const command = (execute: string): string => `{"execute":"${execute}"}\n`;

/** Reads lines until `count` replies have come. */
async function replies(socket: Socket, count: number): Promise<number> {
  let [seen, rest] = [0, ''];
  for await (const chunk of socket) {
    const lines = (rest + String(chunk)).split('\n');
    rest = lines.pop()!;
    seen += lines.filter((line) => line.includes('"return"')).length;
    if (seen >= count) break;
  }
  return seen;
}

describe('a client', () => {
  it.each([
    ['200 commands with answers of 48 KiB', 'large', 200],
    ['10,000 small commands', 'small', 10_000],
  ])('that sends %s in one write, and reads all, gets all', async (_name, execute, count) => {
    const { path, ran } = await served();
    const socket = await client(path);
    socket.write(command('qmp_capabilities') + command(execute).repeat(count));
    expect(await replies(socket, count + 1)).toBe(count + 1);
    expect(ran).toHaveLength(count);
  });

  it('that closes its side after its last command, as a script does, gets its answers and is let go', async () => {
    const { path, ran } = await served();
    const socket = await client(path);
    socket.end(command('qmp_capabilities') + command('large').repeat(20) + command('small'));
    expect(await replies(socket, Number.POSITIVE_INFINITY)).toBe(22);
    expect(ran.at(-1)).toBe('small');
  });

  it('that does not read is not worked for: its commands wait, in bounded memory, and others are served', async () => {
    const { path, ran } = await served();
    const deaf = await client(path);
    deaf.pause();
    deaf.write(command('qmp_capabilities') + command('large').repeat(2000));
    const other = await client(path);
    for (let i = 0; i < 50; i++) {
      other.write((i === 0 ? command('qmp_capabilities') : '') + command('small'));
    }
    expect(await replies(other, 51)).toBe(51);
    const large = ran.filter((execute) => execute === 'large').length;
    // What the kernel and one buffer hold, and no more.
    expect(large).toBeLessThan(100);
    expect(deaf.destroyed).toBe(false);
  });

  it('that does not read events is dropped when too many wait for it, and nobody else is', async () => {
    const { monitor, path } = await served();
    const deaf = await client(path);
    deaf.write(command('qmp_capabilities'));
    await once(deaf, 'data');
    await new Promise((resolve) => setImmediate(resolve));
    deaf.pause();
    const closed = once(deaf, 'close');
    for (let i = 0; i < 20_000; i++)
      monitor.emit('X_FERRY_CONSOLE', { lines: ['x'.repeat(1000)], dropped: 0 });
    deaf.resume();
    await closed;
    const other = await client(path);
    other.write(command('qmp_capabilities'));
    expect(await replies(other, 1)).toBe(1);
  });

  it(`beyond the ${CLIENTS_MAX} that there may be is told so, and gets in when one has left`, async () => {
    const { path } = await served();
    const first = await client(path);
    await once(first, 'data');
    for (let i = 1; i < CLIENTS_MAX; i++) await once(await client(path), 'data');
    const late = await client(path);
    const [words] = (await once(late, 'data')) as [Buffer];
    expect(JSON.parse(String(words))).toMatchObject({
      error: { class: 'GenericError', desc: expect.stringMatching(/64 clients/) },
    });
    await once(late, 'close');
    // One that is told so and stays all the same is not kept.
    const stubborn = connect({ path, allowHalfOpen: true });
    cleanups.push(() => stubborn.destroy());
    await once(stubborn, 'data');
    await once(stubborn, 'end');
    const broken = once(stubborn, 'error');
    const knocking = setInterval(() => stubborn.write('x'), 10);
    cleanups.push(() => clearInterval(knocking));
    await broken;
    first.end();
    await once(first, 'close');
    const next = await client(path);
    const [greeting] = (await once(next, 'data')) as [Buffer];
    expect(JSON.parse(String(greeting))).toHaveProperty('QMP');
  });
});
