/**
 * What knocks at a VMM that waits for a guest. Until it has said a valid *hello* a connection costs nothing but itself: few
 * are kept, for a few seconds, with a few bytes each; it is turned away with a reason, and nobody who comes meanwhile has
 * to wait for it. A source may also just ask what came of its migration.
 */
import type { Socket } from 'node:net';
import { type FerryError, isFerryError } from '../../base/errors.js';
import { migrationErrors } from '../../migration/errors.js';
import { answerInquiry } from '../../migration/inquiry.js';
import { decodeMessage, encodeMessage } from '../../migration/messages.js';
import { errorMessage } from '../../migration/peer-error.js';
import type { ControlLink } from '../../migration/ports.js';
import type { DestinationRecord } from '../../migration/record.js';
import { SocketControlLink } from '../control-link/socket-link.js';
import { afterMs } from '../timers.js';

/** Connections that have not introduced themselves yet; the oldest makes room for another. */
const STRANGERS_MAX = 32;
/** How long one may take for its first words. */
const HELLO_MS = 5_000;
/** Sources that may wait while the end of a migration before theirs is cleared away. */
const WAITING_MAX = 4;

export interface DoorstepOptions {
  /** A connection was turned away. */
  turnedAway(reason: FerryError, from: string): void;
  /** Of a migration to here, for a source that asks what came of it; undefined if there was none. */
  recordOf(migrationId: string): DestinationRecord | undefined;
  /** That source has its answer. */
  answered?(): void;
  readonly helloMs?: number;
}

interface Stranger {
  turnAway(reason: FerryError): void;
}

/** A source that has said hello; the link gives that message again. */
interface Source {
  readonly link: ControlLink;
  readonly socket: Socket;
  /** Names the other end. */
  readonly from: string;
}

export class Doorstep {
  readonly #options: DoorstepOptions;
  /** In the order in which they came. */
  readonly #strangers = new Set<Stranger>();
  readonly #waiting: Source[] = [];
  #current: Source | undefined;
  #take: ((source: Source | undefined) => void) | undefined;
  #closed = false;

  constructor(options: DoorstepOptions) {
    this.#options = options;
  }

  /** The next source that introduces itself, for a migration to live through; undefined once closed. */
  async next(): Promise<Pick<Source, 'link' | 'from'> | undefined> {
    this.#current = this.#closed
      ? undefined
      : (this.#waiting.shift() ??
        (await new Promise((resolve) => {
          this.#take = resolve;
        })));
    return this.#current;
  }

  close(): void {
    this.#closed = true;
    const reason = migrationErrors.error('not-waiting', {});
    // Those who have not said yet what they want may want to ask what came of their migration.
    for (const { link, socket } of this.#waiting.splice(0)) sendAway(link, reason, () => socket.destroy());
    this.#take?.(undefined);
    this.#take = undefined;
  }

  /** A connection was made. */
  knock(socket: Socket): void {
    const from = nameOf(socket);
    const link = new SocketControlLink(socket, from, ['hello', 'inquiry']);
    const forget = (): void => {
      cancel();
      this.#strangers.delete(stranger);
    };
    const stranger: Stranger = {
      turnAway: (reason) => {
        forget();
        this.#options.turnedAway(reason, from);
        sendAway(link, reason, () => socket.destroy());
      },
    };
    const { helloMs = HELLO_MS } = this.#options;
    const cancel = afterMs(helloMs, () =>
      stranger.turnAway(migrationErrors.error('no-hello', { waitedMs: helloMs })),
    );
    this.#strangers.add(stranger);
    if (this.#strangers.size > STRANGERS_MAX) {
      const [oldest] = this.#strangers;
      oldest!.turnAway(migrationErrors.error('crowded', { most: STRANGERS_MAX }));
    }
    link
      .receive()
      .then((first) => {
        if (!this.#strangers.has(stranger)) return;
        if (first === undefined) throw migrationErrors.error('peer-closed', { phase: 'none' });
        // Whether it is a valid one; the flow reads a hello again.
        const message = decodeMessage(first);
        forget();
        if (message.kind === 'inquiry') this.#answer(link, socket, message.migrationId);
        else this.#introduced({ link: replaying(first, link), socket, from }, stranger);
      })
      .catch((error: unknown) => {
        if (!isFerryError(error)) throw error;
        if (this.#strangers.has(stranger)) stranger.turnAway(error);
      });
  }

  #answer(link: ControlLink, socket: Socket, migrationId: string): void {
    const record = this.#options.recordOf(migrationId);
    const said = (): void => {
      link.close();
      if (record !== undefined) this.#options.answered?.();
    };
    link.send(encodeMessage(answerInquiry(record))).then(said, () => socket.destroy());
  }

  #introduced(source: Source, stranger: Stranger): void {
    const take = this.#take;
    this.#take = undefined;
    if (take !== undefined) {
      take(source);
      return;
    }
    const busy = this.#current !== undefined && !this.#current.socket.destroyed;
    if (this.#closed || busy || this.#waiting.length >= WAITING_MAX) {
      stranger.turnAway(migrationErrors.error(this.#closed ? 'not-waiting' : 'busy', {}));
    } else {
      this.#waiting.push(source);
    }
  }
}

/** As the link, with a message that was taken from it already before all others. */
function replaying(first: Uint8Array, link: ControlLink): ControlLink {
  let message: Uint8Array | undefined = first;
  return {
    send: (sent) => link.send(sent),
    receive: () => {
      if (message === undefined) return link.receive();
      const taken = message;
      message = undefined;
      return Promise.resolve(taken);
    },
    close: () => link.close(),
  };
}

/**
 * Says why, for as long as that may take, and closes. It says nothing of any migration: whoever is sent away may have come to ask
 * for the verdict on one.
 */
function sendAway(link: ControlLink, reason: FerryError, broken: () => void): void {
  link.send(encodeMessage(errorMessage(reason))).then(() => link.close(), broken);
}

const nameOf = ({ remoteAddress, remotePort }: Socket): string =>
  remoteAddress === undefined ? 'a local process' : `${remoteAddress}, port ${remotePort ?? 0}`;
