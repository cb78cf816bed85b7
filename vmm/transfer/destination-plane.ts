/** The destination's half of the data plane: page workers that connect to the source and read into guest RAM. */

import { invariant } from '../../base/errors.js';
import { NOTHING_MOVED } from '../../migration/pages/counts.js';
import { Outcomes } from '../../migration/pages/outcomes.js';
import { RoundBarrier } from '../../migration/pages/round-barrier.js';
import { WorkBoard } from '../../migration/pages/work-board.js';
import type {
  DataEndpoint,
  DataPlaneOptions,
  DestinationDataPlane,
  TransferCount,
} from '../../migration/ports.js';
import type { Timeline } from '../../migration/timeline.js';
import { bundleOf } from '../built.js';
import { Crew } from './crew.js';
import { transferErrors } from './errors.js';
import { memoryPages } from './kernels.js';
import type { DestinationCommand, DestinationReport, DestinationTask } from './messages.js';

export interface SocketDestinationSetup {
  /** Guest RAM: shared memory. */
  readonly memory: WebAssembly.Memory;
  /** How long connecting, and the source's answer to the hello, may take. */
  readonly connectTimeoutMs?: number;
}

/** See `DestinationDataPlane`. One plane serves one migration: `connect` once, `close` at the end. */
export class SocketDestinationDataPlane implements DestinationDataPlane {
  readonly #setup: SocketDestinationSetup;
  readonly #outcomes = new Outcomes();
  #crew: Crew<DestinationTask, DestinationCommand, DestinationReport> | undefined;
  #board: WorkBoard | undefined;
  #barrier: RoundBarrier | undefined;
  #hashes = new Uint32Array(new SharedArrayBuffer(0));
  #connected = 0;
  #onConnected: (() => void) | undefined;
  #closed = false;
  #timeline: Timeline | undefined;

  constructor(setup: SocketDestinationSetup) {
    this.#setup = setup;
  }

  get hashes(): Uint32Array {
    return this.#hashes;
  }

  /** Rejects with `transfer/connect-failed`, `transfer/worker-lost`, or what is wrong with the source's hello. */
  connect(endpoint: DataEndpoint, options: DataPlaneOptions): Promise<void> {
    invariant(this.#crew === undefined && !this.#closed, 'a data plane is connected once');
    const { memory, connectTimeoutMs = 5000 } = this.#setup;
    const { host, ports, token } = endpoint;
    const { channels, migratedPages, hashSeed } = options;
    this.#timeline = options.timeline;
    invariant(migratedPages <= memoryPages(memory), 'more pages than RAM has');
    invariant(ports.length === channels, 'as many ports as channels');
    const board = new WorkBoard(channels);
    this.#board = board;
    this.#barrier = new RoundBarrier(channels);
    this.#hashes = new Uint32Array(new SharedArrayBuffer(options.integrity ? migratedPages * 8 : 0));
    return this.#outcomes.wait('connect', (resolve) => {
      this.#onConnected = () => resolve(undefined);
      this.#crew = new Crew({
        side: 'destination',
        module: bundleOf(new URL('./destination-worker.js', import.meta.url)),
        tasks: ports.map((port, channel) => ({
          channel,
          channels,
          host,
          port,
          token,
          memory,
          migratedPages,
          hashSeed,
          hashes: this.#hashes.buffer,
          board: board.buffer,
          connectTimeoutMs,
        })),
        onReport: (channel, report) => this.#take(channel, report),
        onFailure: (error) => this.#outcomes.fail(() => error),
      });
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

  progress(): TransferCount {
    return this.#board?.progress() ?? NOTHING_MOVED;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#outcomes.fail((operation) => transferErrors.error('closed', { side: 'destination', operation }));
    await this.#crew?.close({ type: 'close' });
  }

  #take(channel: number, report: DestinationReport): void {
    switch (report.type) {
      case 'connected':
        if (++this.#connected === this.#board?.channels) this.#onConnected?.();
        break;
      case 'received':
        this.#timeline?.moment(`channel${channel}`, 'received', { round: report.round, ...report.count });
        this.#deliver(report.round, report.count);
        break;
      case 'ended':
        this.#outcomes.fail((operation) => transferErrors.error('closed', { side: 'source', operation }));
        break;
      case 'failed':
        invariant(false, "failures are the crew's to report");
    }
  }

  #deliver(round: number, count: TransferCount): void {
    if (this.#barrier!.deliver(round, count)) this.#crew?.send({ type: 'proceed', round });
  }
}
