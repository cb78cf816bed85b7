/** The fabric asked while it runs, over its monitor: in this process, and as the process that `migrate` spawns. */
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { parseIpv4, parseMac } from '../../devices/ethernet/addresses.js';
import { TrafficPeer } from '../../devices/ethernet/peer.js';
import { FrameStreamEncoder, FrameStreamParser } from '../../devices/ethernet/stream-framing.js';
import { FerryError } from '../../dist/base/errors.js';
import { spawnFabric } from '../../dist/lab/fabric/spawn.js';
import { startFabric } from '../../lab/fabric/fabric.js';
import { serveFabricMonitor } from '../../lab/fabric/monitor.js';
import { parsePeer } from '../../lab/fabric/options.js';
import { StallWatch } from '../../lab/fabric/stalls.js';
import { parseProcessMonitor } from '../../lab/monitor/process-monitor.js';
import { QmpClient } from '../../lab/vmm-client/qmp-client.js';
import { realTime } from '../../vmm/threads/real-time.js';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const GUEST_IP = '10.0.0.2';

/** A station that echoes, behind the socket at `address`; frames for it pass `onWire`, which may keep them. */
async function guest(address: string, onWire: () => boolean = () => true): Promise<Socket> {
  const socket = connect({ path: address.slice('unix:'.length) });
  socket.on('error', () => {});
  cleanups.push(() => socket.destroy());
  await once(socket, 'connect');
  const encoder = new FrameStreamEncoder((bytes) => socket.write(bytes, () => encoder.written()));
  const peer = new TrafficPeer({
    station: { ip: parseIpv4(GUEST_IP)!, mac: parseMac('52:54:00:00:00:99')! },
    scheduler: realTime,
    send: (bytes, at, length) => {
      encoder.add(bytes, at, length);
      encoder.flush();
    },
  });
  const parser = new FrameStreamParser((bytes, at, length) => {
    if (onWire()) peer.receive(bytes, at, length);
  });
  socket.on('data', (chunk) => parser.push(chunk));
  return socket;
}

async function until(probe: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!(await probe())) {
    if (performance.now() > deadline) throw new Error(`not within 15 s: ${probe}`);
  }
}

describe("a fabric's monitor", () => {
  async function started() {
    const folder = mkdtempSync(join(tmpdir(), 'fabric-'));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const fabric = await startFabric({ listen: ['private'], peers: [parsePeer('ip=10.0.0.1')] });
    cleanups.push(() => fabric.close());
    const path = join(folder, 'm.sock');
    const quits: string[] = [];
    const control = { fabric, quit: () => void quits.push('quit') };
    cleanups.push(await serveFabricMonitor(control, { kind: 'unix', path }));
    const client = await QmpClient.connect(`unix:${path}`);
    cleanups.push(() => client.close());
    return { client, quits };
  }

  it('speaks QMP, and refuses in words what it does not understand', async () => {
    const { client, quits } = await started();
    const refusals: [string, object | undefined, RegExp][] = [
      ['migrate', undefined, /has not been found/],
      ['start-flow', {}, /'flow' is missing/],
      ['start-flow', { flow: 'to=nowhere' }, /no host's IPv4 address/],
      ['start-flow', { flow: 'to=10.0.0.2,from=10.0.0.9' }, /no peer has the address 10\.0\.0\.9/],
      ['next-phase', { name: 'x' }, /'name' is unexpected/],
    ];
    for (const [command, args, why] of refusals) {
      await expect(client.execute(command, args as Record<string, unknown>)).rejects.toThrow(why);
    }
    for (let i = 0; i < 64; i++) await client.execute('start-flow', { flow: 'to=10.0.0.2,rate=1' });
    await expect(client.execute('start-flow', { flow: 'to=10.0.0.2,rate=1' })).rejects.toThrow(/no more/);
    expect(quits).toEqual([]);
    await client.execute('quit');
    expect(quits).toEqual(['quit']);
  });

  it('takes an inherited descriptor, and no other number', () => {
    expect(parseProcessMonitor('fd:3')).toEqual({ kind: 'fd', fd: 3 });
    for (const text of ['fd:', 'fd:0', 'fd:-3', 'fd:9999', 'fd:3x']) {
      expect(() => parseProcessMonitor(text)).toThrow(/descriptor/);
    }
  });
});

describe('a spawned fabric', () => {
  it('measures phases: what was lost in one is lost in that one', async () => {
    const fabric = await spawnFabric({ peers: ['ip=10.0.0.1'] });
    cleanups.push(() => fabric.quit());
    let wired = true;
    await guest(fabric.address, () => wired);
    await fabric.startFlow(`to=${GUEST_IP},rate=5000`);
    const received = async (): Promise<number> =>
      (await fabric.report()).peers[0]!.flows[0]!.arrived!.received;
    const more = async (): Promise<void> => {
      const before = await received();
      await until(async () => (await received()) > before + 200);
    };
    await more();
    const before = await fabric.nextPhase();
    await more();
    wired = false;
    const sent = (await fabric.report()).peers[0]!.flows[0]!.sent;
    await until(async () => (await fabric.report()).peers[0]!.flows[0]!.sent > sent + 300);
    wired = true;
    await more();
    const blackout = await fabric.nextPhase();
    await more();
    await fabric.stopFlows();
    await until(async () => (await fabric.report()).peers[0]!.flows[0]!.outstanding === 0);
    const after = await fabric.nextPhase();
    expect(before.flows[0]!.arrived).toMatchObject({ lost: 0, corrupt: 0 });
    expect(blackout.flows[0]).toMatchObject({ peer: '10.0.0.1', kind: 'echo' });
    expect(blackout.flows[0]!.arrived!.lost).toBeGreaterThanOrEqual(300);
    expect(blackout.flows[0]!.arrived!.longestGapNs).toBeGreaterThan(50e6);
    expect(after.flows[0]!.arrived).toMatchObject({ lost: 0 });
    expect(after.flows[0]!.arrived!.received).toBeGreaterThan(200);
    expect(before.longestStallNs).toBeGreaterThan(0);
  });

  it('leaves nothing behind: not when it quits, not when it is killed', async () => {
    for (const end of ['quit', 'kill'] as const) {
      const fabric = await spawnFabric();
      const folder = dirname(fabric.address.slice('unix:'.length));
      expect(existsSync(folder)).toBe(true);
      if (end === 'quit') await fabric.quit();
      else {
        process.kill(fabric.pid, 'SIGKILL');
        const error = await fabric.nextPhase().catch((reason: unknown) => reason);
        expect(error).toBeInstanceOf(FerryError);
        expect((error as FerryError).code).toBe('lab/process-died');
        await fabric.exited;
      }
      expect(existsSync(folder)).toBe(false);
    }
  });

  it('that can not start says why', async () => {
    const failed = spawnFabric({ pcap: '/dev/null/none.pcapng' });
    await expect(failed).rejects.toMatchObject({ code: 'lab/file-failed' });
  });
});

describe('the watch for stalls', () => {
  it('finds the time in which the process did not run, and only that', async () => {
    const watch = new StallWatch(() => realTime.now());
    watch.start();
    cleanups.push(() => watch.stop());
    const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));
    await turn();
    watch.nextPhase();
    const start = realTime.now();
    while (realTime.now() - start < 30e6);
    await turn();
    const longest = watch.nextPhase();
    expect(longest).toBeGreaterThan(25e6);
    expect(watch.longestNs).toBeGreaterThanOrEqual(longest);
    expect(watch.within(start, 30e6)).toBeGreaterThan(25e6);
    expect(watch.within(start, 10e6)).toBeLessThanOrEqual(10e6);
    expect(watch.within(start - 1e9, 0.5e9)).toBe(0);
  });
});
