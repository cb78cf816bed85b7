/** One data channel at the source, whatever carries it: opens its door to the destination, then sends round after round. */
import { AtomicBitmap } from '../../base/bitmap.js';
import type { Scheduler } from '../../base/clock.js';
import { FerryError } from '../../base/errors.js';
import { milliseconds, nanoseconds, PAGE_BYTES } from '../../base/units.js';
import { chargeBytes, microsecondsOf, waitUs } from './bandwidth.js';
import { ChannelSender } from './channel-sender.js';
import { type ChannelTask, type SourceCommand, type SourceReport, tableOf } from './crew.js';
import { Door } from './door.js';
import type { Allocate, FrameBuffer } from './frame-buffer.js';
import { FrameWriter } from './frame-writer.js';
import { tokenBytes } from './hello.js';
import type { PageKernels } from './page-kernels.js';
import { transferErrors } from './transfer-errors.js';
import type { Listener, Wire, WireUser } from './wire.js';
import { WorkBoard } from './work-board.js';

/** Who waits for bandwidth looks this often whether the limit has changed or the round was stopped. */
const BANDWIDTH_POLL_US = 5000;
/** How long the last bytes may take to leave when the channel is closed. */
const LINGER = milliseconds(1000);

/** Gets a copy of every byte that is sent. */
export interface FrameRecorder {
  addBytes(bytes: Uint8Array): void;
  add(frame: FrameBuffer): void;
  close(): void;
}

export interface SourceChannelSetup {
  readonly task: ChannelTask;
  readonly ram: Uint8Array;
  readonly kernels: PageKernels;
  readonly scheduler: Scheduler;
  /** `knock` gets whoever connects. */
  readonly listener: (knock: (wire: Wire) => void) => Listener;
  readonly helloTimeoutMs: number;
  /** Makes the recorder, if one is wanted. May throw a FerryError. */
  readonly recorder: ((cut: (reason: string) => void) => FrameRecorder) | undefined;
  readonly allocate?: Allocate;
  readonly report: (report: SourceReport) => void;
}

export class SourceChannel implements WireUser {
  /** Resolves when the channel has been closed. */
  readonly done: Promise<void>;
  #finish: () => void = () => {};
  readonly #setup: SourceChannelSetup;
  readonly #board: WorkBoard;
  readonly #sender: ChannelSender;
  readonly #door: Door;
  readonly #listener: Listener;
  #recorder: FrameRecorder | undefined;
  #wire: Wire | undefined;
  #writer: FrameWriter | undefined;
  #onGone: (() => void) | undefined;
  #sending = false;
  #closing = false;
  #failed = false;

  /** Listens from here on. */
  constructor(setup: SourceChannelSetup) {
    const { task, ram, kernels, scheduler, helloTimeoutMs, recorder, report } = setup;
    this.#setup = setup;
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#board = new WorkBoard(task.channels, task.board);
    this.#sender = new ChannelSender({
      ram,
      kernels,
      board: this.#board,
      migratedPages: task.migratedPages,
      hashSeed: task.hashSeed,
      hashes: tableOf(task),
      copyAll: recorder !== undefined,
    });
    this.#door = new Door({
      channel: task.channel,
      token: tokenBytes(task.token),
      helloTimeoutMs,
      scheduler,
      onChannel: (wire, hello) => this.#guard(() => this.#adopt(wire, hello)),
    });
    this.#listener = setup.listener((wire) => this.#door.knock(wire));
    this.#guard(async () => {
      this.#recorder = recorder?.((reason) => report({ type: 'recording-cut', reason }));
      report({ type: 'listening', port: await this.#listener.listen() });
    });
  }

  take(command: SourceCommand): void {
    if (command.type === 'round') this.#guard(() => this.#sendRound(command.round, command.bitmap));
    else this.#guard(() => this.#close());
  }

  #adopt(wire: Wire, hello: Uint8Array): void {
    const { task, allocate, report } = this.#setup;
    this.#listener.close();
    this.#recorder?.addBytes(hello);
    this.#wire = wire;
    wire.user = this;
    this.#writer = new FrameWriter(wire, allocate, (frame) => {
      const overheadBytes = frame.bytes - frame.pages * PAGE_BYTES;
      this.#board.count(task.channel, frame.pages, frame.zeroPages, overheadBytes);
    });
    report({ type: 'connected' });
  }

  async #sendRound(round: number, bits: SharedArrayBuffer): Promise<void> {
    const writer = this.#writer!;
    const sender = this.#sender;
    this.#sending = true;
    sender.beginRound(round, new AtomicBitmap(this.#setup.task.migratedPages, bits));
    for (;;) {
      const frame = writer.tryFrame() ?? (await writer.frame());
      if (frame === undefined) return;
      if (!sender.next(frame)) {
        writer.release(frame);
        break;
      }
      this.#write(frame);
      if (this.#board.rate !== 0) await this.#payFor(frame.bytes);
    }
    const last = await writer.frame();
    if (last === undefined || this.#board.abandoned) return;
    const count = sender.endRound(last);
    this.#write(last);
    if (!(await writer.drained())) return;
    this.#sending = false;
    this.#setup.report({ type: 'sent', round, count });
  }

  #write(frame: FrameBuffer): void {
    this.#recorder?.add(frame);
    this.#writer?.write(frame);
  }

  /** Waits until the bandwidth limit allows to go on after `bytes` more. */
  async #payFor(bytes: number): Promise<void> {
    const { scheduler } = this.#setup;
    chargeBytes(this.#board, bytes, microsecondsOf(scheduler.now()));
    while (!this.#board.stopped) {
      const us = waitUs(this.#board, microsecondsOf(scheduler.now()));
      if (us <= 0) return;
      await scheduler.sleep(nanoseconds(Math.min(us, BANDWIDTH_POLL_US) * 1e3));
    }
  }

  async #close(): Promise<void> {
    this.#closing = true;
    this.#shutDoor();
    const wire = this.#wire;
    if (wire !== undefined && !wire.dead) {
      const gone = new Promise<void>((resolve) => {
        this.#onGone = resolve;
      });
      const frame = this.#sending || this.#failed ? undefined : await this.#writer?.frame();
      if (frame === undefined) {
        wire.destroy(); // in the middle of a round, or with a peer that reads no more
        await gone;
      } else {
        this.#sender.encodeClose(frame);
        this.#recorder?.add(frame);
        // It is of no round, and nobody counts it.
        wire.write(frame.pieces, frame.pieceCount, () => {});
        wire.end();
        const cancel = this.#setup.scheduler.after(LINGER, () => wire.destroy());
        await gone;
        cancel();
      }
    }
    this.#recorder?.close();
    this.#finish();
  }

  target(): Uint8Array {
    return SURPLUS;
  }

  filled(): boolean {
    this.#break('the destination sent what it should not');
    return false;
  }

  ended(): void {
    this.#break('the destination closed it');
  }

  gone(reason: string | undefined): void {
    this.#break(reason ?? 'it was closed');
    this.#writer?.broken();
    this.#onGone?.();
  }

  #break(reason: string): void {
    const { channel } = this.#setup.task;
    const { peer, writtenBytes: bytes } = this.#wire!;
    this.#fail(transferErrors.error('channel-broken', { side: 'source', channel, peer, bytes, reason }));
  }

  /** Ends the channel; the owner hears of the first failure only, and of none after it asked to close. */
  #fail(error: FerryError): void {
    if (this.#failed || this.#closing) return;
    this.#failed = true;
    this.#setup.report({ type: 'failed', error: error.toJSON() });
    this.#shutDoor();
    this.#wire?.destroy();
  }

  #shutDoor(): void {
    this.#listener.close();
    this.#door.shut();
  }

  /** Runs `action`; what is wrong with the world becomes a report, what is wrong with us stays an exception. */
  #guard(action: () => void | Promise<void>): void {
    const run = async (): Promise<void> => action();
    run().catch((error: unknown) => {
      if (!(error instanceof FerryError)) throw error;
      this.#fail(error);
    });
  }
}

/** For what a destination should not say. */
const SURPLUS = new Uint8Array(1);
