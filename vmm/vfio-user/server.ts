/**
 * A vfio-user device at a UNIX socket: one client at a time, the next ones wait. Between their messages the NIC has its turns,
 * all on one thread.
 */
import { closeSync } from 'node:fs';
import type { SocketAddress } from '../sockets/address.js';
import { freeSocketPath, listenFailed, reasonOf, unlinkSocket, unpublished } from '../sockets/listening.js';
import { afterMs } from '../timers.js';
import { Connection } from './connection.js';
import type { VfioUserDevice } from './device.js';
import { OrderedReplies } from './ordered-replies.js';
import { FLAG_NO_REPLY, TYPE_COMMAND, TYPE_MASK, TYPE_REPLY } from './protocol.js';
import { POLLIN, SystemError, type UnixSockets } from './unix-sockets.js';

export interface ServerObserver {
  /** A client has come. */
  came(): void;
  /** It is gone, or was let go because of `why`. */
  went(why: string | undefined): void;
  /** A message was carried out. */
  handled(): void;
}

const ACCEPT_AGAIN_MS = 1000;

export class VfioUserServer {
  readonly #sockets: UnixSockets;
  readonly #device: VfioUserDevice;
  readonly #observer: ServerObserver;
  readonly #address: SocketAddress;
  readonly #listener: number;
  #client: Connection | undefined;
  #closed = false;

  private constructor(
    sockets: UnixSockets,
    device: VfioUserDevice,
    observer: ServerObserver,
    address: SocketAddress,
    listener: number,
  ) {
    this.#sockets = sockets;
    this.#device = device;
    this.#observer = observer;
    this.#address = address;
    this.#listener = listener;
    this.#wait();
  }

  /** Throws `vmm/listen-failed`. */
  static async open(
    sockets: UnixSockets,
    device: VfioUserDevice,
    observer: ServerObserver,
    address: SocketAddress & { readonly kind: 'unix' },
  ): Promise<VfioUserServer> {
    await freeSocketPath(address);
    // Its owner's alone, as all sockets of ours.
    const mask = process.umask(0o177);
    const file = unpublished(address.path);
    try {
      const listener = sockets.listen(file.path);
      try {
        file.publish();
      } catch (error) {
        closeSync(listener);
        throw error;
      }
      return new VfioUserServer(sockets, device, observer, address, listener);
    } catch (error) {
      throw listenFailed(address, reasonOf(error), error);
    } finally {
      process.umask(mask);
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    unlinkSocket(this.#address);
    this.#client?.end();
    this.#sockets.shutdown(this.#listener);
  }

  #wait(): void {
    this.#sockets.whenReady(this.#listener, POLLIN, () => {
      if (this.#closed) closeSync(this.#listener);
      else this.#accept();
    });
  }

  #accept(): void {
    let fd: number | undefined;
    try {
      fd = this.#sockets.accept(this.#listener);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      // No descriptors are left: the client waits until there are.
      this.#observer.went(reasonOf(error));
      afterMs(ACCEPT_AGAIN_MS, () => this.#wait());
      return;
    }
    if (fd === undefined) {
      this.#wait();
      return;
    }
    this.#observer.came();
    this.#client = serveClient(this.#sockets, fd, this.#device, {
      handled: () => this.#observer.handled(),
      ended: (why) => {
        this.#client = undefined;
        this.#observer.went(why);
        if (!this.#closed) this.#wait();
      },
    });
  }
}

export interface SessionObserver {
  /** A message was carried out. */
  handled(): void;
  /** The client is gone, or was let go because of `why`; the device knows. */
  ended(why: string | undefined): void;
}

/** One client's session at `fd`, which is the connection's from now on: each command is carried out and answered, until it is gone. */
export function serveClient(
  sockets: UnixSockets,
  fd: number,
  device: VfioUserDevice,
  observer: SessionObserver,
): Connection {
  const client = new Connection(sockets, fd, {
    message: (message) => {
      const kind = message.flags & TYPE_MASK;
      if (kind !== TYPE_COMMAND) {
        client.end(kind === TYPE_REPLY ? 'a reply to nothing' : `a message of type ${kind}`);
        return;
      }
      const { payload, errno } = device.handle(message);
      if ((message.flags & FLAG_NO_REPLY) === 0) replies.reply(message, payload, errno);
      // Without a version in common there is nothing more to say.
      if (!device.negotiated) client.end('no version in common');
      observer.handled();
    },
    ended: (why) => {
      replies.end();
      device.clientGone();
      observer.ended(why);
    },
  });
  const replies = new OrderedReplies(client, (then) => device.whenWritten(then));
  device.clientCame(client);
  return client;
}
