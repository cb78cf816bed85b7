/**
 * A QMP client, for any QMP server: `ferry vmm`, QEMU.
 *
 *     const client = await QmpClient.connect('unix:/run/vm.sock');
 *     const { status } = (await client.execute('query-status')) as { status: string };
 *     const stopped = client.waitFor('STOP');
 *     await client.execute('stop');
 *     await stopped;
 */
import { connect, type Socket } from 'node:net';
import { FerryError } from '../../base/errors.js';
import { JsonStream } from '../../vmm/monitor/json-stream.js';
import type { QmpVersion } from '../../vmm/monitor/protocol.js';
import { formatSocketAddress, parseSocketAddress } from '../../vmm/sockets/address.js';
import { reasonOf } from '../../vmm/sockets/listening.js';
import { afterMs } from '../../vmm/timers.js';
import { labErrors } from '../errors.js';

export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** When it happened, by the server's clock, milliseconds since the epoch. */
  readonly timeMs: number;
}

export interface QmpConnectOptions {
  /** Longest wait for the connection and the greeting; 10 s if not given. */
  readonly timeoutMs?: number;
  /** A listener for events from the very first on: some may come with the answer that ends the negotiation. */
  readonly onEvent?: (event: QmpEvent) => void;
}

export interface QmpWaitOptions {
  /** Only an event for which this is true counts. */
  readonly where?: (data: Readonly<Record<string, unknown>>) => boolean;
  /** Longest wait; for ever if not given. */
  readonly timeoutMs?: number;
}

interface Waiting {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Longest reply taken from a server. */
const REPLY_BYTES_MAX = 64 * 1024 * 1024;

type Message = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Message {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export class QmpClient {
  /** What the server said of itself in its greeting. */
  readonly version: QmpVersion;
  /** Resolves when the connection has ended, from either side. */
  readonly closed: Promise<void>;

  readonly #socket: Socket;
  readonly #address: string;
  readonly #waiting = new Map<number, Waiting>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  #nextId = 1;
  #lost: FerryError | undefined;

  private constructor(socket: Socket, address: string, greeting: Message, inbox: Inbox) {
    this.#socket = socket;
    this.#address = address;
    const { version } = greeting.QMP as { version: QmpVersion };
    this.version = version;
    this.closed = new Promise((resolve) => {
      inbox.take(
        (message) => this.#receive(message),
        (error) => {
          this.#lose(error);
          resolve();
        },
      );
    });
  }

  /**
   * Connects and negotiates. Throws FerryErrors: `vmm/bad-address`, `lab/monitor-lost` (nobody there, or gone again),
   * `lab/monitor-no-qmp`, `lab/timeout`.
   */
  static async connect(address: string, options: QmpConnectOptions = {}): Promise<QmpClient> {
    const parsed = parseSocketAddress(address);
    const socket = connect(parsed.kind === 'unix' ? { path: parsed.path } : parsed);
    return QmpClient.over(socket, formatSocketAddress(parsed), options);
  }

  /** The same over a socket that exists (or is being connected); `address` is for messages only. */
  static async over(socket: Socket, address: string, options: QmpConnectOptions = {}): Promise<QmpClient> {
    const waitedMs = options.timeoutMs ?? 10_000;
    const inbox = new Inbox(socket, address);
    const what = `a greeting from the monitor at ${address}`;
    const cancel = afterMs(waitedMs, () => inbox.end(labErrors.error('timeout', { what, waitedMs })));
    try {
      const greeting = await inbox.next();
      if (!isObject(greeting.QMP) || !isObject(greeting.QMP.version)) {
        throw labErrors.error('monitor-no-qmp', { address, why: 'it sent no greeting' });
      }
      const client = new QmpClient(socket, address, greeting, inbox);
      if (options.onEvent !== undefined) client.onEvent(options.onEvent);
      await client.execute('qmp_capabilities');
      return client;
    } catch (error) {
      socket.destroy();
      throw error;
    } finally {
      cancel();
    }
  }

  /**
   * Runs a command and resolves with what it returns. Rejects with the server's own FerryError where it sent one
   * (`ferry vmm` does), else with `lab/monitor-refused`; with `lab/monitor-lost` if the connection ends first.
   */
  execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    if (this.#lost !== undefined) return Promise.reject(this.#lost);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { command, resolve, reject });
      this.#socket.write(
        `${JSON.stringify(args === undefined ? { execute: command, id } : { execute: command, arguments: args, id })}\n`,
      );
    });
  }

  /** Calls `listener` for every event from now on, until the returned function is called. */
  onEvent(listener: (event: QmpEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Resolves with the next event of this name. Only what comes after the call counts, so call it before the command
   * that brings the event about. Rejects with `lab/timeout` or `lab/monitor-lost`.
   */
  waitFor(name: string, options: QmpWaitOptions = {}): Promise<QmpEvent> {
    const { where, timeoutMs } = options;
    return new Promise((resolve, reject) => {
      let endPatience = (): void => {};
      const settle = (): void => {
        endPatience();
        cancel();
      };
      const cancel = this.onEvent((event) => {
        if (event.event !== name || where?.(event.data) === false) return;
        settle();
        resolve(event);
      });
      if (timeoutMs !== undefined) {
        endPatience = afterMs(timeoutMs, () => {
          settle();
          reject(labErrors.error('timeout', { what: `the event ${name}`, waitedMs: timeoutMs }));
        });
      }
      void this.closed.then(() => {
        settle();
        if (this.#lost !== undefined) reject(this.#lost);
      });
    });
  }

  /** Ends the connection; what still waits is rejected. */
  close(): void {
    this.#lose(labErrors.error('monitor-lost', { address: this.#address, why: 'it was closed here' }));
    this.#socket.destroy();
  }

  #receive(message: Message): void {
    if (typeof message.event === 'string') {
      const timestamp = isObject(message.timestamp) ? message.timestamp : {};
      const event: QmpEvent = {
        event: message.event,
        data: isObject(message.data) ? message.data : {},
        timeMs: Number(timestamp.seconds ?? 0) * 1000 + Number(timestamp.microseconds ?? 0) / 1000,
      };
      for (const listener of [...this.#listeners]) listener(event);
      return;
    }
    const waiting = typeof message.id === 'number' ? this.#waiting.get(message.id) : undefined;
    if (waiting === undefined) return;
    this.#waiting.delete(message.id as number);
    if (Object.hasOwn(message, 'return')) waiting.resolve(message.return);
    else waiting.reject(this.#refusal(waiting.command, message.error));
  }

  #refusal(command: string, error: unknown): Error {
    const body = isObject(error) ? error : {};
    if (isObject(body.data) && typeof body.data.code === 'string') return FerryError.from(body.data);
    return labErrors.error('monitor-refused', {
      command,
      class: String(body.class ?? ''),
      desc: String(body.desc ?? ''),
    });
  }

  #lose(error: FerryError): void {
    if (this.#lost !== undefined) return;
    this.#lost = error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

/** Messages from a socket, kept until somebody takes them. */
class Inbox {
  readonly #socket: Socket;
  readonly #kept: Message[] = [];
  #receive: ((message: Message) => void) | undefined;
  #end: ((error: FerryError) => void) | undefined;
  #ended: FerryError | undefined;

  constructor(socket: Socket, address: string) {
    this.#socket = socket;
    const stream = new JsonStream(
      {
        value: (value) => this.#arrived(isObject(value) ? value : {}),
        error: (text) => this.end(labErrors.error('monitor-no-qmp', { address, why: text })),
      },
      { bytesMax: REPLY_BYTES_MAX },
    );
    let why = 'the other side closed it';
    socket.on('data', (chunk) => stream.push(chunk));
    socket.on('error', (error) => {
      why = reasonOf(error);
    });
    socket.on('close', () => this.end(labErrors.error('monitor-lost', { address, why })));
  }

  /** From now on messages, and the end, go to these; what was kept goes first. */
  take(receive: (message: Message) => void, end: (error: FerryError) => void): void {
    this.#receive = receive;
    this.#end = end;
    for (const message of this.#kept.splice(0)) receive(message);
    if (this.#ended !== undefined) end(this.#ended);
  }

  /** The first message; later ones are kept for `take`. */
  next(): Promise<Message> {
    return new Promise((resolve, reject) => {
      this.take((message) => {
        this.#receive = undefined;
        resolve(message);
      }, reject);
    });
  }

  end(error: FerryError): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#socket.destroy();
    this.#end?.(error);
  }

  #arrived(message: Message): void {
    if (this.#ended !== undefined) return;
    if (this.#receive === undefined) this.#kept.push(message);
    else this.#receive(message);
  }
}
