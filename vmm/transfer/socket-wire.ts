/**
 * Data channels on plain sockets. Pages go from guest RAM to the socket without a copy (one gathering write a frame), and
 * come from it straight into guest RAM where the socket is one that connected.
 */
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { transferErrors } from '../../migration/pages/transfer-errors.js';
import type { Listener, Wire, WireUser } from '../../migration/pages/wire.js';
import { reasonOf } from '../sockets/listening.js';
import type { TlsBinding } from '../tls/session.js';
import { copyTo, writePieces } from './streams.js';
import { TlsWire } from './tls-wire.js';

export class SocketWire implements Wire {
  user: WireUser;
  readonly peer: string;
  readonly #socket: Socket;
  #error: Error | undefined;

  /** What the socket reads is brought to the wire by who made it. */
  constructor(socket: Socket, peer: string, user: WireUser) {
    this.user = user;
    this.peer = peer;
    this.#socket = socket;
    socket.on('error', (error) => {
      this.#error ??= error;
    });
    socket.on('end', () => this.user.ended?.());
    socket.on('close', () => this.user.gone(this.#error && reasonOf(this.#error)));
  }

  get writtenBytes(): number {
    return this.#socket.bytesWritten;
  }

  proof(token: Uint8Array): Uint8Array {
    return token;
  }

  get dead(): boolean {
    return this.#socket.destroyed;
  }

  write(pieces: readonly Uint8Array[], count: number, taken: () => void): void {
    writePieces(this.#socket, pieces, count, taken);
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

/** Begins to connect; without TLS reads are aimed at what `user` wants. */
export function connectWire(host: string, port: number, user: WireUser, tls?: TlsBinding | undefined): Wire {
  if (tls !== undefined)
    return new TlsWire(connect({ host, port, noDelay: true }), tls, user, `${host}:${port}`);
  // The first read is aimed before there is a wire.
  let wire: SocketWire | undefined;
  const socket = connect({
    host,
    port,
    noDelay: true,
    onread: {
      buffer: () => (wire?.user ?? user).target(),
      callback: (lengthBytes) => made.user.filled(lengthBytes),
    },
  });
  const made = new SocketWire(socket, `${host}:${port}`, user);
  wire = made;
  socket.on('connect', () => made.user.opened?.());
  return made;
}

/** Until somebody is given the wire of a socket that was accepted. */
const NOBODY: WireUser = { target: () => new Uint8Array(1), filled: () => false, gone: () => {} };

/** Of a socket that was accepted. */
function acceptedWire(socket: Socket): Wire {
  const wire = new SocketWire(socket, `${socket.remoteAddress}:${socket.remotePort}`, NOBODY);
  copyTo(wire, socket);
  return wire;
}

/** Listens on a port of its own for who comes to one channel. */
export class SocketListener implements Listener {
  readonly #server: Server;
  readonly #host: string;
  readonly #channel: number;

  constructor(host: string, channel: number, knock: (wire: Wire) => void, tls?: TlsBinding | undefined) {
    this.#host = host;
    this.#channel = channel;
    this.#server = createServer({ noDelay: true }, (socket) =>
      knock(tls === undefined ? acceptedWire(socket) : new TlsWire(socket, tls, NOBODY)),
    );
  }

  listen(): Promise<number> {
    const [host, channel] = [this.#host, this.#channel];
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error) => {
        reject(transferErrors.error('listen-failed', { channel, host, reason: reasonOf(error) }, error));
      });
      this.#server.listen({ host, port: 0 }, () => {
        // A failing accept later on (no descriptors left) is the problem of who tried to connect.
        this.#server.removeAllListeners('error').on('error', () => {});
        resolve((this.#server.address() as AddressInfo).port);
      });
    });
  }

  close(): void {
    this.#server.close();
  }
}
