import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import { seededRandom } from '../../base/random.js';
import { PAGE_BYTES } from '../../base/units.js';
import { destinationThreads, SocketDestinationDataPlane } from '../../dist/vmm/transfer/destination-plane.js';
import { WorkerPageHasher } from '../../dist/vmm/transfer/page-hasher.js';
import { SocketSourceDataPlane } from '../../dist/vmm/transfer/source-plane.js';
import { StreamDescriber } from '../../migration/pages/describe.js';
import { encodeHello, tokenBytes } from '../../migration/pages/hello.js';
import type {
  DataEndpoint,
  DataPlaneOptions,
  SourceDataPlane,
  TransferCount,
} from '../../migration/ports.js';
import { describeDataPlane, flipper, type WithPair } from '../migration/pages-conformance.js';
import { ramDifferences } from '../migration/ram-differences.js';

const HOST = '127.0.0.1';

function sharedMemory(pages: number): WebAssembly.Memory {
  return new WebAssembly.Memory({ initial: Math.ceil(pages / 16), maximum: 65536, shared: true });
}

function ramOf(memory: WebAssembly.Memory, pages: number): Uint8Array {
  return new Uint8Array(memory.buffer, 0, pages * PAGE_BYTES);
}

function once(emitter: NodeJS.EventEmitter, event: string): Promise<unknown> {
  return new Promise((resolve) => emitter.once(event, resolve));
}

interface Mischief {
  /** Sees each piece of what the source says on `channel`, from byte `at` on; may change it, or break the connection. */
  readonly change?: (chunk: Buffer, channel: number, at: number, towards: Socket) => void;
  /** What the source says on this channel after its hello is kept back until `release`. */
  readonly holdChannel?: number;
}

/** Stands between destination and source. */
class Meddler {
  readonly #servers: Server[] = [];
  readonly #sockets: Socket[] = [];
  readonly #mischief: Mischief;
  #held: Buffer[] | undefined = [];
  #heldSocket: Socket | undefined;
  /** Of each channel, the connection to the source, and how much came of it. */
  readonly #from: Socket[] = [];
  readonly #carried: number[] = [];
  readonly #onData: (() => void)[] = [];

  constructor(mischief: Mischief) {
    this.#mischief = mischief;
  }

  /** Nothing more of the channel is listened to: the source gets rid of what its kernel keeps, and no more. */
  pause(channel: number): void {
    this.#from[channel]!.pause();
  }

  resume(channel: number): void {
    this.#from[channel]!.resume();
  }

  /** Resolves when it is so of the bytes that have come on each channel, passed on or held. */
  async until(so: (carried: readonly number[]) => boolean): Promise<void> {
    while (!so(this.#carried)) await new Promise<void>((resolve) => this.#onData.push(resolve));
  }

  async between(endpoint: DataEndpoint): Promise<DataEndpoint> {
    const ports = await Promise.all(endpoint.ports.map((port, channel) => this.#relay(port, channel)));
    return { ...endpoint, ports };
  }

  release(): void {
    for (const chunk of this.#held ?? []) this.#heldSocket?.write(chunk);
    this.#held = undefined;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    for (const server of this.#servers) server.close();
  }

  async #relay(port: number, channel: number): Promise<number> {
    const server = createServer((towards) => {
      const from = connect({ host: HOST, port });
      this.#sockets.push(towards, from);
      this.#from[channel] = from;
      let at = 0;
      from.on('data', (chunk) => {
        this.#mischief.change?.(chunk, channel, at, towards);
        const first = at === 0;
        at += chunk.length;
        this.#carried[channel] = at;
        for (const resolve of this.#onData.splice(0)) resolve();
        if (!first && channel === this.#mischief.holdChannel && this.#held !== undefined) {
          this.#held.push(chunk);
          this.#heldSocket = towards;
        } else if (!towards.destroyed && !towards.write(chunk)) {
          from.pause();
          towards.once('drain', () => from.resume());
        }
      });
      towards.pipe(from);
      from.on('end', () => towards.end());
      for (const [one, other] of [
        [from, towards],
        [towards, from],
      ] as const) {
        one.on('error', () => {});
        one.on('close', () => other.destroy());
      }
    });
    this.#servers.push(server);
    server.listen(0, HOST);
    await once(server, 'listening');
    return (server.address() as { port: number }).port;
  }
}

const withPair: WithPair = async ({ pages, flipByteAt }, body) => {
  const [sourceMemory, destinationMemory] = [sharedMemory(pages), sharedMemory(pages)];
  const source = new SocketSourceDataPlane({ memory: sourceMemory, host: HOST });
  const destination = new SocketDestinationDataPlane({ memory: () => destinationMemory });
  const flipOnce = flipper(flipByteAt);
  const meddler = new Meddler({ change: (chunk, _channel, at) => flipOnce(chunk, at) });
  const open = source.open.bind(source);
  if (flipByteAt !== undefined) source.open = async (options) => meddler.between(await open(options));
  const sourceHasher = new WorkerPageHasher(sourceMemory);
  const destinationHasher = new WorkerPageHasher(destinationMemory);
  try {
    return await body({
      sourceRam: ramOf(sourceMemory, pages),
      destinationRam: ramOf(destinationMemory, pages),
      source,
      destination,
      sourceHasher,
      destinationHasher,
    });
  } finally {
    await Promise.all([source.close(), destination.close(), sourceHasher.close(), destinationHasher.close()]);
    meddler.close();
  }
};

describeDataPlane({
  name: 'sockets and page workers',
  withPair,
  bitmap: (pages) => new AtomicBitmap(pages),
  random: seededRandom(11),
});

const PAGES = 256;
const OPTIONS: DataPlaneOptions = { channels: 2, integrity: true, hashSeed: 9, migratedPages: PAGES };
const toClose: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of toClose.splice(0)) await one.close();
});

function closing<T extends { close(): unknown }>(one: T): T {
  toClose.push(one);
  return one;
}

describe('the source, listening for its destination', () => {
  async function listening(
    helloTimeoutMs = 5000,
  ): Promise<{ source: SourceDataPlane; endpoint: DataEndpoint }> {
    const source = closing(
      new SocketSourceDataPlane({ memory: sharedMemory(PAGES), host: HOST, helloTimeoutMs }),
    );
    return { source, endpoint: await source.open(OPTIONS) };
  }

  /** Connects, says `bytes`, and resolves with what came back when the source has closed the connection. */
  async function visit(port: number, bytes: Uint8Array): Promise<Buffer> {
    const socket = connect({ host: HOST, port });
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', () => {});
    socket.write(bytes);
    await once(socket, 'close');
    return Buffer.concat(chunks);
  }

  it('drops strangers without a word, and still takes its destination afterwards', async () => {
    const { source, endpoint } = await listening(1500);
    const port = endpoint.ports[0]!;
    const token = tokenBytes(endpoint.token);
    const strangers = [
      Buffer.from('GET / HTTP/1.1\r\nHost: migration.example\r\n\r\n'),
      Buffer.alloc(32),
      encodeHello(0, tokenBytes('0'.repeat(32))),
      encodeHello(1, token), // the right token at the wrong channel
      Buffer.concat([encodeHello(0, token), Buffer.from('more')]),
      encodeHello(0, token).subarray(0, 31), // too slow with the last byte
    ];
    for (const bytes of strangers) expect(await visit(port, bytes)).toHaveLength(0);
    const destination = closing(new SocketDestinationDataPlane({ memory: () => sharedMemory(PAGES) }));
    await Promise.all([destination.connect(endpoint, OPTIONS), source.connected()]);
  });

  it('serves nobody else once a channel is taken', async () => {
    const { source, endpoint } = await listening();
    const destination = closing(new SocketDestinationDataPlane({ memory: () => sharedMemory(PAGES) }));
    await Promise.all([destination.connect(endpoint, OPTIONS), source.connected()]);
    expect(await visit(endpoint.ports[0]!, encodeHello(0, tokenBytes(endpoint.token)))).toHaveLength(0);
  });

  it('holds only a few sockets that have not said who they are', async () => {
    const { endpoint } = await listening();
    const idle = Array.from({ length: 12 }, () => connect({ host: HOST, port: endpoint.ports[0]! }));
    let dropped = 0;
    await new Promise<void>((resolve) => {
      for (const socket of idle) {
        socket.on('error', () => {});
        socket.on('close', () => {
          if (++dropped === 8) resolve();
        });
      }
    });
    for (const socket of idle) socket.destroy();
  });

  it('an address that is not of this host is an error with advice', async () => {
    const source = closing(new SocketSourceDataPlane({ memory: sharedMemory(PAGES), host: '192.0.2.1' }));
    await expect(source.open(OPTIONS)).rejects.toMatchObject({
      code: 'transfer/listen-failed',
      advice: expect.stringContaining('address'),
    });
  });

  it('a folder that can not be recorded to is an error with advice', async () => {
    const setup = { memory: sharedMemory(PAGES), host: HOST, recordTo: '/nonexistent/folder' };
    const source = closing(new SocketSourceDataPlane(setup));
    await expect(source.open(OPTIONS)).rejects.toMatchObject({ code: 'transfer/recording-failed' });
  });
});

describe('the destination, connecting', () => {
  it('to a port where nobody listens, or nobody answers, fails in time and in words', async () => {
    const mute = createServer((socket) => closing({ close: () => socket.destroy() }));
    mute.listen(0, HOST);
    await once(mute, 'listening');
    closing({ close: () => mute.close() });
    const { port } = mute.address() as { port: number };
    const memory = sharedMemory(PAGES);
    for (const ports of [
      [1, 1],
      [port, port],
    ]) {
      const destination = closing(
        new SocketDestinationDataPlane({ memory: () => memory, connectTimeoutMs: 300 }),
      );
      const endpoint = { host: HOST, ports, token: 'a'.repeat(32) };
      await expect(destination.connect(endpoint, OPTIONS)).rejects.toMatchObject({
        code: 'transfer/connect-failed',
        facts: { peer: `${HOST}:${ports[0]}` },
      });
    }
  });

  it('writes nothing to RAM when the source turns out to speak another protocol', async () => {
    const rude = createServer((socket) => {
      socket.on('error', () => {});
      socket.write(Buffer.alloc(8192, 0x41));
    });
    rude.listen(0, HOST);
    await once(rude, 'listening');
    closing({ close: () => rude.close() });
    const { port } = rude.address() as { port: number };
    const memory = sharedMemory(PAGES);
    const destination = closing(new SocketDestinationDataPlane({ memory: () => memory }));
    const endpoint = { host: HOST, ports: [port, port], token: 'a'.repeat(32) };
    await expect(destination.connect(endpoint, OPTIONS)).rejects.toMatchObject({ code: 'pages/bad-hello' });
    expect(ramOf(memory, PAGES).every((byte) => byte === 0)).toBe(true);
  });
});

describe('a broken channel', () => {
  it('cut in the middle of a page, is one typed error at each side, and both close', async () => {
    const [sourceMemory, destinationMemory] = [sharedMemory(4096), sharedMemory(4096)];
    ramOf(sourceMemory, 4096).fill(5);
    const source = closing(new SocketSourceDataPlane({ memory: sourceMemory, host: HOST }));
    const destination = closing(new SocketDestinationDataPlane({ memory: () => destinationMemory }));
    const meddler = closing(
      new Meddler({
        change: (_chunk, channel, at, towards) => {
          if (channel === 1 && at > 100_000) towards.destroy();
        },
      }),
    );
    const options = { ...OPTIONS, migratedPages: 4096 };
    const endpoint = await meddler.between(await source.open(options));
    await Promise.all([destination.connect(endpoint, options), source.connected()]);
    const pages = new AtomicBitmap(4096);
    pages.fill();
    const [sent, received] = await Promise.allSettled([source.sendRound(1, pages), destination.received(1)]);
    expect(sent).toMatchObject({
      status: 'rejected',
      reason: { code: 'transfer/channel-broken', facts: { side: 'source', channel: 1 } },
    });
    expect(received).toMatchObject({
      status: 'rejected',
      reason: { name: 'FerryError', facts: { channel: 1 } },
    });
    await expect(source.sendRound(2, pages)).rejects.toBe((sent as PromiseRejectedResult).reason);
  });
});

describe('a channel that lags behind', () => {
  it('never puts an older copy of a page on the newer one that another channel brought', async () => {
    const pages = 16_384;
    const [sourceMemory, destinationMemory] = [sharedMemory(pages), sharedMemory(pages)];
    const [sourceRam, destinationRam] = [ramOf(sourceMemory, pages), ramOf(destinationMemory, pages)];
    const source = closing(new SocketSourceDataPlane({ memory: sourceMemory, host: HOST }));
    const destination = closing(new SocketDestinationDataPlane({ memory: () => destinationMemory }));
    const meddler = closing(new Meddler({ holdChannel: 1 }));
    const options = { ...OPTIONS, migratedPages: pages };
    const endpoint = await meddler.between(await source.open(options));
    await Promise.all([destination.connect(endpoint, options), source.connected()]);
    const dirty = new AtomicBitmap(pages);
    const send = (round: number, from: number, to: number): Promise<TransferCount> => {
      sourceRam.fill(round, from * PAGE_BYTES, to * PAGE_BYTES);
      dirty.setRange(from, to);
      return source.sendRound(round, dirty);
    };
    // Channels claim pages as they get rid of them. While one is stuck it takes what the kernel keeps for it, some MiB, and
    // the other all further ones: first channel 1, whose pages are held, then channel 0, which brings some of them anew.
    meddler.pause(0);
    const first = send(1, 0, pages);
    await meddler.until((carried) => carried[1]! > pages * PAGE_BYTES * 0.75);
    meddler.resume(0);
    const { bytes } = await first;
    const hellos = 2 * encodeHello(0, tokenBytes(endpoint.token)).length;
    await meddler.until((carried) => carried[0]! + carried[1]! === bytes + hellos);
    meddler.pause(1);
    const second = send(2, pages * 0.5, pages * 0.75);
    await meddler.until((carried) => carried[0]! + carried[1]! > bytes + 2 ** 16);
    meddler.release();
    meddler.resume(1);
    await Promise.all([second, destination.received(1), destination.received(2)]);
    expect(ramDifferences(destinationRam, sourceRam)).toBe('');
    expect(destination.hashes.words).toEqual(source.hashes.words);
  });
});

describe('a recording', () => {
  it('holds every byte of each channel, and can be explained', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ferry-recording-'));
    closing({ close: () => rmSync(folder, { recursive: true }) });
    const memory = sharedMemory(PAGES);
    const ram = ramOf(memory, PAGES);
    seededRandom(3).fill(ram);
    ram.fill(0, 0, 10 * PAGE_BYTES);
    const source = closing(new SocketSourceDataPlane({ memory, host: HOST, recordTo: folder }));
    const destination = closing(new SocketDestinationDataPlane({ memory: () => sharedMemory(PAGES) }));
    const endpoint = await source.open(OPTIONS);
    await Promise.all([destination.connect(endpoint, OPTIONS), source.connected()]);
    const pages = new AtomicBitmap(PAGES);
    pages.fill();
    const [sent] = await Promise.all([source.sendRound(1, pages), destination.received(1)]);
    await source.close();
    let bytes = 0;
    const lines: string[] = [];
    for (const channel of [0, 1]) {
      const recorded = readFileSync(join(folder, `data-${channel}.bin`));
      bytes += recorded.length;
      const describer = new StreamDescriber({ migratedPages: PAGES });
      lines.push(...describer.push(recorded), ...describer.end());
      expect(describer.failed).toBe(false);
    }
    expect(bytes).toBe(sent.bytes + 2 * (32 + 32)); // and two hellos and two close frames
    expect(lines.filter((line) => line.includes('end of round 1'))).toHaveLength(2);
    expect(lines.some((line) => line.includes('10 zero pages in 1 runs: 0-9'))).toBe(true);
  });

  it('that the disk does not take is cut, which is told once; the pages arrive', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ferry-recording-'));
    closing({ close: () => rmSync(folder, { recursive: true }) });
    const cut = join(folder, 'data-0.bin');
    symlinkSync('/dev/full', cut);
    const memory = sharedMemory(PAGES);
    seededRandom(4).fill(ramOf(memory, PAGES));
    const told: string[] = [];
    const recordingCut = (file: string, reason: string): void => void told.push(`${file}: ${reason}`);
    const setup = { memory, host: HOST, recordTo: folder, recordingCut };
    const source = closing(new SocketSourceDataPlane(setup));
    const arrived = sharedMemory(PAGES);
    const destination = closing(new SocketDestinationDataPlane({ memory: () => arrived }));
    const endpoint = await source.open(OPTIONS);
    await Promise.all([destination.connect(endpoint, OPTIONS), source.connected()]);
    const pages = new AtomicBitmap(PAGES);
    pages.fill();
    await Promise.all([source.sendRound(1, pages), destination.received(1)]);
    await source.close();
    expect(Buffer.compare(ramOf(arrived, PAGES), ramOf(memory, PAGES))).toBe(0);
    expect(told).toEqual([`${cut}: no space is left`]);
  });
});

describe('threads that were there before their channels', () => {
  it('carry these, also more than were thought of, and end with them', async () => {
    for (const ready of [2, 1]) {
      const memory = sharedMemory(PAGES);
      seededRandom(5).fill(ramOf(memory, PAGES));
      const arrived = sharedMemory(PAGES);
      const threads = destinationThreads(ready);
      expect(threads.running).toBe(ready);
      const source = closing(new SocketSourceDataPlane({ memory, host: HOST }));
      const destination = closing(new SocketDestinationDataPlane({ memory: () => arrived, threads }));
      const endpoint = await source.open(OPTIONS);
      await Promise.all([destination.connect(endpoint, OPTIONS), source.connected()]);
      const pages = new AtomicBitmap(PAGES);
      pages.fill();
      await Promise.all([source.sendRound(1, pages), destination.received(1)]);
      expect(Buffer.compare(ramOf(arrived, PAGES), ramOf(memory, PAGES))).toBe(0);
      expect(threads.running).toBe(OPTIONS.channels);
      await Promise.all([source.close(), destination.close()]);
      expect(threads.running).toBe(0);
    }
  });

  it('end without any', async () => {
    const threads = destinationThreads(1);
    expect(threads.running).toBe(1);
    await threads.close();
    await threads.close();
    expect(threads.running).toBe(0);
  });
});
