/**
 * The listening end of one data channel. Whoever connects must present a valid hello in time; the first who does gets
 * the channel, and the door is shut: a second one finds nobody listening. A stranger costs a bounded number of
 * sockets, 32 bytes each, and a bounded time, and never ends a migration.
 */
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { isFerryError } from '../../base/errors.js';
import { checkHello, encodeHello } from '../../migration/pages/hello.js';
import { channelHello } from '../../migration/pages/layouts.js';
import { reasonOf } from '../sockets/listening.js';
import { afterMs } from '../timers.js';
import { transferErrors } from './errors.js';

/** Sockets that may be without a hello at one time; a further one is closed at once. */
const UNPROVEN_MAX = 4;

export interface AcceptorSetup {
  readonly host: string;
  readonly channel: number;
  readonly token: Uint8Array;
  readonly helloTimeoutMs: number;
  /** Gets the channel's socket, its hello answered; `hello` is what was answered. */
  readonly onChannel: (socket: Socket, hello: Uint8Array) => void;
}

export class Acceptor {
  readonly #setup: AcceptorSetup;
  readonly #server: Server;
  readonly #unproven = new Set<Socket>();

  constructor(setup: AcceptorSetup) {
    this.#setup = setup;
    this.#server = createServer({ noDelay: true }, (socket) => this.#greet(socket));
  }

  /** Starts listening; resolves with the port. Rejects with `transfer/listen-failed`. */
  listen(): Promise<number> {
    const { host, channel } = this.#setup;
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

  /** Shuts the door: listens no more and drops whoever has not proven himself. */
  close(): void {
    this.#server.close();
    for (const socket of this.#unproven) socket.destroy();
    this.#unproven.clear();
  }

  #greet(socket: Socket): void {
    socket.on('error', () => {}); // 'close' follows
    if (!this.#server.listening || this.#unproven.size >= UNPROVEN_MAX) {
      socket.destroy();
      return;
    }
    this.#unproven.add(socket);
    const hello = Buffer.alloc(channelHello.size);
    let filled = 0;
    const cancel = afterMs(this.#setup.helloTimeoutMs, () => socket.destroy());
    const forget = (): void => {
      cancel();
      this.#unproven.delete(socket);
    };
    socket.once('close', forget);
    const take = (chunk: Buffer): void => {
      const surplus = filled + chunk.length > hello.length;
      filled += chunk.copy(hello, filled);
      if (!surplus && filled < hello.length) return;
      if (surplus || !this.#isOurs(hello)) {
        socket.destroy();
        return;
      }
      socket.off('data', take);
      socket.off('close', forget);
      forget();
      this.close();
      const answer = encodeHello(this.#setup.channel, this.#setup.token);
      socket.write(answer);
      this.#setup.onChannel(socket, answer);
    };
    socket.on('data', take);
  }

  #isOurs(hello: Uint8Array): boolean {
    try {
      checkHello(hello, this.#setup.channel, this.#setup.token);
      return true;
    } catch (error) {
      if (isFerryError(error)) return false;
      throw error;
    }
  }
}
