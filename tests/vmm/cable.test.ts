import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Cable } from '../../vmm/machine/thread/cable.js';

/** One frame of four bytes in QEMU's framing. */
const FRAME = Uint8Array.of(0, 0, 0, 4, 1, 2, 3, 4);

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cable-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Listens at `path`; `plugged` resolves with the first socket. */
async function fabric(path: string) {
  const server: Server = createServer();
  const plugged = new Promise<Socket>((resolve) => server.once('connection', resolve));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return { plugged, close: () => new Promise((resolve) => server.close(resolve)) };
}

function observed() {
  const events: string[] = [];
  const waiting: (() => void)[] = [];
  const note = (event: string): void => {
    events.push(event);
    for (const wake of waiting.splice(0)) wake();
  };
  const cable = new Cable({
    receive: (bytes, at, length) => note(`frame ${bytes.slice(at, at + length).join(' ')}`),
    received: () => {},
    room: () => {},
    link: (up) => note(up ? 'up' : 'down'),
  });
  const count = async (wanted: number): Promise<readonly string[]> => {
    while (events.length < wanted) await new Promise<void>((resolve) => waiting.push(resolve));
    return events;
  };
  return { cable, count };
}

describe('a cable', () => {
  it('goes down with its fabric, in the middle of a frame, and comes up again with the next one there', async () => {
    const path = join(folder, 'net.sock');
    const { cable, count } = observed();
    const first = await fabric(path);
    await cable.connect({ kind: 'unix', path });
    const socket = await first.plugged;
    socket.write(FRAME);
    await count(2);
    socket.write(FRAME.subarray(0, 6), () => socket.destroy());
    await count(3);
    expect(cable.send(FRAME, 4, 4)).toBe(false);
    await first.close();
    const second = await fabric(path);
    const again = await second.plugged;
    again.write(FRAME);
    expect(await count(5)).toEqual(['up', 'frame 1 2 3 4', 'down', 'up', 'frame 1 2 3 4']);
    expect(cable.send(FRAME, 4, 4)).toBe(true);
    cable.flush();
    const sent = await new Promise<Buffer>((resolve) => again.once('data', resolve));
    expect([...sent]).toEqual([...FRAME]);
    again.destroy();
    await second.close();
  });

  it('that finds no fabric at first says so, and does not look for one', async () => {
    const { cable } = observed();
    const path = join(folder, 'nobody.sock');
    await expect(cable.connect({ kind: 'unix', path })).rejects.toMatchObject({ code: 'vmm/netdev-failed' });
  });
});
