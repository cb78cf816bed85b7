/** The owner of a destination's channels: has them connected, keeps them in step, adds up what they say. */
import { FerryError, invariant } from '../../base/errors.js';
import { HashTable } from '../hash-table.js';
import type {
  DataEndpoint,
  DataPlaneOptions,
  DestinationDataPlane,
  PageRange,
  TransferCount,
} from '../ports.js';
import type { Timeline } from '../timeline.js';
import { NOTHING_MOVED } from './counts.js';
import type { ConnectingTask, Crew, DestinationCommand, DestinationReport, Hire } from './crew.js';
import { Outcomes } from './outcomes.js';
import { RoundBarrier } from './round-barrier.js';
import { transferErrors } from './transfer-errors.js';
import { WorkBoard } from './work-board.js';

const NO_PAGES: PageRange = { firstPage: 0, pageCount: 0 };

export type HireDestination = Hire<ConnectingTask, DestinationCommand, DestinationReport>;

/** See `DestinationDataPlane`; the crew and its wires are given. One plane serves one migration: `connect` once, `close` at the end. */
export class DestinationPlane implements DestinationDataPlane {
  readonly #hire: HireDestination;
  readonly #outcomes = new Outcomes();
  #crew: Crew<DestinationCommand> | undefined;
  #board: WorkBoard | undefined;
  #barrier: RoundBarrier | undefined;
  #hashes = new HashTable(0);
  #connected = 0;
  #onConnected: (() => void) | undefined;
  #firstArrived = false;
  #onFirstArrived: (() => void) | undefined;
  #closed = false;
  #ending: Promise<void> | undefined;
  #timeline: Timeline | undefined;

  constructor(hire: HireDestination) {
    this.#hire = hire;
  }

  get hashes(): HashTable {
    return this.#hashes;
  }

  /** Rejects with `transfer/connect-failed`, `transfer/worker-lost`, or what is wrong with the source's hello. */
  connect(endpoint: DataEndpoint, options: DataPlaneOptions): Promise<void> {
    invariant(this.#crew === undefined && !this.#closed, 'a data plane is connected once');
    const { host, ports, token } = endpoint;
    const { channels, migratedPages, hashSeed, firstPages = NO_PAGES } = options;
    this.#timeline = options.timeline;
    invariant(ports.length === channels, 'as many ports as channels');
    const board = new WorkBoard(channels);
    board.expectFirst(firstPages.pageCount);
    this.#firstArrived = firstPages.pageCount === 0;
    this.#board = board;
    this.#barrier = new RoundBarrier(channels);
    this.#hashes = new HashTable(options.integrity ? migratedPages : 0);
    const hashes = this.#hashes.buffers;
    return this.#outcomes.wait('connect', (resolve) => {
      this.#onConnected = () => resolve(undefined);
      this.#crew = this.#hire(
        ports.map((port, channel) => ({
          channel,
          channels,
          host,
          port,
          token,
          migratedPages,
          firstPages,
          hashSeed,
          hashes,
          board: board.buffer,
        })),
        (channel, report) => this.#take(channel, report),
      );
    });
  }

  /** A round that has arrived whole stays received, whatever becomes of the channels afterwards. */
  received(round: number, channels?: number): Promise<TransferCount> {
    const barrier = this.#barrier;
    invariant(barrier !== undefined, 'the data plane is not connected');
    const count = barrier.received(round, channels);
    if (count !== undefined) return Promise.resolve(count);
    return this.#outcomes.wait(`round ${round}`, (resolve) => barrier.whenReceived(round, resolve, channels));
  }

  firstArrived(): Promise<void> {
    if (this.#firstArrived) return Promise.resolve();
    return this.#outcomes.wait('the first pages', (resolve) => {
      this.#onFirstArrived = () => resolve(undefined);
    });
  }

  progress(): TransferCount {
    return this.#board?.progress() ?? NOTHING_MOVED;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#outcomes.fail((operation) => transferErrors.error('closed', { side: 'destination', operation }));
    this.#ending ??= this.#crew?.close({ type: 'close' });
    await this.#ending;
  }

  #take(channel: number, report: DestinationReport): void {
    switch (report.type) {
      case 'connected':
        if (++this.#connected === this.#board?.channels) this.#onConnected?.();
        break;
      case 'first-arrived':
        this.#firstArrived = true;
        this.#onFirstArrived?.();
        break;
      case 'received':
        this.#timeline?.moment(`channel${channel}`, 'received', { round: report.round, ...report.count });
        this.#deliver(report.round, report.count);
        break;
      case 'ended':
        this.#outcomes.fail((operation) => transferErrors.error('closed', { side: 'source', operation }));
        break;
      case 'failed':
        this.#fail(FerryError.from(report.error));
    }
  }

  #fail(error: FerryError): void {
    this.#outcomes.fail(() => error);
  }

  #deliver(round: number, count: TransferCount): void {
    if (this.#barrier!.deliver(round, count)) this.#crew?.send({ type: 'proceed', round });
  }
}
