/** The page worker of one data channel at the source: listens for the destination, then sends round after round. */
import type { Socket } from 'node:net';
import type { MessagePort } from 'node:worker_threads';
import { AtomicBitmap } from '../../base/bitmap.js';
import { FerryError } from '../../base/errors.js';
import { PAGE_BYTES } from '../../base/units.js';
import { chargeBytes, waitUs } from '../../migration/pages/bandwidth.js';
import { ChannelSender } from '../../migration/pages/channel-sender.js';
import { tokenBytes } from '../../migration/pages/hello.js';
import { WorkBoard } from '../../migration/pages/work-board.js';
import { reasonOf } from '../sockets/listening.js';
import { Acceptor } from './acceptor.js';
import { sharedNowUs } from './clock.js';
import { transferErrors } from './errors.js';
import { FrameWriter } from './frame-writer.js';
import { memoryBuffer, simdKernels } from './kernels.js';
import type { SourceCommand, SourceReport, SourceTask } from './messages.js';
import { Recording } from './recording.js';

/** A worker that waits for bandwidth looks this often whether the limit has changed or the round was stopped. */
const BANDWIDTH_POLL_MS = 5;
/** How long the last bytes may take to leave when the channel is closed. */
const LINGER_MS = 1000;

/** Piscina task: resolves when the owner has closed the channel. */
export default function sourceWorker(given: { task: SourceTask; port: MessagePort }): Promise<void> {
  return new SourceWorker(given.task, given.port).done;
}

class SourceWorker {
  readonly done: Promise<void>;
  #finish: () => void = () => {};
  readonly #task: SourceTask;
  readonly #port: MessagePort;
  readonly #board: WorkBoard;
  readonly #sender: ChannelSender;
  readonly #acceptor: Acceptor;
  #recording: Recording | undefined;
  #socket: Socket | undefined;
  #writer: FrameWriter | undefined;
  #peer = 'the destination';
  #socketError: Error | undefined;
  #sending = false;
  #closing = false;
  #failed = false;

  constructor(task: SourceTask, port: MessagePort) {
    this.#task = task;
    this.#port = port;
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#board = new WorkBoard(task.channels, task.board);
    this.#sender = new ChannelSender({
      ram: memoryBuffer(task.memory),
      kernels: simdKernels(task.memory),
      board: this.#board,
      migratedPages: task.migratedPages,
      hashSeed: task.hashSeed,
      hashes: new Uint32Array(task.hashes),
      copyAll: task.recording !== undefined,
    });
    this.#acceptor = new Acceptor({
      host: task.host,
      channel: task.channel,
      token: tokenBytes(task.token),
      helloTimeoutMs: task.helloTimeoutMs,
      onChannel: (socket, hello) => this.#guard(() => this.#adopt(socket, hello)),
    });
    port.on('message', (command: SourceCommand) => {
      if (command.type === 'round') this.#guard(() => this.#sendRound(command.round, command.bitmap));
      else this.#guard(() => this.#close());
    });
    this.#guard(async () => {
      if (task.recording !== undefined) {
        this.#recording = new Recording(task.recording, (reason) =>
          this.#report({ type: 'recording-cut', reason }),
        );
      }
      this.#report({ type: 'listening', port: await this.#acceptor.listen() });
    });
  }

  #adopt(socket: Socket, hello: Uint8Array): void {
    this.#recording?.addBytes(hello);
    this.#socket = socket;
    this.#peer = `${socket.remoteAddress}:${socket.remotePort}`;
    this.#writer = new FrameWriter(socket, this.#recording, (frame) => {
      const overheadBytes = frame.bytes - frame.pages * PAGE_BYTES;
      this.#board.count(this.#task.channel, frame.pages, frame.zeroPages, overheadBytes);
    });
    socket.on('error', (error) => {
      this.#socketError ??= error;
    });
    socket.on('data', () => this.#break('the destination sent what it should not'));
    socket.on('end', () => this.#break('the destination closed it'));
    socket.on('close', () =>
      this.#break(this.#socketError === undefined ? 'it was closed' : reasonOf(this.#socketError)),
    );
    this.#report({ type: 'connected' });
  }

  async #sendRound(round: number, bits: SharedArrayBuffer): Promise<void> {
    const writer = this.#writer!;
    const sender = this.#sender;
    this.#sending = true;
    sender.beginRound(round, new AtomicBitmap(this.#task.migratedPages, bits));
    for (;;) {
      const frame = writer.tryFrame() ?? (await writer.frame());
      if (frame === undefined) return;
      if (!sender.next(frame)) {
        writer.release(frame);
        break;
      }
      writer.write(frame);
      if (this.#board.rate !== 0) await this.#payFor(frame.bytes);
    }
    const last = await writer.frame();
    if (last === undefined || this.#board.abandoned) return;
    const count = sender.endRound(last);
    writer.write(last);
    if (!(await writer.drained())) return;
    this.#sending = false;
    this.#report({ type: 'sent', round, count });
  }

  /** Waits until the bandwidth limit allows to go on after `bytes` more. */
  async #payFor(bytes: number): Promise<void> {
    chargeBytes(this.#board, bytes, sharedNowUs());
    while (!this.#board.stopped) {
      const delayMs = waitUs(this.#board, sharedNowUs()) / 1e3;
      if (delayMs <= 0) return;
      await new Promise((resolve) => setTimeout(resolve, Math.min(delayMs, BANDWIDTH_POLL_MS)));
    }
  }

  async #close(): Promise<void> {
    this.#closing = true;
    this.#acceptor.close();
    const socket = this.#socket;
    if (socket !== undefined && !socket.destroyed) {
      const gone = new Promise((resolve) => socket.once('close', resolve));
      const frame = this.#sending || this.#failed ? undefined : await this.#writer?.frame();
      if (frame === undefined) {
        socket.destroy(); // in the middle of a round, or with a peer that reads no more
      } else {
        this.#sender.encodeClose(frame);
        this.#writer?.write(frame);
        socket.end();
        setTimeout(() => socket.destroy(), LINGER_MS).unref();
      }
      await gone;
    }
    this.#recording?.close();
    this.#port.close();
    this.#finish();
  }

  #break(reason: string): void {
    this.#fail(
      transferErrors.error('channel-broken', {
        side: 'source',
        channel: this.#task.channel,
        peer: this.#peer,
        bytes: this.#socket?.bytesWritten ?? 0,
        reason,
      }),
    );
  }

  /** Ends the channel; the owner hears of the first failure only, and of none after it asked to close. */
  #fail(error: FerryError): void {
    if (this.#failed || this.#closing) return;
    this.#failed = true;
    this.#report({ type: 'failed', error: error.toJSON() });
    this.#acceptor.close();
    this.#socket?.destroy();
  }

  /** Runs `action`; what is wrong with the world becomes a report, what is wrong with us ends the worker. */
  #guard(action: () => void | Promise<void>): void {
    const run = async (): Promise<void> => action();
    run().catch((error: unknown) => {
      if (!(error instanceof FerryError)) throw error;
      this.#fail(error);
    });
  }

  #report(report: SourceReport): void {
    this.#port.postMessage(report);
  }
}
