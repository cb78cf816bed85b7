/**
 * Sockets of the monitor: listens at a UNIX or TCP address and ties each connection to a session.
 */
import { createServer, type Server, type Socket } from 'node:net';
import { formatSocketAddress, type SocketAddress } from '../sockets/address.js';
import { type Listening, listen, unlinkSocket } from '../sockets/listening.js';
import type { ClientPort, Monitor } from './monitor.js';
import { encodeError, QmpError } from './protocol.js';

/** Bytes of events that may wait for a client to read them; beyond that it is dropped. Its replies wait for it. */
const UNREAD_BYTES_MAX = 8 * 1024 * 1024;
export const CLIENTS_MAX = 64;
/** How long a client that is turned away has to read why. */
const REFUSAL_MS = 1000;
const KEEPALIVE_MS = 60_000;

export class MonitorListener {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #listening: Listening;
  /** Resolves when the first client has connected. */
  readonly firstClient: Promise<void>;

  private constructor(
    server: Server,
    listening: Listening,
    firstClient: Promise<void>,
    sockets: Set<Socket>,
  ) {
    this.#server = server;
    this.#listening = listening;
    this.firstClient = firstClient;
    this.#sockets = sockets;
  }

  /** Throws a FerryError `vmm/listen-failed` if the address can't be had. */
  static async open(monitor: Monitor, address: SocketAddress): Promise<MonitorListener> {
    const sockets = new Set<Socket>();
    let served = 0;
    let firstConnected = (): void => {};
    const firstClient = new Promise<void>((resolve) => {
      firstConnected = resolve;
    });
    // A client that has asked all it wants to ask may say so, and still be answered.
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      firstConnected();
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
      if (served === CLIENTS_MAX) {
        refuse(socket, CLIENTS_MAX);
        return;
      }
      served++;
      socket.on('close', () => served--);
      socket.setNoDelay(true);
      // The place of a client whose machine is gone becomes free again.
      socket.setKeepAlive(true, KEEPALIVE_MS);
      serveClient(monitor, socket);
    });
    const listening = await listen(server, address);
    return new MonitorListener(server, listening, firstClient, sockets);
  }

  /** Where it really listens, `tcp:HOST:PORT` or `unix:PATH`. */
  get address(): string {
    return formatSocketAddress(this.#listening.address);
  }

  /** Lets its clients go, whatever is on its way; others may come. */
  hangUp(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Stops listening, lets replies under way drain for at most `graceMs`, and removes the socket's file. */
  async close(graceMs: number): Promise<void> {
    unlinkSocket(this.#listening.address);
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.end(() => socket.destroy());
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, graceMs);
    await closed;
    clearTimeout(timer);
  }
}

/** Tells a client that there is no room for it, in the protocol's words, and lets it go. */
function refuse(socket: Socket, clientsMax: number): void {
  socket.on('error', () => socket.destroy());
  socket.end(
    encodeError(new QmpError(`This monitor serves ${clientsMax} clients at a time, and has them`), undefined),
  );
  socket.resume();
  const timer = setTimeout(() => socket.destroy(), REFUSAL_MS);
  socket.on('close', () => clearTimeout(timer));
}

/** Serves one connected client until it leaves; `onNegotiated` as for `Monitor.attach`. */
export function serveClient(monitor: Monitor, socket: Socket, onNegotiated?: () => void): void {
  const port: ClientPort = {
    send(line) {
      if (!socket.writable) return;
      socket.write(line);
      if (socket.writableLength > UNREAD_BYTES_MAX) socket.destroy();
    },
    drained: () =>
      socket.destroyed || !socket.writableNeedDrain
        ? Promise.resolve()
        : new Promise((resolve) => {
            const done = (): void => {
              socket.off('drain', done).off('close', done);
              resolve();
            };
            socket.on('drain', done).on('close', done);
          }),
    pause: () => socket.pause(),
    resume: () => socket.resume(),
    end: () => socket.end(),
  };
  const session = monitor.attach(port, onNegotiated);
  socket.on('data', (chunk) => session.push(chunk));
  socket.on('end', () => session.end());
  // A connection that breaks ends in 'close', which is all that matters here.
  socket.on('error', () => socket.destroy());
  socket.on('close', () => session.close());
}
