/** The guest's agent at the sockets of two real VMMs, and a move between them after which the interface is as it was. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { KERNEL_IMAGE } from '../../dist/lab/move/scenario.js';
import { spawnVmm, type Vmm } from '../../dist/lab/vmm-client/spawn.js';

const TIMEOUT_MS = 120_000;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function spawned(options: Parameters<typeof spawnVmm>[0]): Promise<Vmm> {
  const vmm = await spawnVmm({ nic: 'vf,slot=quick', ...options });
  cleanups.push(() => vmm.kill());
  return vmm;
}

/** A client as QEMU's agent has them: it sends, and takes the next line for the reply. */
function clientAt(path: string) {
  const socket = connect(path);
  socket.setEncoding('latin1');
  cleanups.push(() => socket.destroy());
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
  const send = (text: string): boolean => socket.write(text, 'latin1');
  const next = async (): Promise<string> => (await lines.next()).value as string;
  const ask = async (execute: string, args: object = {}): Promise<unknown> => {
    send(JSON.stringify({ execute, arguments: args }));
    return (JSON.parse(await next()) as { return?: unknown }).return;
  };
  return { send, next, ask, closed };
}

it(
  "a guest's agent goes on where its guest does, in the midst of a request, and has given the interface back what it had",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ferry-agent-'));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const [path, otherPath] = [join(folder, 'a.sock'), join(folder, 'b.sock')];
    const here = await spawned({
      guest: KERNEL_IMAGE,
      memoryBytes: 64 * MIB,
      append: 'workload=idle',
      agent: `unix:${path}`,
    });
    const there = await spawned({ incoming: 'tcp:127.0.0.1:0', agent: `unix:${otherPath}` });
    await here.waitForConsole(/Run idle as workload/);

    const client = clientAt(path);
    client.send(`\xff${JSON.stringify({ execute: 'guest-sync-delimited', arguments: { id: 5 } })}\n`);
    expect(await client.next()).toBe('\xff{"return": 5}');
    const iface = 'eth0';
    const address = { 'ip-address': '10.0.0.77', prefix: 16 };
    expect(await client.ask('x-ferry-network-set-address', { iface, ...address })).toEqual({});
    const gateway = { destination: '0.0.0.0', gateway: '10.0.1.1' };
    expect(await client.ask('x-ferry-network-set-route', { iface, ...gateway })).toEqual({});
    client.send('{"execute": "guest-sync", "argu');

    await here.execute('migrate-set-parameters', { stop: 'hot-unplug-quick', start: 'hot-plug-agent' });
    const record = await here.migrate(await there.incomingAddress());
    expect([record.status, record.afterwards]).toEqual(['completed', undefined]);
    expect(record.approaches).toMatchObject({ start: 'hot-plug-agent' });
    await client.closed;

    const other = clientAt(otherPath);
    other.send('ments": {"id": 6}}\n');
    expect(await other.next()).toBe('{"return": 6}');
    expect(await other.ask('guest-network-get-interfaces')).toMatchObject([
      { name: iface, 'ip-addresses': [address] },
    ]);
    expect(await other.ask('guest-network-get-route')).toMatchObject([{ iface, ...gateway }, { iface }]);
  },
  TIMEOUT_MS,
);
