import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseIpv4, parseMac } from '../../devices/ethernet/addresses.js';
import { TrafficPeer } from '../../devices/ethernet/peer.js';
import { FrameStreamEncoder, FrameStreamParser } from '../../devices/ethernet/stream-framing.js';
import { type Fabric, type FabricOptions, startFabric } from '../../lab/fabric/fabric.js';
import { parseFlow, parsePeer, parseShare } from '../../lab/fabric/options.js';
import { type FabricReport, reportText } from '../../lab/fabric/report.js';
import type { SocketAddress } from '../../vmm/sockets/address.js';
import { realTime } from '../../vmm/threads/real-time.js';
import { readPcapng } from '../devices/ethernet-pcapng-reader.js';
import { type Ended, startFerry } from '../processes.js';

const LOOPBACK: SocketAddress = { kind: 'tcp', host: '127.0.0.1', port: 0 };

let folder: string;
const cleanups: (() => unknown)[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fabric-'));
});

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  rmSync(folder, { recursive: true });
});

async function started(options: Partial<FabricOptions>): Promise<Fabric> {
  const fabric = await startFabric({ listen: [LOOPBACK], ...options });
  cleanups.push(() => fabric.close());
  return fabric;
}

async function joined(address: SocketAddress): Promise<Socket> {
  const socket = connect(
    address.kind === 'tcp' ? { host: address.host, port: address.port } : { path: address.path },
  );
  socket.on('error', () => {});
  cleanups.push(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

/** A station of the test's own behind a socket, as a guest's NIC would be. */
async function guest(address: SocketAddress, ip: string): Promise<{ socket: Socket; peer: TrafficPeer }> {
  const socket = await joined(address);
  const encoder = new FrameStreamEncoder((bytes) => socket.write(bytes, () => encoder.written()));
  const station = { ip: parseIpv4(ip)!, mac: parseMac('52:54:00:00:00:99')! };
  const peer = new TrafficPeer({
    station,
    scheduler: realTime,
    send: (bytes, at, length) => {
      encoder.add(bytes, at, length);
      encoder.flush();
    },
  });
  cleanups.push(() => peer.stopFlows());
  const parser = new FrameStreamParser(peer.receive);
  socket.on('data', (chunk) => parser.push(chunk));
  return { socket, peer };
}

const PATIENCE_MS = 15_000;

/** Looks until `probe` finds something; throws if that takes too long. */
async function until<T>(probe: () => T | undefined | false): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS;
  while (performance.now() < deadline) {
    const found = probe();
    if (found !== undefined && found !== false) return found;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error(`nothing within ${PATIENCE_MS} ms: ${probe}`);
}

const peerOf = (ip: string) => parsePeer(`ip=${ip}`);

describe('a fabric', () => {
  it.each(['tcp', 'unix'])(
    'carries flows both ways over %s, whole, and captures every frame',
    async (kind) => {
      const path = join(folder, 's');
      const pcap = join(folder, 'net.pcapng');
      const fabric = await started({
        listen: [kind === 'tcp' ? LOOPBACK : { kind: 'unix', path }],
        peers: [peerOf('10.0.0.1')],
        flows: [parseFlow('to=10.0.0.2,rate=5000,count=1000,size=200')],
        pcap,
      });
      if (kind === 'unix') expect(statSync(path).mode & 0o777).toBe(0o600);
      const { peer } = await guest(fabric.addresses[0]!, '10.0.0.2');
      peer.startFlow({ ...parseFlow('to=10.0.0.1,kind=out,rate=5000,count=1000,size=1472') });
      const flows = await until(() => {
        const now = fabric.peers[0]!.report();
        return now.length === 2 && now.every(({ arrived }) => arrived!.received === 1000) && now;
      });
      for (const { arrived, outstanding } of flows) {
        expect(arrived).toMatchObject({ lost: 0, duplicated: 0, reordered: 0, corrupt: 0 });
        expect(outstanding).toBe(0);
      }
      expect(flows[0]!.arrived!.latency!.count).toBe(1000);
      expect(flows[1]!.arrived!.latency).toBeNull();
      const report = await fabric.close();
      const capture = readPcapng(readFileSync(pcap));
      const framesIn = report.ports.reduce((sum, port) => sum + port.framesIn, 0);
      expect(framesIn).toBeGreaterThanOrEqual(3000);
      expect(capture.packets).toHaveLength(framesIn);
      expect(report.capture).toEqual({ path: pcap, packets: framesIn, dropped: 0, failure: null });
      expect(capture.interfaces.map(({ name }) => name)).toEqual(['peer 10.0.0.1', 'port0']);
      expect(report.longestStallNs).toBeGreaterThan(0);
      expect(reportText(report)).toMatch(/10\.0\.0\.1 <-> 10\.0\.0\.2:7.*1,000/);
    },
  );

  it('that loses frames says so in flow and port', async () => {
    const fabric = await started({ peers: [peerOf('10.0.0.1')], link: { loss: 0.05 }, seed: 4 });
    const { peer } = await guest(fabric.addresses[0]!, '10.0.0.2');
    peer.startFlow({ ...parseFlow('to=10.0.0.1,kind=out,rate=20000,count=2000') });
    const arrived = await until(() => {
      const now = fabric.peers[0]!.report()[0]?.arrived;
      return now !== undefined && now !== null && now.received + now.lost > 1980 && now;
    });
    expect(arrived.lost).toBeGreaterThan(50);
    expect(arrived).toMatchObject({ corrupt: 0, duplicated: 0, reordered: 0 });
    const port = fabric.report().ports.find(({ name }) => name === 'port0')!;
    expect(port.lost).toBeGreaterThanOrEqual(arrived.lost);
  });

  it('unplugs who does not speak its language, and serves the others', async () => {
    const notices: string[] = [];
    const fabric = await started({ peers: [peerOf('10.0.0.1')], onNotice: (text) => notices.push(text) });
    const stranger = await joined(fabric.addresses[0]!);
    stranger.write('GET / HTTP/1.1\r\n\r\n');
    await once(stranger, 'close');
    await until(() => notices.some((text) => /port0: it sent a length that is no frame/.test(text)));
    const { peer } = await guest(fabric.addresses[0]!, '10.0.0.2');
    peer.startFlow({ ...parseFlow('to=10.0.0.1,count=10') });
    await until(() => peer.report()[0]!.arrived!.received === 10);
    expect(fabric.report().ports.map(({ name }) => name)).toEqual(['peer 10.0.0.1', 'port1', 'port0']);
  });

  it('drops and counts what a deaf listener does not read, and holds no more than its pool', async () => {
    const fabric = await started({});
    const deaf = await joined(fabric.addresses[0]!);
    deaf.pause();
    const loud = await joined(fabric.addresses[0]!);
    await until(() => fabric.portsInUse === 2);
    const frame = Buffer.alloc(4 + 1514, 0x22);
    frame.writeUInt32BE(1514);
    frame[4] = 0x44;
    const burst = Buffer.concat(Array<Buffer>(500).fill(frame));
    const refused = () => fabric.report().ports.reduce((sum, port) => sum + port.refused, 0);
    for (let i = 0; i < 100 && refused() === 0; i++)
      await new Promise((resolve) => loud.write(burst, resolve));
    await until(() => refused() > 0);
  });

  it('has a place for 64, turns the next away, and forgets who left', async () => {
    const fabric = await started({});
    const sockets: Socket[] = [];
    for (let i = 0; i < 64; i++) sockets.push(await joined(fabric.addresses[0]!));
    await until(() => fabric.portsInUse === 64);
    await once((await joined(fabric.addresses[0]!)).resume(), 'close');
    expect(fabric.report().connectionsRefused).toBe(1);
    sockets[0]!.destroy();
    await until(() => fabric.portsInUse === 63);
    await joined(fabric.addresses[0]!);
    await until(() => fabric.portsInUse === 64);
  });

  it('refuses an address or a file that can not be had', async () => {
    const fabric = await started({});
    const taken = startFabric({ listen: [fabric.addresses[0]!] });
    await expect(taken).rejects.toMatchObject({ code: 'vmm/listen-failed' });
    const nowhere = startFabric({ listen: [LOOPBACK], pcap: join(folder, 'none', 'x') });
    await expect(nowhere).rejects.toMatchObject({ code: 'lab/file-failed' });
  });

  it('has as many peers as ports, and refuses one more in words', async () => {
    const peers = Array.from({ length: 65 }, (_, i) => peerOf(`10.0.1.${i + 1}`));
    await started({ peers: peers.slice(0, 64) });
    await expect(startFabric({ listen: [LOOPBACK], peers })).rejects.toThrow(/64 ports/);
  });

  it('starts flows after others were stopped', async () => {
    const fabric = await started({ peers: [peerOf('10.0.0.1')] });
    await guest(fabric.addresses[0]!, '10.0.0.2');
    const sent = (): readonly number[] => fabric.peers[0]!.report().map((flow) => flow.sent);
    fabric.startFlow(parseFlow('to=10.0.0.2,rate=1000'));
    await until(() => sent()[0]! > 10);
    fabric.stopFlows();
    const [before] = sent();
    fabric.startFlow(parseFlow('to=10.0.0.2,rate=1000'));
    await until(() => sent()[1]! > 10);
    expect(sent()[0]).toBe(before);
  });

  it('is not held up by a capture that nobody reads', async () => {
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    await expect(startFabric({ listen: [LOOPBACK], pcap: pipe })).rejects.toMatchObject({
      code: 'lab/file-failed',
      message: expect.stringMatching(/nobody reads/),
    });
    // A reader that stalls: the pipe is open, and full after 64 KiB.
    const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
    cleanups.push(() => closeSync(reader));
    const fabric = await started({ peers: [peerOf('10.0.0.1')], pcap: pipe });
    await guest(fabric.addresses[0]!, '10.0.0.2');
    fabric.startFlow(parseFlow('to=10.0.0.2,rate=20000,size=1472'));
    await until(() => fabric.report().capture!.dropped > 0);
    const { sent } = fabric.peers[0]!.report()[0]!;
    await until(() => fabric.peers[0]!.report()[0]!.sent > sent + 1000);
    const { capture } = await fabric.close();
    expect(capture!.failure).toMatch(/too slow/);
  });

  it('says that the disk was full', async () => {
    const fabric = await started({ peers: [peerOf('10.0.0.1')], pcap: '/dev/full' });
    const report = await fabric.close();
    expect(report.capture).toMatchObject({ packets: 0, failure: expect.stringMatching(/space/) });
    expect(reportText(report)).toMatch(/the capture ended early/);
  });
});

describe('ferry fabric', () => {
  function ferry(...args: string[]): Promise<Ended> {
    const started = startFerry(['fabric', ...args]);
    // Once it listens it is ended again.
    const ending = started.err.find(/listening at tcp:127\.0\.0\.1:\d+/).then(
      () => started.child.kill('SIGINT'),
      () => false,
    );
    return ending.then(() => started.ended());
  }

  it('ends at SIGINT with its report and status 0', async () => {
    const { status, stdout } = await ferry('--listen', 'tcp:127.0.0.1:0', '--peer', 'ip=10.0.0.1', '--json');
    expect(status).toBe(0);
    const report = JSON.parse(stdout) as FabricReport;
    expect(report.peers[0]).toMatchObject({ ip: '10.0.0.1', mac: '02:00:0a:00:00:01', flows: [] });
  });

  it.each([
    [[], /at least one --listen/],
    [['--listen', 'nowhere'], /neither 'tcp:' nor 'unix:'/],
    [['--listen', 'tcp:127.0.0.1:0', '--flow', 'to=10.0.0.2'], /needs a --peer/],
    [['--listen', 'tcp:127.0.0.1:0', '--peer', 'mac=02:00:00:00:00:01'], /ip=\.\.\. is missing/],
  ])('refuses %j in words', async (args, why) => {
    const { status, stderr } = await ferry(...(args as string[]));
    expect(status).toBe(2);
    expect(stderr).toMatch(why);
  });
});

describe('options', () => {
  it('say what is wrong with them', () => {
    expect(parseShare('0.5%')).toBe(0.005);
    expect(parseShare('1')).toBe(1);
    for (const text of ['', '2', '101%', '-1', 'x', '1e-3']) expect(() => parseShare(text)).toThrow(/share/);
    expect(() => parsePeer('ip=10.0.0.1,ip=10.0.0.2')).toThrow(/twice/);
    expect(() => parsePeer('ip=224.0.0.1')).toThrow(/host/);
    expect(() => parsePeer('ip=10.0.0.1,mac=01:00:00:00:00:00')).toThrow(/MAC/);
    expect(() => parsePeer('ip=10.0.0.1,name=x')).toThrow(/none of ip=/);
    expect(() => parseFlow('to=10.0.0.2,size=10')).toThrow(
      /size: 10 is out of range; allowed is from 24 to 1472/,
    );
    expect(() => parseFlow('to=10.0.0.2,kind=both')).toThrow(/echo or out/);
    expect(() => parseFlow('to=10.0.0.2,from=10.0.0.2')).toThrow(/to itself/);
    expect(parseFlow('to=10.0.0.2,from=10.0.0.1,rate=7')).toMatchObject({ kind: 'echo', port: 7, rate: 7 });
  });
});
