/** Connections that hang, cut by `yank`: real processes, and other ends that really stand still. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { QmpClient } from '../../dist/lab/vmm-client/qmp-client.js';
import { type SpawnOptions, spawnVmm, type Vmm } from '../../dist/lab/vmm-client/spawn.js';

const KERNEL = fileURLToPath(new URL('../../dist/guests/kernel.img', import.meta.url));
const LEDGER = { guest: KERNEL, memoryBytes: 64 * MIB, append: 'workload=ledger status_ms=100' } as const;
const MIGRATION = { instances: [{ type: 'migration' }] };
/** Far more than it takes, and less than a migration waits for an answer by itself. */
const BOUND_MS = 20_000;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(options: SpawnOptions): Promise<Vmm> {
  const vmm = await spawnVmm(options);
  cleanups.push(() => vmm.kill());
  return vmm;
}

const goesOn = async (vmm: Vmm): Promise<void> => {
  const line = await vmm.waitForConsole(/^\[.*\] ledger: .* transactions/, { after: vmm.console.length });
  expect(line.text).toMatch(/, clean$/);
};
const statusOf = async (vmm: Vmm): Promise<{ readonly status?: string; readonly 'error-desc'?: string }> =>
  (await vmm.execute('query-migrate')) as { status?: string };
const until = (vmm: Vmm, status: string): Promise<void> =>
  expect.poll(async () => (await statusOf(vmm)).status, { timeout: BOUND_MS, interval: 20 }).toBe(status);

it('a migration to somebody who takes its connection and never says a word', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.pause();
    cleanups.push(() => socket.destroy());
  }).listen(0, '127.0.0.1');
  cleanups.push(() => server.close());
  await once(server, 'listening');
  const source = await start(LEDGER);
  await source.execute('migrate', {
    uri: `tcp:127.0.0.1:${(server.address() as { port: number }).port}`,
  });
  await once(server, 'connection');
  expect(await source.execute('query-yank')).toContainEqual({ type: 'migration' });
  await source.execute('yank', MIGRATION);
  await until(source, 'failed');
  expect((await statusOf(source))['error-desc']).toContain('cut by `yank`');
  await goesOn(source);
  expect(await source.execute('query-yank')).toEqual([]);
  await expect(source.execute('yank', MIGRATION)).rejects.toThrow('Instance not found');
});

it('a migration in its rounds to a process that stands still, and then one that comes there', async () => {
  const destination = await start({ incoming: 'tcp:127.0.0.1:0' });
  const source = await start(LEDGER);
  // So slow that it can't be over before it is seen.
  await source.execute('migrate-set-parameters', { 'max-bandwidth': 256 * 1024 });
  await source.execute('migrate', { uri: await destination.incomingAddress() });
  await until(source, 'active');
  process.kill(destination.pid, 'SIGSTOP');
  await source.execute('migrate-set-parameters', { 'max-bandwidth': 0 });
  await source.execute('yank', MIGRATION);
  await until(source, 'failed');
  await goesOn(source);
  process.kill(destination.pid, 'SIGKILL');
  const other = await start({ incoming: 'tcp:127.0.0.1:0' });
  await source.migrate(await other.incomingAddress());
  await goesOn(other);
});

it('a guest that is coming, from a process that stands still: its place is free again', async () => {
  const destination = await start({ incoming: 'defer' });
  await destination.execute('migrate-incoming', { uri: 'tcp:127.0.0.1:0', 'exit-on-error': false });
  const source = await start(LEDGER);
  const other = await start(LEDGER);
  await source.execute('migrate-set-parameters', { 'max-bandwidth': 256 * 1024 });
  await source.execute('migrate', { uri: await destination.incomingAddress() });
  await until(destination, 'active');
  process.kill(source.pid, 'SIGSTOP');
  expect(await destination.execute('query-yank')).toEqual([{ type: 'migration' }]);
  await destination.execute('yank', MIGRATION);
  await until(destination, 'failed');
  await other.migrate(await destination.incomingAddress());
  await goesOn(destination);
  process.kill(source.pid, 'SIGKILL');
});

it("a client of a monitor, which hears no more, and one of the agent's socket; others may come", async () => {
  const folder = mkdtempSync(join(tmpdir(), 'yank-'));
  cleanups.push(() => rmSync(folder, { recursive: true }));
  const [monitor, agent] = ['monitor.sock', 'agent.sock'].map((name) => join(folder, name)) as [
    string,
    string,
  ];
  const vmm = await start({ ...LEDGER, monitors: [`unix:${monitor}`], agent: `unix:${agent}` });
  const instances = await vmm.execute('query-yank');
  expect(instances).toEqual([
    { type: 'chardev', id: 'compat_monitor0' },
    { type: 'chardev', id: 'agent' },
  ]);
  const sockets: Socket[] = [];
  for (const path of [monitor, agent]) {
    const socket = connect(path);
    socket.on('error', () => {});
    sockets.push(socket);
    cleanups.push(() => socket.destroy());
    await once(socket, 'connect');
  }
  // The monitor has taken it in when it has greeted it; the agent's says nothing.
  await once(sockets[0]!, 'data');
  const gone = Promise.all(sockets.map((socket) => once(socket.resume(), 'close')));
  await vmm.execute('yank', { instances });
  await gone;
  const next = await QmpClient.connect(`unix:${monitor}`);
  cleanups.push(() => next.close());
  expect(await next.execute('query-status')).toMatchObject({ status: 'running' });
});
