/**
 * One data channel at the destination, whatever carries it: connects to the source and reads straight into guest RAM. (Node
 * aims reads only for sockets that connect, which is why the receiving side is the one that does.)
 *
 * After a round's last frame it stops reading until the owner says that every channel has got that far: a page sent
 * on another channel in the round before must not land on a newer copy.
 */
import type { Cancel, Scheduler } from '../../base/clock.js';
import { FerryError } from '../../base/errors.js';
import { milliseconds, PAGE_BYTES } from '../../base/units.js';
import { ChannelReceiver, CLOSED, END_OF_ROUND, HELLO, NOTHING } from './channel-receiver.js';
import { type ConnectingTask, type DestinationCommand, type DestinationReport, tableOf } from './crew.js';
import type { Allocate } from './frame-buffer.js';
import { encodeHello, tokenBytes } from './hello.js';
import { FRAME_PAGES, FRAME_ZERO } from './layouts.js';
import type { PageKernels } from './page-kernels.js';
import { RamSink } from './page-sink.js';
import { transferErrors } from './transfer-errors.js';
import type { Wire, WireUser } from './wire.js';
import { WorkBoard } from './work-board.js';

/** How long the source's last bytes may take when the channel is closed. */
const LINGER = milliseconds(1000);
/** Where they go, after the one read that is aimed already: not into guest RAM, in which the guest may run by then. */
const LEFT_OVER = new Uint8Array(64 * 1024);

export interface DestinationChannelSetup {
  readonly task: ConnectingTask;
  readonly ram: Uint8Array;
  readonly kernels: PageKernels;
  readonly scheduler: Scheduler;
  /** Begins to connect. */
  readonly connect: (host: string, port: number, user: WireUser) => Wire;
  /** How long connecting, and the source's answer to the hello, may take. */
  readonly connectTimeoutMs: number;
  readonly allocate?: Allocate;
  readonly report: (report: DestinationReport) => void;
}

export class DestinationChannel implements WireUser {
  /** Resolves when the channel has been closed. */
  readonly done: Promise<void>;
  #finish: () => void = () => {};
  readonly #setup: DestinationChannelSetup;
  readonly #token: Uint8Array;
  readonly #board: WorkBoard;
  readonly #receiver: ChannelReceiver;
  readonly #wire: Wire;
  readonly #endPatience: Cancel;
  #phase: 'connecting' | 'greeting' | 'receiving' | 'ended' = 'connecting';
  #onGone: (() => void) | undefined;
  #closing = false;
  #failed = false;

  /** Connects from here on. */
  constructor(setup: DestinationChannelSetup) {
    const { task, ram, kernels, scheduler, connectTimeoutMs, allocate } = setup;
    this.#setup = setup;
    this.#token = tokenBytes(task.token);
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#board = new WorkBoard(task.channels, task.board);
    const sink = new RamSink(ram, kernels, task.hashSeed, tableOf(task));
    const { channel, migratedPages } = task;
    const answer = (): Uint8Array => this.#wire.proof(this.#token, 'source', channel);
    this.#receiver = new ChannelReceiver({ channel, token: answer, migratedPages, sink }, allocate);
    this.#endPatience = scheduler.after(milliseconds(connectTimeoutMs), () =>
      this.#cannotConnect(`no answer within ${connectTimeoutMs} ms`),
    );
    this.#wire = setup.connect(task.host, task.port, this);
  }

  take(command: DestinationCommand): void {
    if (command.type === 'proceed') this.#wire.resume();
    else void this.#close();
  }

  opened(): void {
    this.#phase = 'greeting';
    const { channel } = this.#setup.task;
    const hello = encodeHello(channel, this.#wire.proof(this.#token, 'destination', channel));
    this.#wire.write([hello], 1, () => {});
  }

  target(): Uint8Array {
    return this.#closing ? LEFT_OVER : this.#receiver.target();
  }

  filled(lengthBytes: number): boolean {
    if (this.#failed) return false;
    if (this.#closing) return true;
    try {
      return this.#take(lengthBytes);
    } catch (error) {
      this.#fail(error);
      return false;
    }
  }

  #take(lengthBytes: number): boolean {
    const { report } = this.#setup;
    const received = this.#receiver.filled(lengthBytes);
    if (received === NOTHING) return true;
    if (received === HELLO) {
      this.#endPatience();
      this.#phase = 'receiving';
      report({ type: 'connected' });
      return true;
    }
    if (received === CLOSED) {
      this.#phase = 'ended';
      report({ type: 'ended' });
      return true;
    }
    this.#count();
    if (received !== END_OF_ROUND) return true;
    const { round, roundReceived } = this.#receiver;
    report({ type: 'received', round: round - 1, count: roundReceived });
    return false;
  }

  #count(): void {
    const { kind, runs, frameBytes } = this.#receiver;
    const pages = kind === FRAME_PAGES ? runs.pages : 0;
    const zeroPages = kind === FRAME_ZERO ? runs.pages : 0;
    const { channel, firstPages } = this.#setup.task;
    this.#board.count(channel, pages, zeroPages, frameBytes - pages * PAGE_BYTES);
    if (pages + zeroPages > 0 && this.#board.cameFirst(runs.pagesWithin(firstPages))) {
      this.#setup.report({ type: 'first-arrived' });
    }
  }

  gone(reason: string | undefined): void {
    if (this.#phase === 'connecting') this.#cannotConnect(reason ?? 'it was closed');
    else if (this.#phase === 'greeting') this.#cannotConnect('the source refused it');
    else if (reason !== undefined) this.#broken(reason);
    else {
      try {
        this.#receiver.ended();
      } catch (error) {
        this.#fail(error);
      }
    }
    this.#onGone?.();
  }

  #broken(reason: string): void {
    const { channel } = this.#setup.task;
    const { peer } = this.#wire;
    const bytes = this.#receiver.bytesReceived;
    this.#fail(transferErrors.error('channel-broken', { side: 'destination', channel, peer, bytes, reason }));
  }

  #cannotConnect(reason: string): void {
    const { channel } = this.#setup.task;
    this.#fail(transferErrors.error('connect-failed', { channel, peer: this.#wire.peer, reason }));
  }

  /** Ends the channel; the owner hears of the first failure only, and of none after it asked to close. */
  #fail(error: unknown): void {
    if (!(error instanceof FerryError)) throw error;
    if (this.#failed || this.#closing) return;
    this.#failed = true;
    this.#endPatience();
    this.#setup.report({ type: 'failed', error: error.toJSON() });
    this.#wire.destroy();
  }

  /** The source says its last word, and hears that it was heard: whoever closes first cuts it off. */
  async #close(): Promise<void> {
    this.#closing = true;
    this.#endPatience();
    const wire = this.#wire;
    if (!wire.dead) {
      const gone = new Promise<void>((resolve) => {
        this.#onGone = resolve;
      });
      let cancel: Cancel = () => {};
      if (this.#phase === 'receiving') {
        wire.resume();
        cancel = this.#setup.scheduler.after(LINGER, () => wire.destroy());
      } else wire.destroy();
      await gone;
      cancel();
    }
    this.#finish();
  }
}
