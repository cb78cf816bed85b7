/**
 * What stands before the doorstep of a VMM with credentials: nobody is heard who has not shown a certificate that this side
 * accepts. Whoever has none is told why, under TLS, and sent away; handshakes are few, and short.
 */
import type { Socket } from 'node:net';
import type { FerryError } from '../../base/errors.js';
import { afterMs } from '../timers.js';
import { type Credentials, subjectOf } from '../tls/credentials.js';
import { tlsErrors } from '../tls/errors.js';
import { beginTls, bindingOf, certificateOf, isNamed } from '../tls/session.js';
import type { IncomingDoor } from './incoming-door.js';
import { nameOf, socketVisitor } from './socket-visitor.js';

/** Handshakes at one time; the oldest makes room for another. */
const HANDSHAKES_MAX = 32;
const HANDSHAKE_MS = 5_000;

export interface TlsDoorOptions {
  readonly credentials: Credentials;
  /** The name of the one source that is let in; empty for any with a good certificate. */
  readonly authz: string;
  readonly turnedAway: (reason: FerryError, from: string) => void;
}

export class TlsDoor {
  readonly #options: TlsDoorOptions;
  readonly #shaking = new Set<Socket>();

  constructor(options: TlsDoorOptions) {
    this.#options = options;
  }

  /** Brings `raw` to `door` once it is known who it is. */
  admit(raw: Socket, door: Pick<IncomingDoor, 'knock'>): void {
    const { credentials, authz, turnedAway } = this.#options;
    const from = nameOf(raw);
    const over = (): void => {
      cancel();
      this.#shaking.delete(raw);
    };
    const cancel = afterMs(HANDSHAKE_MS, () => raw.destroy());
    this.#shaking.add(raw);
    if (this.#shaking.size > HANDSHAKES_MAX) {
      const [oldest] = this.#shaking;
      oldest!.destroy();
    }
    beginTls(raw, credentials, undefined, {
      failed: (reason) => {
        over();
        raw.destroy();
        turnedAway(tlsErrors.error('handshake', { peer: from, reason }), from);
      },
      secure: (socket, error) => {
        over();
        const certificate = certificateOf(socket);
        const named = authz === '' || isNamed(socket, authz);
        const subject = certificate === undefined ? 'nobody' : subjectOf(certificate);
        const refusal = error ?? (named ? undefined : tlsErrors.error('not-authorized', { subject }));
        door.knock(socketVisitor(socket, bindingOf(socket, credentials)), refusal);
      },
    });
  }
}
