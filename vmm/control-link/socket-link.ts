/**
 * The control link over a stream socket, TCP or UNIX. Messages are frames that say their own length (bounded, see
 * `migration/frame.ts`), so nothing else is put around them. What stands in the way of a message becomes a typed
 * error: a reset, an end within a message, garbage, another version.
 */
import { connect, type Socket } from 'node:net';
import type { AbortSignalLike } from '../../base/clock.js';
import type { FerryError } from '../../base/errors.js';
import { MIB } from '../../base/units.js';
import { migrationErrors } from '../../migration/errors.js';
import { type FrameKind, FrameSplitter } from '../../migration/frame.js';
import type { ControlLink } from '../../migration/ports.js';
import { formatSocketAddress, type SocketAddress } from '../sockets/address.js';
import { reasonOf } from '../sockets/listening.js';
import { afterMs } from '../timers.js';
import type { Credentials } from '../tls/credentials.js';
import { tlsErrors } from '../tls/errors.js';
import { beginTls, bindingOf, type TlsBinding } from '../tls/session.js';
import { linkErrors } from './errors.js';

/** Bytes of whole messages that may wait for `receive` before the socket is read no further. */
const WAITING_BYTES_MAX = 16 * MIB;
/** How long a closed link may take to bring its last messages out. */
const LINGER_MS = 2_000;

interface Receiver {
  readonly resolve: (message: Uint8Array | undefined) => void;
  readonly reject: (error: Error) => void;
}

export class SocketControlLink implements ControlLink {
  /** What ties data channels to it; undefined without TLS. */
  readonly binding: TlsBinding | undefined;
  readonly #socket: Socket;
  readonly #peer: string;
  readonly #splitter: FrameSplitter;
  readonly #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #receiver: Receiver | undefined;
  /** Why nothing more can be received: an error, or `ended` in good order. */
  #end: Error | 'ended' | undefined;
  /** The error of the socket itself, after which nothing can be sent either. */
  #broken: Error | undefined;

  /** Takes over a connected socket; `peer` names the other end in errors, `first` the messages one of which must come first. */
  constructor(socket: Socket, peer: string, first?: readonly FrameKind[], binding?: TlsBinding) {
    this.binding = binding;
    this.#splitter = new FrameSplitter(first);
    this.#socket = socket;
    this.#peer = peer;
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('end', () =>
      this.#finish(
        this.#splitter.betweenFrames ? 'ended' : this.#error('it ended in the middle of a message'),
      ),
    );
    socket.on('error', (error) => this.#break(reasonOf(error), error));
    socket.on('close', () => this.#break('the connection was closed'));
  }

  /** This host's address on the link, under which the peer can reach it; undefined for a UNIX socket. */
  get localHost(): string | undefined {
    return this.#socket.localAddress;
  }

  /** Resolves when the operating system has taken the message. Rejects with `migration/link-broken`. */
  send(message: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#broken !== undefined) {
        reject(this.#broken);
        return;
      }
      this.#socket.write(message, (error) => {
        if (error === undefined || error === null) resolve();
        else reject(this.#broken ?? this.#error(reasonOf(error), error));
      });
    });
  }

  receive(): Promise<Uint8Array | undefined> {
    return new Promise((resolve, reject) => {
      const message = this.#waiting.shift();
      if (message !== undefined) {
        this.#waitingBytes -= message.length;
        if (this.#waitingBytes <= WAITING_BYTES_MAX && this.#end === undefined) this.#socket.resume();
        resolve(message);
      } else if (this.#end === 'ended') {
        resolve(undefined);
      } else if (this.#end !== undefined) {
        reject(this.#end);
      } else {
        this.#receiver = { resolve, reject };
      }
    });
  }

  /** What was sent still goes out, unless the peer takes it too slowly; what arrives is no longer looked at. */
  close(): void {
    this.#finish('ended');
    this.#socket.end();
    // Bytes that nobody reads would turn the orderly end into a reset that destroys the last messages on their way.
    this.#socket.resume();
    setTimeout(() => this.#socket.destroy(), LINGER_MS).unref();
  }

  cut(reason: string): void {
    this.#break(reason);
    this.#socket.destroy();
  }

  #take(chunk: Uint8Array): void {
    if (this.#end !== undefined) return;
    try {
      this.#splitter.push(chunk, (frame) => {
        this.#waiting.push(frame);
        this.#waitingBytes += frame.length;
      });
    } catch (error) {
      this.#deliver();
      this.#finish(error as Error);
      return;
    }
    this.#deliver();
    if (this.#waitingBytes > WAITING_BYTES_MAX) this.#socket.pause();
  }

  #deliver(): void {
    const message = this.#receiver && this.#waiting.shift();
    if (message === undefined) return;
    this.#waitingBytes -= message.length;
    this.#receiver?.resolve(message);
    this.#receiver = undefined;
  }

  #break(reason: string, cause?: unknown): void {
    this.#broken ??= this.#error(reason, cause);
    this.#finish(this.#broken);
  }

  /** Nothing more is received; what was received whole before still counts. */
  #finish(end: Error | 'ended'): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    if (end === 'ended') this.#receiver?.resolve(undefined);
    else this.#receiver?.reject(end);
    this.#receiver = undefined;
  }

  #error(reason: string, cause?: unknown): Error {
    return migrationErrors.error('link-broken', { peer: this.#peer, reason }, cause);
  }
}

const CONNECT_REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there',
  ENOENT: 'there is no such socket',
  ETIMEDOUT: 'no answer',
  EHOSTUNREACH: 'the host can not be reached',
  ENETUNREACH: 'the network can not be reached',
};

export interface ConnectOptions {
  readonly timeoutMs?: number;
  /** Under TLS, with a destination whose certificate is for `name`. */
  readonly tls?: { readonly credentials: Credentials; readonly name: string } | undefined;
}

/**
 * Connects to a destination that listens at `address`. Rejects with `control-link/connect-failed`: refused, unknown,
 * unreachable, no answer within `timeoutMs`, or because `signal` ended the attempt; with what is wrong with the destination's
 * certificate (`tls/...`), before anything was said to it.
 */
export function connectControlLink(
  address: SocketAddress,
  signal?: AbortSignalLike,
  { timeoutMs = 10_000, tls }: ConnectOptions = {},
): Promise<SocketControlLink> {
  const name = formatSocketAddress(address);
  return new Promise((resolve, reject) => {
    const socket =
      address.kind === 'unix'
        ? connect({ path: address.path })
        : connect({ host: address.host, port: address.port });
    const failWith = (error: FerryError): void => {
      forget();
      socket.destroy();
      reject(error);
    };
    const fail = (reason: string, cause?: unknown): void =>
      failWith(linkErrors.error('connect-failed', { address: name, reason }, cause));
    const refuse = (error: NodeJS.ErrnoException): void =>
      fail(CONNECT_REASONS[error.code ?? ''] ?? reasonOf(error), error);
    const giveUp = (): void => fail('it was given up before there was an answer');
    const cancel = afterMs(timeoutMs, () => fail(`no answer within ${timeoutMs} ms`));
    const forget = (): void => {
      cancel();
      signal?.removeEventListener('abort', giveUp);
    };
    if (signal?.aborted) giveUp();
    else signal?.addEventListener('abort', giveUp, { once: true });
    socket.once('error', refuse);
    socket.once('connect', () => {
      socket.off('error', refuse);
      if (tls === undefined) {
        forget();
        resolve(new SocketControlLink(socket, name));
        return;
      }
      const { credentials } = tls;
      beginTls(socket, credentials, tls.name, {
        failed: (reason) => failWith(tlsErrors.error('handshake', { peer: name, reason })),
        secure: (secured, error) => {
          if (error !== undefined) {
            secured.destroy();
            failWith(error);
            return;
          }
          forget();
          resolve(new SocketControlLink(secured, name, undefined, bindingOf(secured, credentials)));
        },
      });
    });
  });
}
