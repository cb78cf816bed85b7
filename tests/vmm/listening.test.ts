/**
 * A UNIX socket's file appears when connections are accepted, not before: who waits for the file may connect at once.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { listen, unpublished } from '../../vmm/sockets/listening.js';
import { VfioUserServer } from '../../vmm/vfio-user/server.js';
import { loadUnixSockets } from '../../vmm/vfio-user/unix-sockets.js';
import { LocalVf } from './vfio-user-local.js';

const folder = mkdtempSync(join(tmpdir(), 'ferry-listening-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const observer = { came: () => {}, went: () => {}, handled: () => {} };
const sockets = await loadUnixSockets().catch(() => undefined);

const connects = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });

describe("a UNIX socket's file", () => {
  it('has its name when it accepts connections, and no name beside it stays', async () => {
    const path = join(folder, 'named.sock');
    const there: boolean[] = [];
    class Watched extends Server {
      // What bind(2) and listen(2) have done by then is not to be seen by the name.
      override listen(...args: unknown[]): this {
        Reflect.apply(super.listen, this, args);
        there.push(existsSync(path));
        return this;
      }
    }
    const server = new Watched();
    await listen(server, { kind: 'unix', path });
    try {
      expect(there).toEqual([false]);
      expect(await connects(path)).toBe(true);
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(readdirSync(folder)).toEqual(['named.sock']);
    } finally {
      server.close();
      rmSync(path, { force: true });
    }
  });

  it.skipIf(sockets === undefined)('is named late for vfio-user as well', async () => {
    const path = join(folder, 'vfio.sock');
    const there: boolean[] = [];
    const unix = sockets!;
    const watched = {
      ...unix,
      listen: (name: string): number => {
        const fd = unix.listen(name);
        there.push(existsSync(path));
        return fd;
      },
    };
    const server = await VfioUserServer.open(watched, new LocalVf().device, observer, { kind: 'unix', path });
    try {
      expect(there).toEqual([false]);
      expect(await connects(path)).toBe(true);
      expect(readdirSync(folder)).toEqual(['vfio.sock']);
    } finally {
      server.close();
    }
  });

  it('is not taken from whoever was quicker', () => {
    const path = join(folder, 'quicker');
    writeFileSync(path, 'theirs');
    const file = unpublished(path);
    writeFileSync(file.path, 'ours');
    expect(file.publish).toThrow('EEXIST');
    expect(readdirSync(folder)).toEqual(['quicker']);
  });
});
