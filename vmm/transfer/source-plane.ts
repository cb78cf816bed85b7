/** The source's half of the data plane: page workers that listen, one port each, and send from guest RAM. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { AtomicBitmap } from '../../base/bitmap.js';
import { type FerryError, invariant } from '../../base/errors.js';
import type { Instant } from '../../base/units.js';
import { rateInKib } from '../../migration/pages/bandwidth.js';
import { addCounts, NOTHING_MOVED } from '../../migration/pages/counts.js';
import { TOKEN_BYTES } from '../../migration/pages/layouts.js';
import { Outcomes } from '../../migration/pages/outcomes.js';
import { WorkBoard } from '../../migration/pages/work-board.js';
import type {
  DataEndpoint,
  DataPlaneOptions,
  SourceDataPlane,
  TransferCount,
} from '../../migration/ports.js';
import type { Timeline } from '../../migration/timeline.js';
import { bundleOf } from '../built.js';
import { sharedNowUs } from './clock.js';
import { Crew } from './crew.js';
import { transferErrors } from './errors.js';
import { memoryPages } from './kernels.js';
import type { SourceCommand, SourceReport, SourceTask } from './messages.js';

export interface SocketSourceSetup {
  /** Guest RAM: shared memory. */
  readonly memory: WebAssembly.Memory;
  /** Address of this host to listen at, reachable from the destination. */
  readonly host: string;
  /** Folder that gets a copy of every byte of channel N as `data-N.bin`; pages are then copied once more. */
  readonly recordTo?: string;
  /** Hears why the copy of a channel ends early: of `file`, once. */
  readonly recordingCut?: (file: string, reason: string) => void;
  /** How long whoever connects may take to say who he is. */
  readonly helloTimeoutMs?: number;
}

interface Round {
  readonly round: number;
  readonly channels: number;
  readonly resolve: (count: TransferCount) => void;
  readonly from: Instant | undefined;
  sum: TransferCount;
  reports: number;
}

const recordingFile = (folder: string, channel: number): string => join(folder, `data-${channel}.bin`);

/** See `SourceDataPlane`. One plane serves one migration: `open` once, `close` at the end. */
export class SocketSourceDataPlane implements SourceDataPlane {
  readonly #setup: SocketSourceSetup;
  readonly #outcomes = new Outcomes();
  #crew: Crew<SourceTask, SourceCommand, SourceReport> | undefined;
  #board: WorkBoard | undefined;
  #hashes = new Uint32Array(new SharedArrayBuffer(0));
  #rateKib = 0;
  #ports: number[] = [];
  #listening = 0;
  #connected = 0;
  #onListening: (() => void) | undefined;
  #onConnected: (() => void) | undefined;
  #current: Round | undefined;
  #closed = false;
  #timeline: Timeline | undefined;

  constructor(setup: SocketSourceSetup) {
    this.#setup = setup;
  }

  get hashes(): Uint32Array {
    return this.#hashes;
  }

  /** Rejects with `transfer/listen-failed`, `transfer/recording-failed`, `transfer/worker-lost`. */
  open(options: DataPlaneOptions): Promise<DataEndpoint> {
    invariant(this.#crew === undefined && !this.#closed, 'a data plane is opened once');
    const { memory, host, recordTo, helloTimeoutMs = 5000 } = this.#setup;
    const { channels, migratedPages, hashSeed } = options;
    this.#timeline = options.timeline;
    invariant(migratedPages <= memoryPages(memory), 'more pages than RAM has');
    const board = new WorkBoard(channels);
    board.setRate(this.#rateKib, sharedNowUs());
    this.#board = board;
    this.#hashes = new Uint32Array(new SharedArrayBuffer(options.integrity ? migratedPages * 8 : 0));
    const token = randomBytes(TOKEN_BYTES).toString('hex');
    return this.#outcomes.wait('open', (resolve) => {
      this.#onListening = () => resolve({ host, ports: this.#ports, token });
      this.#crew = new Crew({
        side: 'source',
        module: bundleOf(new URL('./source-worker.js', import.meta.url)),
        tasks: Array.from({ length: channels }, (_, channel) => ({
          channel,
          channels,
          host,
          token,
          memory,
          migratedPages,
          hashSeed,
          hashes: this.#hashes.buffer,
          board: board.buffer,
          helloTimeoutMs,
          recording: recordTo === undefined ? undefined : recordingFile(recordTo, channel),
        })),
        onReport: (channel, report) => this.#take(channel, report),
        onFailure: (error) => this.#fail(error),
      });
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
    this.#board?.setRate(this.#rateKib, sharedNowUs());
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
    await this.#crew?.close({ type: 'close' });
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
      case 'recording-cut': {
        const { recordTo = '', recordingCut } = this.#setup;
        recordingCut?.(recordingFile(recordTo, channel), report.reason);
        break;
      }
      case 'failed':
        invariant(false, "failures are the crew's to report");
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

  #opened(): { board: WorkBoard; crew: Crew<SourceTask, SourceCommand, SourceReport> } {
    invariant(this.#board !== undefined && this.#crew !== undefined, 'the data plane is not open');
    return { board: this.#board, crew: this.#crew };
  }
}
