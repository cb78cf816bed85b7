/**
 * A data channel's wire under TLS. Who opened the migration is the TLS client here too, though it was connected to: each side
 * needs the one certificate that it has for its role. Node aims no reads under TLS in this direction, so that what comes is
 * copied once more. A peer that can't be the one of the control link is dropped before anything is said or taken.
 */
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Wire, WireUser } from '../../migration/pages/wire.js';
import { reasonOf } from '../sockets/listening.js';
import { beginTls, isBoundPeer, proofOf, type TlsBinding } from '../tls/session.js';
import { copyTo, writePieces } from './streams.js';

export class TlsWire implements Wire {
  user: WireUser;
  readonly peer: string;
  readonly #raw: Socket;
  readonly #binding: TlsBinding;
  #secure: TLSSocket | undefined;
  #reason: string | undefined;
  #isGone = false;

  /** `raw` is a socket that was accepted, or one that is about to connect. */
  constructor(raw: Socket, binding: TlsBinding, user: WireUser, peer?: string) {
    this.user = user;
    this.peer = peer ?? `${raw.remoteAddress}:${raw.remotePort}`;
    this.#raw = raw;
    this.#binding = binding;
    raw.on('error', (error) => this.#fail(reasonOf(error)));
    raw.on('close', () => this.#gone());
    if (raw.connecting) raw.once('connect', () => this.#begin());
    else this.#begin();
  }

  get writtenBytes(): number {
    return this.#secure?.bytesWritten ?? 0;
  }

  get dead(): boolean {
    return this.#raw.destroyed || this.#secure?.destroyed === true;
  }

  proof(token: Uint8Array, by: 'source' | 'destination', channel: number): Uint8Array {
    return proofOf(this.#secure!, this.#binding, token, by, channel);
  }

  write(pieces: readonly Uint8Array[], count: number, taken: () => void): void {
    writePieces(this.#secure!, pieces, count, taken);
  }

  resume(): void {
    this.#secure?.resume();
  }

  end(): void {
    this.#secure?.end();
  }

  destroy(): void {
    this.#secure?.destroy();
    this.#raw.destroy();
  }

  #begin(): void {
    beginTls(this.#raw, this.#binding.credentials, undefined, {
      failed: (reason) => {
        this.#fail(`no TLS: ${reason}`);
        this.destroy();
      },
      secure: (socket, error) => {
        this.#secure = socket;
        socket.on('error', (broken) => this.#fail(reasonOf(broken)));
        socket.on('close', () => this.#gone());
        const stranger = error?.message ?? (isBoundPeer(socket, this.#binding) ? undefined : STRANGER);
        if (stranger !== undefined) {
          this.#fail(stranger);
          this.destroy();
          return;
        }
        socket.on('end', () => this.user.ended?.());
        copyTo(this, socket);
        this.user.opened?.();
      },
    });
  }

  #fail(reason: string): void {
    this.#reason ??= reason;
  }

  #gone(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#raw.destroy();
    this.user.gone(this.#reason);
  }
}

const STRANGER = 'its certificate is not that of the control connection';
