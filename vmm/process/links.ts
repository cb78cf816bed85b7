/**
 * Links over sockets for the controller: control link and data planes of either side, put together with the flows.
 * What only a migration needs is loaded when one is near, so that a VMM starts quickly.
 */
import { randomBytes } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import type { FerryError } from '../../base/errors.js';
import { isFerryError } from '../../base/errors.js';
import type { ControlLink, DestinationDataPlane, PageHasher, TransferCount } from '../../migration/ports.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import type { SocketAddress } from '../sockets/address.js';
import { listen, unlinkSocket } from '../sockets/listening.js';
import type { ControlRecording } from './control-recording.js';
import type { IncomingListener, IncomingOptions, Links, OutgoingOptions } from './ports.js';
import { realTime } from './real-time.js';
import { makeRecordingFolder } from './recording-folder.js';

/** Connections that may wait while the end of a failed migration is cleared away. */
const WAITING_MAX = 4;

export class SocketLinks implements Links {
  readonly #recordTo: string | undefined;

  /**
   * `recordTo`: folder that gets a copy of every byte of an outgoing stream. Throws `transfer/recording-failed` if it
   * can't be made: now, and not when a guest is about to move.
   */
  constructor(recordTo: string | undefined) {
    this.#recordTo = recordTo;
    if (recordTo !== undefined) makeRecordingFolder(recordTo);
  }

  async migrate(target: SocketAddress, options: OutgoingOptions): Promise<MigrationRecord> {
    const [
      { migrateSource },
      { connectControlLink },
      { SocketSourceDataPlane },
      { WorkerPageHasher },
      { tableDigest },
    ] = await Promise.all([
      import('../../migration/source.js'),
      import('../control-link/socket-link.js'),
      import('../transfer/source-plane.js'),
      import('../transfer/page-hasher.js'),
      import('../transfer/table-digest.js'),
    ]);
    const { memory, ...known } = options;
    let control: ControlLink;
    let host = '127.0.0.1';
    let recording: ControlRecording | undefined;
    try {
      if (this.#recordTo !== undefined) {
        const { ControlRecording } = await import('./control-recording.js');
        recording = new ControlRecording(this.#recordTo);
      }
      const link = await connectControlLink(target);
      control = link;
      host = link.localHost ?? host;
    } catch (error) {
      if (!isFerryError(error)) throw error;
      // The flow tells of it like of any other link that breaks.
      control = brokenLink(error);
    }
    try {
      return await migrateSource({
        ...known,
        control,
        data: new SocketSourceDataPlane({
          memory,
          host,
          ...(this.#recordTo === undefined ? {} : { recordTo: this.#recordTo }),
        }),
        scheduler: realTime,
        digest: tableDigest(),
        hasher: new WorkerPageHasher(memory),
        migrationId: randomBytes(16).toString('hex'),
        ...(recording === undefined ? {} : { record: recording.add }),
      });
    } finally {
      recording?.close();
    }
  }

  async listen(address: SocketAddress): Promise<IncomingListener> {
    const server = createServer();
    const listening = await listen(server, address);
    return new SocketIncomingListener(server, listening.address);
  }
}

function brokenLink(error: FerryError): ControlLink {
  return { send: () => Promise.reject(error), receive: () => Promise.reject(error), close: () => {} };
}

class SocketIncomingListener implements IncomingListener {
  readonly address: SocketAddress;
  readonly #server: Server;
  readonly #waiting: Socket[] = [];
  #current: Socket | undefined;
  #take: ((socket: Socket | undefined) => void) | undefined;
  #closed = false;

  constructor(server: Server, address: SocketAddress) {
    this.#server = server;
    this.address = address;
    server.on('connection', (socket) => this.#connected(socket));
  }

  async next(options: IncomingOptions): Promise<DestinationRecord | undefined> {
    const flow = loadDestination();
    // Whoever waits for the module hears of a failure, below.
    flow.catch(() => undefined);
    const socket = await this.#nextSocket();
    if (socket === undefined) return undefined;
    const { memory, ...known } = options;
    const {
      migrateDestination,
      SocketControlLink,
      SocketDestinationDataPlane,
      WorkerPageHasher,
      tableDigest,
    } = await flow;
    const control = new SocketControlLink(socket, socket.remoteAddress ?? 'the source');
    socket.resume();
    return migrateDestination({
      ...known,
      control,
      data: new LateDestinationPlane(() => new SocketDestinationDataPlane({ memory: memory() })),
      scheduler: realTime,
      digest: tableDigest(),
      hasher: new LatePageHasher(() => new WorkerPageHasher(memory())),
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    unlinkSocket(this.address);
    this.#server.close();
    for (const socket of this.#waiting.splice(0)) socket.destroy();
    this.#take?.(undefined);
    this.#take = undefined;
  }

  #connected(socket: Socket): void {
    socket.pause();
    const take = this.#take;
    this.#take = undefined;
    if (take !== undefined) {
      take(socket);
      return;
    }
    const busy = this.#current !== undefined && !this.#current.destroyed;
    if (this.#closed || busy || this.#waiting.length >= WAITING_MAX) {
      socket.destroy();
      return;
    }
    socket.on('error', () => socket.destroy());
    this.#waiting.push(socket);
  }

  async #nextSocket(): Promise<Socket | undefined> {
    if (this.#closed) return undefined;
    const waiting = this.#waiting.shift();
    this.#current =
      waiting ??
      (await new Promise<Socket | undefined>((resolve) => {
        this.#take = resolve;
      }));
    return this.#current;
  }
}

async function loadDestination() {
  const [
    { migrateDestination },
    { SocketControlLink },
    { SocketDestinationDataPlane },
    { WorkerPageHasher },
    { tableDigest },
  ] = await Promise.all([
    import('../../migration/destination.js'),
    import('../control-link/socket-link.js'),
    import('../transfer/destination-plane.js'),
    import('../transfer/page-hasher.js'),
    import('../transfer/table-digest.js'),
  ]);
  return { migrateDestination, SocketControlLink, SocketDestinationDataPlane, WorkerPageHasher, tableDigest };
}

/** As the data plane below. */
class LatePageHasher implements PageHasher {
  readonly #make: () => PageHasher;
  #hasher: PageHasher | undefined;

  constructor(make: () => PageHasher) {
    this.#make = make;
  }

  hashAll(...range: Parameters<PageHasher['hashAll']>): Promise<Uint32Array> {
    this.#hasher ??= this.#make();
    return this.#hasher.hashAll(...range);
  }

  async close(): Promise<void> {
    await this.#hasher?.close();
  }
}

const NOTHING: TransferCount = { pages: 0, zeroPages: 0, bytes: 0 };

/** A data plane made when it is to connect: RAM exists only once a guest was accepted. */
class LateDestinationPlane implements DestinationDataPlane {
  readonly #make: () => DestinationDataPlane;
  #plane: DestinationDataPlane | undefined;

  constructor(make: () => DestinationDataPlane) {
    this.#make = make;
  }

  get hashes(): Uint32Array {
    return this.#plane?.hashes ?? new Uint32Array(0);
  }

  connect(...args: Parameters<DestinationDataPlane['connect']>): Promise<void> {
    this.#plane = this.#make();
    return this.#plane.connect(...args);
  }

  received(round: number, channels?: number): Promise<TransferCount> {
    return this.#plane?.received(round, channels) ?? Promise.resolve(NOTHING);
  }

  progress(): TransferCount {
    return this.#plane?.progress() ?? NOTHING;
  }

  async close(): Promise<void> {
    await this.#plane?.close();
  }
}
