/** The owner of a source's channels: opens them, sends rounds over them, adds up what they say. */
import type { AtomicBitmap } from '../../base/bitmap.js';
import type { Scheduler } from '../../base/clock.js';
import { FerryError, invariant } from '../../base/errors.js';
import type { Instant } from '../../base/units.js';
import { HashTable } from '../hash-table.js';
import type { DataEndpoint, DataPlaneOptions, SourceDataPlane, TransferCount } from '../ports.js';
import type { Timeline } from '../timeline.js';
import { microsecondsOf, rateInKib } from './bandwidth.js';
import { addCounts, NOTHING_MOVED } from './counts.js';
import type { ChannelTask, Crew, Hire, SourceCommand, SourceReport } from './crew.js';
import { Outcomes } from './outcomes.js';
import { transferErrors } from './transfer-errors.js';
import { WorkBoard } from './work-board.js';

export interface SourcePlaneSetup {
  /** Address of this host, reachable from the destination. */
  readonly host: string;
  readonly scheduler: Scheduler;
  /** 32 hex digits that nobody can guess. */
  readonly newToken: () => string;
  readonly hire: Hire<ChannelTask, SourceCommand, SourceReport>;
  /** Hears why the recording of a channel ends early, once. */
  readonly recordingCut?: (channel: number, reason: string) => void;
}

interface Round {
  readonly round: number;
  readonly channels: number;
  readonly resolve: (count: TransferCount) => void;
  readonly from: Instant | undefined;
  sum: TransferCount;
  reports: number;
}

/** See `SourceDataPlane`; the crew and its wires are given. One plane serves one migration: `open` once, `close` at the end. */
export class SourcePlane implements SourceDataPlane {
  readonly #setup: SourcePlaneSetup;
  readonly #outcomes = new Outcomes();
  #crew: Crew<SourceCommand> | undefined;
  #board: WorkBoard | undefined;
  #hashes = new HashTable(0);
  #rateKib = 0;
  #ports: number[] = [];
  #listening = 0;
  #connected = 0;
  #onListening: (() => void) | undefined;
  #onConnected: (() => void) | undefined;
  #current: Round | undefined;
  #closed = false;
  #ending: Promise<void> | undefined;
  #timeline: Timeline | undefined;

  constructor(setup: SourcePlaneSetup) {
    this.#setup = setup;
  }

  get hashes(): HashTable {
    return this.#hashes;
  }

  /** Rejects with `transfer/listen-failed`, `transfer/recording-failed`, `transfer/worker-lost`. */
  open(options: DataPlaneOptions): Promise<DataEndpoint> {
    invariant(this.#crew === undefined && !this.#closed, 'a data plane is opened once');
    const { host, hire, newToken } = this.#setup;
    const { channels, migratedPages, hashSeed } = options;
    this.#timeline = options.timeline;
    const board = new WorkBoard(channels);
    board.setRate(this.#rateKib, this.#nowUs());
    if (options.firstPages !== undefined) {
      const { firstPage, pageCount } = options.firstPages;
      const word = firstPage >>> 5;
      board.setFirst(word, Math.ceil((firstPage + pageCount) / 32) - word);
    }
    this.#board = board;
    this.#hashes = new HashTable(options.integrity ? migratedPages : 0);
    const hashes = this.#hashes.buffers;
    const token = newToken();
    return this.#outcomes.wait('open', (resolve) => {
      this.#onListening = () => resolve({ host, ports: this.#ports, token });
      this.#crew = hire(
        Array.from({ length: channels }, (_, channel) => ({
          channel,
          channels,
          token,
          migratedPages,
          hashSeed,
          hashes,
          board: board.buffer,
        })),
        (channel, report) => this.#take(channel, report),
      );
    });
  }

  connected(): Promise<void> {
    return this.#outcomes.wait('connect', (resolve) => {
      this.#onConnected = () => resolve(undefined);
      this.#checkConnected();
    });
  }

  sendRound(round: number, pages: AtomicBitmap, given?: number): Promise<TransferCount> {
    return this.#outcomes.wait(`round ${round}`, (resolve) => {
      const { board, crew } = this.#opened();
      invariant(this.#connected === board.channels, 'a round before all channels have connected');
      invariant(this.#current === undefined, 'one round at a time');
      const channels = given ?? board.channels;
      const from = this.#timeline?.now();
      this.#current = { round, channels, resolve, from, sum: NOTHING_MOVED, reports: 0 };
      board.resetRound();
      crew.send({ type: 'round', round, bitmap: pages.buffer }, channels);
    });
  }

  limitBandwidth(bytesPerSecond: number | undefined): void {
    this.#rateKib = rateInKib(bytesPerSecond);
    this.#board?.setRate(this.#rateKib, this.#nowUs());
  }

  progress(): TransferCount {
    return this.#board?.progress() ?? NOTHING_MOVED;
  }

  stop(): void {
    this.#board?.stop();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#outcomes.fail((operation) => transferErrors.error('closed', { side: 'source', operation }));
    this.#board?.abandon();
    this.#ending ??= this.#crew?.close({ type: 'close' });
    await this.#ending;
  }

  #take(channel: number, report: SourceReport): void {
    switch (report.type) {
      case 'listening':
        this.#ports[channel] = report.port;
        if (++this.#listening === this.#board?.channels) this.#onListening?.();
        break;
      case 'connected':
        this.#connected++;
        this.#checkConnected();
        break;
      case 'sent':
        this.#addSent(channel, report.round, report.count);
        break;
      case 'recording-cut':
        this.#setup.recordingCut?.(channel, report.reason);
        break;
      case 'failed':
        this.#fail(FerryError.from(report.error));
    }
  }

  #checkConnected(): void {
    if (this.#connected === this.#board?.channels) this.#onConnected?.();
  }

  #addSent(channel: number, round: number, count: TransferCount): void {
    const current = this.#current;
    invariant(current?.round === round, 'a worker reports another round');
    if (current.from !== undefined) {
      this.#timeline?.span(`channel${channel}`, 'send', current.from, { round, ...count });
    }
    current.sum = addCounts(current.sum, count);
    if (++current.reports < current.channels) return;
    this.#current = undefined;
    current.resolve(current.sum);
  }

  #fail(error: FerryError): void {
    this.#board?.abandon();
    this.#outcomes.fail(() => error);
  }

  #nowUs(): number {
    return microsecondsOf(this.#setup.scheduler.now());
  }

  #opened(): { board: WorkBoard; crew: Crew<SourceCommand> } {
    invariant(this.#board !== undefined && this.#crew !== undefined, 'the data plane is not open');
    return { board: this.#board, crew: this.#crew };
  }
}
