/** The control link over real sockets on the loopback. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { allSamples, sampleMessages } from '../../lab/fuzz/sample-messages.js';
import { encodeMessage } from '../../migration/messages.js';
import { connectControlLink, SocketControlLink } from '../../vmm/control-link/socket-link.js';
import type { SocketAddress } from '../../vmm/sockets/address.js';
import { listen } from '../../vmm/sockets/listening.js';

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

async function serverAt(
  address: SocketAddress,
): Promise<{ address: SocketAddress; next: () => Promise<Socket> }> {
  const sockets: Socket[] = [];
  const waiting: ((socket: Socket) => void)[] = [];
  const server: Server = createServer({ allowHalfOpen: false }, (socket) => {
    cleanups.push(() => socket.destroy());
    const take = waiting.shift();
    if (take === undefined) sockets.push(socket);
    else take(socket);
  });
  const { address: real } = await listen(server, address);
  cleanups.push(() => server.close());
  const next = async (): Promise<Socket> =>
    sockets.shift() ?? new Promise((resolve) => waiting.push(resolve));
  return { address: real, next };
}

const tcp: SocketAddress = { kind: 'tcp', host: '127.0.0.1', port: 0 };

function unix(): SocketAddress {
  const folder = mkdtempSync(join(tmpdir(), 'ferry-link-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return { kind: 'unix', path: join(folder, 'control') };
}

async function pairAt(address: SocketAddress) {
  const server = await serverAt(address);
  const near = await connectControlLink(server.address);
  cleanups.push(() => near.close());
  const socket = await server.next();
  return { near, socket, far: () => new SocketControlLink(socket, 'the source') };
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    (value) => `resolved to ${String(value)}`,
    (error: { code?: string }) => error.code ?? String(error),
  );
}

describe.each([
  ['tcp', () => tcp],
  ['unix', unix],
])('a control link over %s', (_, address) => {
  it('carries whole messages in order, both ways, and ends in good order', async () => {
    const { near, far: open } = await pairAt(address());
    const far = open();
    for (const message of allSamples) void near.send(encodeMessage(message));
    for (const message of allSamples) {
      expect(Buffer.from((await far.receive())!)).toEqual(Buffer.from(encodeMessage(message)));
    }
    await far.send(encodeMessage(sampleMessages.welcome));
    far.close();
    expect(await near.receive()).toBeInstanceOf(Uint8Array);
    expect(await near.receive()).toBeUndefined();
    expect(await near.receive()).toBeUndefined();
  });

  it('holds a fast sender back when nobody receives', async () => {
    const { near, far: open } = await pairAt(address());
    const far = open();
    const unwind = new Uint8Array(200 * 1024);
    const vcpu = { ...sampleMessages.state.machine.vcpus[0]!, unwind };
    const machine = {
      ...sampleMessages.state.machine,
      vcpus: Array.from({ length: 20 }, (_, index) => ({ ...vcpu, index })),
    };
    const big = encodeMessage({ ...sampleMessages.state, machine });
    const count = Math.ceil((64 * MIB) / big.length);
    let taken = 0;
    const sending = (async () => {
      for (let i = 0; i < count; i++) {
        await near.send(big);
        taken++;
      }
    })();
    // Nothing is received, so at some point nothing more is taken: two looks with the same answer.
    let before = -1;
    while (taken !== before) {
      before = taken;
      for (let i = 0; i < 200; i++) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(taken).toBeLessThan(count);
    for (let i = 0; i < count; i++) expect((await far.receive())!.length).toBe(big.length);
    await sending;
  });

  it('reports a connection that ends in the middle of a message', async () => {
    const { near, socket } = await pairAt(address());
    socket.end(encodeMessage(sampleMessages.hello).subarray(0, 30));
    const error = near.receive();
    expect(await codeOf(error)).toBe('migration/link-broken');
    await expect(near.receive()).rejects.toThrow(/middle of a message/);
  });

  it('refuses garbage, and can still say so', async () => {
    const { near, socket } = await pairAt(address());
    const told: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => told.push(chunk));
    socket.write('HELO example.org\r\n');
    expect(await codeOf(near.receive())).toBe('migration/not-a-stream');
    await near.send(encodeMessage(sampleMessages.error));
    near.close();
    await new Promise((resolve) => socket.once('end', resolve));
    expect(Buffer.concat(told)).toEqual(Buffer.from(encodeMessage(sampleMessages.error)));
  });

  it('hands out what arrived before the connection broke', async () => {
    const { near, socket } = await pairAt(address());
    socket.end(Buffer.concat([encodeMessage(sampleMessages.commit), Buffer.from([0x46])]));
    expect(Buffer.from((await near.receive())!)).toEqual(Buffer.from(encodeMessage(sampleMessages.commit)));
    expect(await codeOf(near.receive())).toBe('migration/link-broken');
  });
});

describe('a control link', () => {
  it('reports a reset, to the receiver and to the next sender', async () => {
    const { near, socket } = await pairAt(tcp);
    const receiving = codeOf(near.receive());
    socket.resetAndDestroy();
    expect(await receiving).toBe('migration/link-broken');
    expect(await codeOf(near.send(encodeMessage(sampleMessages.ping)))).toBe('migration/link-broken');
  });

  it('to an address where nobody listens is refused with that reason', async () => {
    const server = await serverAt(tcp);
    for (const cleanup of cleanups.splice(0)) cleanup();
    await expect(connectControlLink(server.address)).rejects.toMatchObject({
      code: 'control-link/connect-failed',
      facts: { reason: 'nobody listens there' },
    });
    await expect(connectControlLink({ kind: 'unix', path: unixPathOfNobody() })).rejects.toMatchObject({
      facts: { reason: 'there is no such socket' },
    });
  });

  it('at an address in use is refused before it listens', async () => {
    const { address } = await serverAt(tcp);
    await expect(serverAt(address)).rejects.toMatchObject({
      code: 'vmm/listen-failed',
      facts: { reason: 'the address is in use' },
    });
  });
});

function unixPathOfNobody(): string {
  const address = unix();
  return address.kind === 'unix' ? address.path : '';
}
