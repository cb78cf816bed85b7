/**
 * The data plane without threads and sockets: both halves on one thread, in the time of a given scheduler, on the same
 * cores as the real one. Frames are really encoded, cut into chunks, and decoded.
 *
 *     const network = new MemoryDataNetwork({ scheduler });
 *     const source = network.source(() => sourceRam);
 *     const destination = network.destination(() => destinationRam);
 *
 * It does not check what only threads and sockets can get wrong: memory ordering, claims that race, how reads and
 * writes are cut by an operating system.
 */
import type { AtomicBitmap } from '../../base/bitmap.js';
import type { Scheduler } from '../../base/clock.js';
import { type FerryError, invariant, isFerryError } from '../../base/errors.js';
import { microseconds, PAGE_BYTES } from '../../base/units.js';
import { chargeBytes, rateInKib, waitUs } from '../../migration/pages/bandwidth.js';
import {
  ChannelReceiver,
  CLOSED,
  END_OF_ROUND,
  FRAME,
  HELLO,
} from '../../migration/pages/channel-receiver.js';
import { ChannelSender } from '../../migration/pages/channel-sender.js';
import { addCounts, NOTHING_MOVED } from '../../migration/pages/counts.js';
import { FrameBuffer } from '../../migration/pages/frame-buffer.js';
import { encodeHello, tokenBytes } from '../../migration/pages/hello.js';
import { FRAME_PAGES, FRAME_ZERO } from '../../migration/pages/layouts.js';
import { Outcomes } from '../../migration/pages/outcomes.js';
import type { PageKernels } from '../../migration/pages/page-kernels.js';
import { RamSink } from '../../migration/pages/page-sink.js';
import { RoundBarrier } from '../../migration/pages/round-barrier.js';
import { WorkBoard } from '../../migration/pages/work-board.js';
import type {
  DataEndpoint,
  DataPlaneOptions,
  DestinationDataPlane,
  PageHasher,
  SourceDataPlane,
  TransferCount,
} from '../../migration/ports.js';
import { transferErrors } from '../../vmm/transfer/errors.js';
import { copyingKernels } from '../../vmm/transfer/kernels.js';
import { MemoryChannel, type Tamper } from './memory-channel.js';

/** Guest RAM, asked for when it is needed: a destination has none before it accepted a machine. */
type Ram = () => Uint8Array;

export interface MemoryNetworkOptions {
  readonly scheduler: Scheduler;
  /** Makes the page kernels of a RAM; `copyingKernels` unless given. */
  readonly kernels?: (ram: Uint8Array) => PageKernels;
  readonly tamper?: Tamper;
  /** Bytes that may be under way on each channel. */
  readonly windowBytes?: number;
}

/** Where sources listen and destinations find them. */
export class MemoryDataNetwork {
  readonly options: Required<Pick<MemoryNetworkOptions, 'scheduler' | 'kernels' | 'windowBytes'>>;
  readonly #tamper: Tamper | undefined;
  readonly #listening = new Map<
    number,
    { readonly token: string; readonly accept: (wire: MemoryChannel) => void }
  >();
  #ports = 0;

  constructor(options: MemoryNetworkOptions) {
    const { scheduler, kernels = copyingKernels, windowBytes = 2 ** 20, tamper } = options;
    this.options = { scheduler, kernels, windowBytes };
    this.#tamper = tamper;
  }

  source(ram: Ram): SourceDataPlane {
    return new MemorySource(this, ram);
  }

  destination(ram: Ram): DestinationDataPlane {
    return new MemoryDestination(this, ram);
  }

  /** Hashes with the kernels of this network. */
  hasher(ram: Ram): PageHasher {
    return {
      hashAll: async (firstPage, pageCount, seed) => {
        const kernels = this.options.kernels(ram());
        const table = new Uint32Array(2 * pageCount);
        for (let i = 0; i < pageCount; i++) kernels.hash(firstPage + i, seed, table, 2 * i);
        return table;
      },
      close: async () => undefined,
    };
  }

  /** A new port, at which the first to present `token` gets a channel. */
  listen(token: string, accept: (wire: MemoryChannel) => void): number {
    const port = ++this.#ports;
    this.#listening.set(port, { token, accept });
    return port;
  }

  unlisten(port: number): void {
    this.#listening.delete(port);
  }

  /** The channel from whoever listens at `port`, or undefined if nobody does or the token is wrong. */
  connect(port: number, token: string, channel: number): MemoryChannel | undefined {
    const listener = this.#listening.get(port);
    if (listener === undefined || listener.token !== token) return undefined;
    this.#listening.delete(port);
    const { scheduler, windowBytes } = this.options;
    const wire = new MemoryChannel({ scheduler, channel, windowBytes, tamper: this.#tamper });
    listener.accept(wire);
    return wire;
  }
}

function nowUs(scheduler: Scheduler): number {
  return Math.floor(scheduler.now() / 1e3) | 0;
}

interface SourceChannel {
  readonly sender: ChannelSender;
  wire: MemoryChannel | undefined;
}

class MemorySource implements SourceDataPlane {
  readonly #network: MemoryDataNetwork;
  readonly #ram: Ram;
  readonly #outcomes = new Outcomes();
  readonly #channels: SourceChannel[] = [];
  readonly #ports: number[] = [];
  #board: WorkBoard | undefined;
  #hashes = new Uint32Array(0);
  #rateKib = 0;
  #onConnected: (() => void) | undefined;
  /** The round that is being sent, if one is. */
  #sending: Promise<void> | undefined;

  constructor(network: MemoryDataNetwork, ram: Ram) {
    this.#network = network;
    this.#ram = ram;
  }

  get hashes(): Uint32Array {
    return this.#hashes;
  }

  async open(options: DataPlaneOptions): Promise<DataEndpoint> {
    invariant(this.#board === undefined, 'a data plane is opened once');
    const { channels, integrity, hashSeed, migratedPages } = options;
    const { scheduler, kernels } = this.#network.options;
    const board = new WorkBoard(channels);
    this.#board = board;
    board.setRate(this.#rateKib, nowUs(scheduler));
    this.#hashes = new Uint32Array(integrity ? 2 * migratedPages : 0);
    const ram = this.#ram();
    const token = '0123456789abcdef0123456789abcdef';
    for (let index = 0; index < channels; index++) {
      const sender = new ChannelSender({
        ram,
        kernels: kernels(ram),
        board,
        migratedPages,
        hashSeed,
        hashes: this.#hashes,
        copyAll: false,
      });
      const channel: SourceChannel = { sender, wire: undefined };
      this.#channels.push(channel);
      this.#ports.push(
        this.#network.listen(token, (wire) => {
          channel.wire = wire;
          void wire.write(encodeHello(index, tokenBytes(token)));
          this.#checkConnected();
        }),
      );
    }
    return { host: 'memory', ports: this.#ports, token };
  }

  connected(): Promise<void> {
    return this.#outcomes.wait('connect', (resolve) => {
      this.#onConnected = () => resolve(undefined);
      this.#checkConnected();
    });
  }

  sendRound(round: number, pages: AtomicBitmap, channels = this.#channels.length): Promise<TransferCount> {
    return this.#outcomes.wait(`round ${round}`, (resolve) => {
      this.#board?.resetRound();
      const used = this.#channels.slice(0, channels);
      const sent = used.map((channel, index) => this.#sendOn(channel, index, round, pages));
      this.#sending = Promise.all(sent).then((counts) => {
        this.#sending = undefined;
        if (!this.#outcomes.failed) resolve(counts.reduce(addCounts, NOTHING_MOVED));
      });
    });
  }

  limitBandwidth(bytesPerSecond: number | undefined): void {
    this.#rateKib = rateInKib(bytesPerSecond);
    this.#board?.setRate(this.#rateKib, nowUs(this.#network.options.scheduler));
  }

  progress(): TransferCount {
    return this.#board?.progress() ?? NOTHING_MOVED;
  }

  stop(): void {
    this.#board?.stop();
  }

  async close(): Promise<void> {
    const inOrder = !this.#outcomes.failed && this.#sending === undefined;
    this.#outcomes.fail((operation) => transferErrors.error('closed', { side: 'source', operation }));
    this.#board?.abandon();
    for (const port of this.#ports) this.#network.unlisten(port);
    const frame = new FrameBuffer();
    for (const { sender, wire } of this.#channels) {
      if (wire === undefined || wire.broken) continue;
      if (inOrder) {
        sender.encodeClose(frame);
        await writeFrame(wire, frame);
        wire.end();
      } else {
        wire.break();
      }
    }
    await this.#sending;
  }

  /** What the page worker of a channel does in a round. */
  async #sendOn(
    { sender, wire }: SourceChannel,
    index: number,
    round: number,
    pages: AtomicBitmap,
  ): Promise<TransferCount> {
    const board = this.#board;
    invariant(wire !== undefined && board !== undefined, 'a round before all channels have connected');
    const { scheduler } = this.#network.options;
    const frame = new FrameBuffer();
    const write = async (): Promise<boolean> => {
      if (!(await writeFrame(wire, frame))) {
        this.#break(index, wire);
        return false;
      }
      board.count(index, frame.pages, frame.zeroPages, frame.bytes - frame.pages * PAGE_BYTES);
      chargeBytes(board, frame.bytes, nowUs(scheduler));
      return true;
    };
    sender.beginRound(round, pages);
    while (sender.next(frame)) {
      if (!(await write())) return NOTHING_MOVED;
      while (!board.stopped && waitUs(board, nowUs(scheduler)) > 0) await scheduler.sleep(microseconds(1000));
    }
    if (board.abandoned) return NOTHING_MOVED;
    const count = sender.endRound(frame);
    return (await write()) ? count : NOTHING_MOVED;
  }

  #break(channel: number, wire: MemoryChannel): void {
    this.#board?.abandon();
    const facts = {
      side: 'source',
      channel,
      peer: 'memory',
      bytes: wire.passedBytes,
      reason: 'connection reset',
    };
    const error = transferErrors.error('channel-broken', facts);
    this.#outcomes.fail(() => error);
  }

  #checkConnected(): void {
    if (this.#channels.length > 0 && this.#channels.every(({ wire }) => wire !== undefined))
      this.#onConnected?.();
  }
}

async function writeFrame(wire: MemoryChannel, frame: FrameBuffer): Promise<boolean> {
  for (let i = 0; i < frame.pieceCount; i++) if (!(await wire.write(frame.pieces[i]!))) return false;
  return true;
}

class MemoryDestination implements DestinationDataPlane {
  readonly #network: MemoryDataNetwork;
  readonly #ram: Ram;
  readonly #outcomes = new Outcomes();
  readonly #wires: MemoryChannel[] = [];
  #board: WorkBoard | undefined;
  #barrier: RoundBarrier | undefined;
  #hashes = new Uint32Array(0);
  /** Wakes the channels that wait for the others at the end of a round. */
  #held: (() => void)[] = [];

  constructor(network: MemoryDataNetwork, ram: Ram) {
    this.#network = network;
    this.#ram = ram;
  }

  get hashes(): Uint32Array {
    return this.#hashes;
  }

  connect(endpoint: DataEndpoint, options: DataPlaneOptions): Promise<void> {
    invariant(this.#board === undefined, 'a data plane is connected once');
    const { channels, integrity, hashSeed, migratedPages } = options;
    invariant(endpoint.ports.length === channels, 'as many ports as channels');
    this.#board = new WorkBoard(channels);
    this.#barrier = new RoundBarrier(channels);
    this.#hashes = new Uint32Array(integrity ? 2 * migratedPages : 0);
    const ram = this.#ram();
    const kernels = this.#network.options.kernels(ram);
    let connected = 0;
    return this.#outcomes.wait('connect', (resolve) => {
      endpoint.ports.forEach((port, channel) => {
        const wire = this.#network.connect(port, endpoint.token, channel);
        if (wire === undefined) {
          const facts = { channel, peer: `memory:${port}`, reason: 'the source refused it' };
          const error = transferErrors.error('connect-failed', facts);
          this.#outcomes.fail(() => error);
          return;
        }
        this.#wires.push(wire);
        const token = tokenBytes(endpoint.token);
        const sink = new RamSink(ram, kernels, hashSeed, this.#hashes);
        const receiver = new ChannelReceiver({ channel, token, migratedPages, sink });
        this.#receive(wire, receiver, () => {
          if (++connected === channels) resolve(undefined);
        }).catch((error: unknown) => this.#fail(error));
      });
    });
  }

  received(round: number, channels?: number): Promise<TransferCount> {
    const count = this.#barrier?.received(round, channels);
    if (count !== undefined) return Promise.resolve(count);
    return this.#outcomes.wait(`round ${round}`, (resolve) =>
      this.#barrier?.whenReceived(round, resolve, channels),
    );
  }

  progress(): TransferCount {
    return this.#board?.progress() ?? NOTHING_MOVED;
  }

  async close(): Promise<void> {
    this.#outcomes.fail((operation) => transferErrors.error('closed', { side: 'destination', operation }));
    for (const wire of this.#wires) wire.break();
  }

  /** What the page worker of a channel does. */
  async #receive(wire: MemoryChannel, receiver: ChannelReceiver, onHello: () => void): Promise<void> {
    for (;;) {
      const lengthBytes = await wire.read(receiver.target());
      if (this.#outcomes.failed) return;
      if (lengthBytes < 0) {
        throw transferErrors.error('channel-broken', {
          side: 'destination',
          channel: receiver.channel,
          peer: 'memory',
          bytes: receiver.bytesReceived,
          reason: 'connection reset',
        });
      }
      if (lengthBytes === 0) return receiver.ended();
      const received = receiver.filled(lengthBytes);
      if (received === HELLO) onHello();
      if (received === FRAME || received === END_OF_ROUND || received === CLOSED) this.#count(receiver);
      if (received === END_OF_ROUND) await this.#endRound(receiver);
      if (received === CLOSED) {
        this.#outcomes.fail((operation) => transferErrors.error('closed', { side: 'source', operation }));
      }
    }
  }

  async #endRound(receiver: ChannelReceiver): Promise<void> {
    const barrier = this.#barrier!;
    const round = receiver.round - 1;
    if (!barrier.deliver(round, receiver.roundReceived)) {
      await new Promise<void>((resolve) => this.#held.push(resolve));
      return;
    }
    for (const resolve of this.#held.splice(0)) resolve();
  }

  #count({ channel, kind, runs, frameBytes }: ChannelReceiver): void {
    const pages = kind === FRAME_PAGES ? runs.pages : 0;
    const zeroPages = kind === FRAME_ZERO ? runs.pages : 0;
    this.#board?.count(channel, pages, zeroPages, frameBytes - pages * PAGE_BYTES);
  }

  #fail(error: unknown): void {
    if (!isFerryError(error)) throw error;
    this.#outcomes.fail(() => error as FerryError);
    for (const wire of this.#wires) wire.break();
  }
}
