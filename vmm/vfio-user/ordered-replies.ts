/**
 * Replies in the order of the bus: a guest that has read a register, or whose VMM was answered, is to find in memory what the device
 * wrote before. Where memory is reached by messages, a reply waits for the client's answers to these; and commands wait for the reply.
 *
 * The protocol has a client answer while it waits. QEMU does not: its processor waits for a register with the lock held that
 * everything else needs. Such a client would wait for ever, so its reply goes when it has answered nothing for a while, and from then on
 * at once: it can't be helped to see things in order.
 */
import type { Cancel } from '../../base/clock.js';
import { afterMs } from '../timers.js';
import type { Connection, Message } from './connection.js';

/** Well below the 5 s after which QEMU gives an access up. */
const HOLD_MS = 1000;

type Client = Pick<Connection, 'reply' | 'hold' | 'goOn' | 'takeIn' | 'answers'>;

export class OrderedReplies {
  readonly #client: Client;
  readonly #whenWritten: (then: () => void) => void;
  /** The client answers while it waits, as far as is known. */
  #patient = true;
  #cancel: Cancel | undefined;

  readonly #after: (ms: number, callback: () => void) => Cancel;

  /** `whenWritten` calls back when the client has all that was written to its memory so far. */
  constructor(client: Client, whenWritten: (then: () => void) => void, after = afterMs) {
    this.#client = client;
    this.#whenWritten = whenWritten;
    this.#after = after;
  }

  reply(to: Message, payload: Uint8Array, errno: number): void {
    if (!this.#patient) {
      this.#client.reply(to, payload, errno);
      return;
    }
    let replied = false;
    let held = false;
    const goes = (): void => {
      if (replied) return;
      replied = true;
      this.#cancel?.();
      this.#client.reply(to, payload, errno);
      if (held) this.#client.goOn();
    };
    this.#whenWritten(goes);
    if (replied) return;
    held = true;
    this.#client.hold();
    this.#watch(goes, () => replied);
  }

  /** The client is gone. */
  end(): void {
    this.#cancel?.();
  }

  #watch(goes: () => void, gone: () => boolean): void {
    const { answers } = this.#client;
    this.#cancel = this.#after(HOLD_MS, () => {
      // This end may have been busy, and not the client.
      this.#client.takeIn();
      if (gone()) return;
      if (this.#client.answers > answers) {
        this.#watch(goes, gone);
        return;
      }
      this.#patient = false;
      goes();
    });
  }
}
