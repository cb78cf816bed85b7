/**
 * What knocks at a VMM that waits for a guest. Until it has said a valid *hello* a connection costs nothing but itself: few
 * are kept, for a few seconds, with a few bytes each; it is turned away with a reason, and nobody who comes meanwhile has
 * to wait for it. A source may also just ask what came of its migration.
 */
import type { Cancel } from '../../base/clock.js';
import { type FerryError, isFerryError } from '../../base/errors.js';
import { migrationErrors } from '../../migration/errors.js';
import type { FrameKind } from '../../migration/frame.js';
import { answerInquiry } from '../../migration/inquiry.js';
import { decodeMessage, encodeMessage } from '../../migration/messages.js';
import { errorMessage } from '../../migration/peer-error.js';
import type { ControlLink } from '../../migration/ports.js';
import type { DestinationRecord } from '../../migration/record.js';
import type { TlsBinding } from '../tls/session.js';

/** Connections that have not introduced themselves yet; the oldest makes room for another. */
const STRANGERS_MAX = 32;
/** How long one may take for its first words. */
const HELLO_MS = 5_000;
/** Sources that may wait while the end of a migration before theirs is cleared away. */
const WAITING_MAX = 4;

/** What a connection may begin with. */
export const FIRST_WORDS: readonly FrameKind[] = ['hello', 'inquiry'];

/** A connection that was made, over whatever it came. */
export interface Visitor {
  readonly link: ControlLink;
  /** Names the other end. */
  readonly from: string;
  /** What ties data channels to the link; undefined without TLS. */
  readonly binding?: TlsBinding | undefined;
  /** Nothing goes over the link any more, in either direction. */
  readonly gone: boolean;
  /** Ends the connection without another word. */
  drop(): void;
}

export interface DoorstepOptions {
  /** A connection was turned away. */
  turnedAway(reason: FerryError, from: string): void;
  /** Of a migration to here, for a source that asks what came of it; undefined if there was none. */
  recordOf(migrationId: string): DestinationRecord | undefined;
  /** A source has its answer, of this migration. */
  answered?(record: DestinationRecord): void;
  /** Calls `callback` after so long; keeps no process from ending. */
  later(ms: number, callback: () => void): Cancel;
}

interface Stranger {
  turnAway(reason: FerryError): void;
}

export class Doorstep {
  readonly #options: DoorstepOptions;
  /** In the order in which they came. */
  readonly #strangers = new Set<Stranger>();
  readonly #waiting: Visitor[] = [];
  #current: Visitor | undefined;
  #take: ((source: Visitor | undefined) => void) | undefined;
  #closed = false;

  constructor(options: DoorstepOptions) {
    this.#options = options;
  }

  /** The next source that introduces itself, for a migration to live through; undefined once closed. */
  async next(): Promise<Visitor | undefined> {
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
    for (const source of this.#waiting.splice(0)) sendAway(source, reason);
    this.#take?.(undefined);
    this.#take = undefined;
  }

  /** A connection was made; `refusal`: why it is sent away before it is heard, if it is. */
  knock(visitor: Visitor, refusal?: FerryError): void {
    const { link, from } = visitor;
    const forget = (): void => {
      cancel();
      this.#strangers.delete(stranger);
    };
    const stranger: Stranger = {
      turnAway: (reason) => {
        forget();
        this.#options.turnedAway(reason, from);
        sendAway(visitor, reason);
      },
    };
    const cancel = this.#options.later(HELLO_MS, () =>
      stranger.turnAway(migrationErrors.error('no-hello', { waitedMs: HELLO_MS })),
    );
    this.#strangers.add(stranger);
    if (this.#strangers.size > STRANGERS_MAX) {
      const [oldest] = this.#strangers;
      oldest!.turnAway(migrationErrors.error('crowded', { most: STRANGERS_MAX }));
    }
    if (refusal !== undefined) {
      stranger.turnAway(refusal);
      return;
    }
    link
      .receive()
      .then((first) => {
        if (!this.#strangers.has(stranger)) return;
        if (first === undefined) throw migrationErrors.error('peer-closed', { phase: 'none' });
        // Whether it is a valid one; the flow reads a hello again.
        const message = decodeMessage(first);
        if (!FIRST_WORDS.includes(message.kind)) {
          const facts = { message: message.kind, phase: 'none', expected: FIRST_WORDS.join(' or ') };
          throw migrationErrors.error('unexpected-message', facts);
        }
        forget();
        if (message.kind === 'inquiry') this.#answer(visitor, message.migrationId);
        else this.#introduced(replaying(first, visitor), stranger);
      })
      .catch((error: unknown) => {
        if (!isFerryError(error)) throw error;
        if (this.#strangers.has(stranger)) stranger.turnAway(error);
      });
  }

  #answer({ link, drop }: Visitor, migrationId: string): void {
    const record = this.#options.recordOf(migrationId);
    const said = (): void => {
      link.close();
      if (record !== undefined) this.#options.answered?.(record);
    };
    link.send(encodeMessage(answerInquiry(record))).then(said, drop);
  }

  #introduced(source: Visitor, stranger: Stranger): void {
    const take = this.#take;
    this.#take = undefined;
    if (take !== undefined) {
      take(source);
      return;
    }
    const busy = this.#current !== undefined && !this.#current.gone;
    if (this.#closed || busy || this.#waiting.length >= WAITING_MAX) {
      stranger.turnAway(migrationErrors.error(this.#closed ? 'not-waiting' : 'busy', {}));
    } else {
      this.#waiting.push(source);
    }
  }
}

/** As the visitor, whose link gives a message again that was taken from it. */
function replaying(first: Uint8Array, visitor: Visitor): Visitor {
  const { link, from, binding, drop } = visitor;
  let message: Uint8Array | undefined = first;
  return {
    from,
    binding,
    drop,
    get gone() {
      return visitor.gone;
    },
    link: {
      send: (sent) => link.send(sent),
      receive: () => {
        if (message === undefined) return link.receive();
        const taken = message;
        message = undefined;
        return Promise.resolve(taken);
      },
      close: () => link.close(),
      cut: (reason) => link.cut?.(reason),
    },
  };
}

/**
 * Says why, for as long as that may take, and closes. It says nothing of any migration: whoever is sent away may have come to ask
 * for the verdict on one.
 */
function sendAway({ link, drop }: Visitor, reason: FerryError): void {
  link.send(encodeMessage(errorMessage(reason))).then(() => link.close(), drop);
}
