/**
 * The page worker of one data channel at the destination: connects to the source and reads straight into guest RAM.
 * (Node aims reads only for sockets that connect, which is why the receiving side is the one that does.)
 *
 * After a round's last frame it stops reading until the owner says that every channel has got that far: a page sent
 * on another channel in the round before must not land on a newer copy.
 */
import { connect, type Socket } from 'node:net';
import type { MessagePort } from 'node:worker_threads';
import type { Cancel } from '../../base/clock.js';
import { FerryError } from '../../base/errors.js';
import { PAGE_BYTES } from '../../base/units.js';
import {
  ChannelReceiver,
  CLOSED,
  END_OF_ROUND,
  HELLO,
  NOTHING,
} from '../../migration/pages/channel-receiver.js';
import { encodeHello, tokenBytes } from '../../migration/pages/hello.js';
import { FRAME_PAGES, FRAME_ZERO } from '../../migration/pages/layouts.js';
import { RamSink } from '../../migration/pages/page-sink.js';
import { WorkBoard } from '../../migration/pages/work-board.js';
import { reasonOf } from '../sockets/listening.js';
import { afterMs } from '../timers.js';
import { transferErrors } from './errors.js';
import { memoryBuffer, simdKernels } from './kernels.js';
import type { DestinationCommand, DestinationReport, DestinationTask } from './messages.js';

/** How long the source's last bytes may take when the channel is closed. */
const LINGER_MS = 1000;
/** Where they go, after the one read that is aimed already: not into guest RAM, in which the guest may run by then. */
const LEFT_OVER = Buffer.alloc(64 * 1024);

/** Piscina task: resolves when the owner has closed the channel. */
export default function destinationWorker(given: {
  task: DestinationTask;
  port: MessagePort;
}): Promise<void> {
  return new DestinationWorker(given.task, given.port).done;
}

class DestinationWorker {
  readonly done: Promise<void>;
  #finish: () => void = () => {};
  readonly #task: DestinationTask;
  readonly #port: MessagePort;
  readonly #peer: string;
  readonly #board: WorkBoard;
  readonly #receiver: ChannelReceiver;
  readonly #socket: Socket;
  readonly #endPatience: Cancel;
  #phase: 'connecting' | 'greeting' | 'receiving' | 'ended' = 'connecting';
  #socketError: Error | undefined;
  #closing = false;
  #failed = false;

  constructor(task: DestinationTask, port: MessagePort) {
    this.#task = task;
    this.#port = port;
    this.#peer = `${task.host}:${task.port}`;
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#board = new WorkBoard(task.channels, task.board);
    const token = tokenBytes(task.token);
    const hashes = new Uint32Array(task.hashes);
    const kernels = simdKernels(task.memory);
    this.#receiver = new ChannelReceiver(
      {
        channel: task.channel,
        token,
        migratedPages: task.migratedPages,
        sink: new RamSink(memoryBuffer(task.memory), kernels, task.hashSeed, hashes),
      },
      (bytes) => Buffer.alloc(bytes),
    );
    this.#socket = connect({
      host: task.host,
      port: task.port,
      noDelay: true,
      onread: {
        buffer: () => (this.#closing ? LEFT_OVER : this.#receiver.target()),
        callback: (lengthBytes) => this.#take(lengthBytes),
      },
    });
    this.#socket.on('connect', () => {
      this.#phase = 'greeting';
      this.#socket.write(encodeHello(task.channel, token));
    });
    this.#socket.on('error', (error) => {
      this.#socketError ??= error;
    });
    this.#socket.on('close', () => this.#gone());
    this.#endPatience = afterMs(task.connectTimeoutMs, () =>
      this.#cannotConnect(`no answer within ${task.connectTimeoutMs} ms`),
    );
    port.on('message', (command: DestinationCommand) => {
      if (command.type === 'proceed') this.#socket.resume();
      else void this.#close();
    });
  }

  /** `lengthBytes` have been read to where the receiver wanted them. False stops reading. */
  #take(lengthBytes: number): boolean {
    if (this.#failed) return false;
    if (this.#closing) return true;
    let received: number;
    try {
      received = this.#receiver.filled(lengthBytes);
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
      this.#fail(error);
      return false;
    }
    if (received === NOTHING) return true;
    if (received === HELLO) {
      this.#endPatience();
      this.#phase = 'receiving';
      this.#report({ type: 'connected' });
      return true;
    }
    this.#count();
    if (received === CLOSED) {
      this.#phase = 'ended';
      this.#report({ type: 'ended' });
    }
    if (received !== END_OF_ROUND) return true;
    const { round, roundReceived } = this.#receiver;
    this.#report({ type: 'received', round: round - 1, count: roundReceived });
    return false;
  }

  #count(): void {
    const { kind, runs, frameBytes } = this.#receiver;
    const pages = kind === FRAME_PAGES ? runs.pages : 0;
    const zeroPages = kind === FRAME_ZERO ? runs.pages : 0;
    this.#board.count(this.#task.channel, pages, zeroPages, frameBytes - pages * PAGE_BYTES);
  }

  #gone(): void {
    if (this.#phase === 'connecting') {
      this.#cannotConnect(this.#socketError === undefined ? 'it was closed' : reasonOf(this.#socketError));
    } else if (this.#phase === 'greeting') {
      this.#cannotConnect('the source refused it');
    } else if (this.#socketError !== undefined) {
      this.#fail(
        transferErrors.error('channel-broken', {
          side: 'destination',
          channel: this.#task.channel,
          peer: this.#peer,
          bytes: this.#receiver.bytesReceived,
          reason: reasonOf(this.#socketError),
        }),
      );
    } else {
      try {
        this.#receiver.ended();
      } catch (error) {
        if (!(error instanceof FerryError)) throw error;
        this.#fail(error);
      }
    }
  }

  #cannotConnect(reason: string): void {
    const { channel } = this.#task;
    this.#fail(transferErrors.error('connect-failed', { channel, peer: this.#peer, reason }));
  }

  /** Ends the channel; the owner hears of the first failure only, and of none after it asked to close. */
  #fail(error: FerryError): void {
    if (this.#failed || this.#closing) return;
    this.#failed = true;
    this.#endPatience();
    this.#report({ type: 'failed', error: error.toJSON() });
    this.#socket.destroy();
  }

  /** The source says its last word, and hears that it was heard: whoever closes first cuts it off. */
  async #close(): Promise<void> {
    this.#closing = true;
    this.#endPatience();
    const socket = this.#socket;
    if (!socket.destroyed) {
      const gone = new Promise((resolve) => socket.once('close', resolve));
      if (this.#phase === 'receiving') {
        socket.resume();
        setTimeout(() => socket.destroy(), LINGER_MS).unref();
      } else socket.destroy();
      await gone;
    }
    this.#port.close();
    this.#finish();
  }

  #report(report: DestinationReport): void {
    this.#port.postMessage(report);
  }
}
