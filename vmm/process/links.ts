/**
 * Links over sockets for the controller: control link and data planes of either side, put together with the flows.
 * What only a migration needs is loaded when one is near, so that a VMM starts quickly.
 */
import { randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:net';
import { isFerryError } from '../../base/errors.js';
import type { MigrationParameters, ParameterValues } from '../../migration/parameters.js';
import type { ControlLink, PageHasher } from '../../migration/ports.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import { brokenLink } from '../control-link/broken-link.js';
import type { SocketControlLink } from '../control-link/socket-link.js';
import type { SocketAddress } from '../sockets/address.js';
import { listen, unlinkSocket } from '../sockets/listening.js';
import { realTime } from '../threads/real-time.js';
import { laterMs } from '../timers.js';
import type { TlsBinding } from '../tls/session.js';
import type { ControlRecording } from './control-recording.js';
import type { IncomingDoor } from './incoming-door.js';
import type { IncomingListener, IncomingOptions, Links, OutgoingOptions, TurnedAway } from './ports.js';
import { makeRecordingFolder } from './recording-folder.js';
import { ThreadsAhead } from './threads-ahead.js';
import type { TlsDoor } from './tls-door.js';
import { clientOf, tlsDoorOf } from './tls-options.js';

export class SocketLinks implements Links {
  readonly #recordTo: string | undefined;
  readonly #insecure: boolean;
  readonly #threads = new ThreadsAhead(
    async (channels) => (await loadSource()).sourceThreads(channels),
    laterMs,
  );
  #latest: SocketIncomingListener | undefined;
  /** Of the migrations under way. */
  readonly #controls = new Set<ControlLink>();

  /**
   * `recordTo`: folder that gets a copy of every byte of an outgoing stream. Throws `transfer/recording-failed` if it
   * can't be made: now, and not when a guest is about to move. `insecure`: also without TLS with other hosts.
   */
  constructor(recordTo: string | undefined, insecure: boolean) {
    this.#recordTo = recordTo;
    this.#insecure = insecure;
    if (recordTo !== undefined) makeRecordingFolder(recordTo);
  }

  getReady({ values }: MigrationParameters): void {
    this.#threads.keep(channelsOf(values));
    void rehearseFlows();
  }

  async migrate(target: SocketAddress, options: OutgoingOptions): Promise<MigrationRecord> {
    const starting = this.#threads.take(channelsOf(options.parameters.values));
    starting.catch(() => undefined);
    void rehearseFlows();
    const { migrateSource, connectControlLink, SocketSourceDataPlane, WorkerPageHasher, tableDigest } =
      await loadSource();
    const { memory, recordingCut, ...known } = options;
    let control: ControlLink;
    let host = '127.0.0.1';
    let recording: ControlRecording | undefined;
    let dial: (() => Promise<SocketControlLink>) | undefined;
    let binding: TlsBinding | undefined;
    try {
      if (this.#recordTo !== undefined) {
        const { ControlRecording } = await import('./control-recording.js');
        recording = new ControlRecording(this.#recordTo, recordingCut);
      }
      const tls = await clientOf(target, options.parameters, this.#insecure);
      dial = async () => this.#known(await connectControlLink(target, options.signal, { tls }));
      const link = await dial();
      control = link;
      binding = link.binding;
      host = link.localHost ?? host;
    } catch (error) {
      if (!isFerryError(error)) throw error;
      control = brokenLink(error);
    }
    const threads = await starting;
    try {
      return await migrateSource({
        ...known,
        control,
        ...(dial && { redial: dial }),
        data: new SocketSourceDataPlane({
          memory,
          host,
          tls: binding,
          threads,
          ...(this.#recordTo === undefined ? {} : { recordTo: this.#recordTo, recordingCut }),
        }),
        scheduler: realTime,
        digest: tableDigest(),
        hasher: new WorkerPageHasher(memory),
        migrationId: randomBytes(16).toString('hex'),
        ...(recording === undefined ? {} : { record: recording.add }),
      });
    } finally {
      this.#controls.clear();
      recording?.close();
      // The migration has ended them, if it came so far.
      await threads.close();
    }
  }

  cut(): void {
    for (const control of [...this.#controls]) control.cut?.('it was cut by `yank`');
    this.#latest?.cut();
  }

  close(): void {
    this.#threads.drop();
  }

  #known(link: SocketControlLink): SocketControlLink {
    this.#controls.add(link);
    return link;
  }

  async listen(
    address: SocketAddress,
    parameters: MigrationParameters,
    turnedAway: TurnedAway,
  ): Promise<IncomingListener> {
    const tls = await tlsDoorOf(address, parameters, this.#insecure, turnedAway);
    // Whoever may still ask it what came of an earlier migration may find the next at its address.
    this.#latest?.end();
    const server = createServer();
    const listening = await listen(server, address);
    this.#latest = new SocketIncomingListener(server, listening.address, turnedAway, tls);
    return this.#latest;
  }
}

class SocketIncomingListener implements IncomingListener {
  readonly address: SocketAddress;
  readonly #server: Server;
  readonly #door: Promise<IncomingDoor>;
  #closed = false;
  /** Of the source whose guest is coming. */
  #control: ControlLink | undefined;

  constructor(server: Server, address: SocketAddress, turnedAway: TurnedAway, tls: TlsDoor | undefined) {
    this.#server = server;
    this.address = address;
    const loading = Promise.all([import('./incoming-door.js'), import('./socket-visitor.js')]);
    this.#door = loading.then(
      ([{ IncomingDoor }]) => new IncomingDoor({ turnedAway, later: laterMs, end: () => this.end() }),
    );
    // Whoever waits for a source hears of a failure.
    this.#door.catch(() => undefined);
    server.on('connection', (socket) => {
      // A connection that breaks before anybody looks at it is none.
      socket.on('error', () => socket.destroy());
      Promise.all([this.#door, loading]).then(
        ([door, [, { socketVisitor }]]) =>
          tls === undefined ? door.knock(socketVisitor(socket)) : tls.admit(socket, door),
        () => socket.destroy(),
      );
    });
  }

  async next(options: IncomingOptions): Promise<DestinationRecord | undefined> {
    const flow = loadDestination();
    // Whoever waits for the module hears of a failure, below.
    flow.catch(() => undefined);
    const channels = channelsOf(options.parameters.values);
    // They start while the source is waited for.
    const starting = flow.then(({ destinationThreads }) => destinationThreads(channels));
    starting.catch(() => undefined);
    void rehearseFlows();
    const door = await this.#door;
    try {
      return await door.next(options, async (control, { memory, ...known }, tls) => {
        this.#control = control;
        const { migrateDestination, SocketDestinationDataPlane, WorkerPageHasher, tableDigest } = await flow;
        return migrateDestination({
          ...known,
          control,
          data: new SocketDestinationDataPlane({ memory, tls, threads: await starting }),
          scheduler: realTime,
          digest: tableDigest(),
          hasher: new LatePageHasher(() => new WorkerPageHasher(memory())),
        });
      });
    } finally {
      this.#control = undefined;
      // The migration has ended them; or there was none.
      await starting.then((threads) => threads.close());
    }
  }

  /** Breaks the link to the source whose guest is coming. */
  cut(): void {
    this.#control?.cut?.('it was cut by `yank`');
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // It keeps no process from ending.
    this.#server.unref();
    this.#door.then(
      (door) => door.close(),
      () => this.end(),
    );
  }

  /** Nobody is answered any more. Harmless when called twice. */
  end(): void {
    if (!this.#server.listening) return;
    unlinkSocket(this.address);
    this.#server.close();
  }
}

const channelsOf = ({ multifd, multifdChannels }: ParameterValues): number => (multifd ? multifdChannels : 1);

async function loadSource() {
  const [
    { migrateSource },
    { connectControlLink },
    { SocketSourceDataPlane, sourceThreads },
    { WorkerPageHasher },
    { tableDigest },
  ] = await Promise.all([
    import('../../migration/source.js'),
    import('../control-link/socket-link.js'),
    import('../transfer/source-plane.js'),
    import('../transfer/page-hasher.js'),
    import('../transfer/table-digest.js'),
  ]);
  return {
    migrateSource,
    connectControlLink,
    SocketSourceDataPlane,
    sourceThreads,
    WorkerPageHasher,
    tableDigest,
  };
}

/** Once a process, beside what it waits for. It fails only for a defect of ours, which is nobody's here to handle. */
async function rehearseFlows(): Promise<void> {
  const [{ dryRun }, { tableDigest }] = await Promise.all([
    import('../../migration/dry-run.js'),
    import('../transfer/table-digest.js'),
  ]);
  await dryRun(realTime, tableDigest());
}

async function loadDestination() {
  const [
    { migrateDestination },
    { SocketDestinationDataPlane, destinationThreads },
    { WorkerPageHasher },
    { tableDigest },
  ] = await Promise.all([
    import('../../migration/destination.js'),
    import('../transfer/destination-plane.js'),
    import('../transfer/page-hasher.js'),
    import('../transfer/table-digest.js'),
  ]);
  return {
    migrateDestination,
    SocketDestinationDataPlane,
    destinationThreads,
    WorkerPageHasher,
    tableDigest,
  };
}

/** A page hasher made when it is to hash: RAM exists only once a guest was accepted. */
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
