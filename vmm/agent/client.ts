/**
 * The VMM's own client of the guest's agent, on a port of its own. A serial line has no connection: what is on its way may be
 * of an earlier time, before the guest came here even. So each request has a sync in front of it, and what comes before the
 * reply to that is passed over.
 */
import type { AgentReply, GuestAgent } from '../../migration/ports.js';
import { AgentReplies } from './replies.js';
import type { SerialLine } from './serial-line.js';

/** Ends what the agent may have read of an earlier request. */
const RESET = 0xff;

export class AgentClient implements GuestAgent {
  readonly #line: SerialLine;
  /** Numbers that no earlier client of this guest has used, in this VMM or another. */
  readonly #newId: () => number;
  #lastId = 0;
  #turn: Promise<unknown> = Promise.resolve();

  /** `newId`: a number that has never been returned before, if only it grows with time. */
  constructor(line: SerialLine, newId: () => number) {
    this.#line = line;
    this.#newId = newId;
  }

  listens(): Promise<boolean> {
    return this.#line.isOpen();
  }

  execute(command: string, args: object, givenUp: Promise<void>): Promise<AgentReply | undefined> {
    const result = this.#turn.then(() => this.#exchange(command, args, givenUp));
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #exchange(command: string, args: object, givenUp: Promise<void>): Promise<AgentReply | undefined> {
    this.#lastId = Math.max(this.#lastId + 1, this.#newId());
    const replies = new AgentReplies(this.#lastId);
    let unsent = requestOf(this.#lastId, command, args);
    let over = false;
    const end = givenUp.then(() => {
      over = true;
    });
    let changed: () => void = () => undefined;
    const cancel = this.#line.onChange(() => changed());
    try {
      for (;;) {
        // What changes from here on is looked at.
        const change = new Promise<void>((resolve) => {
          changed = resolve;
        });
        if (unsent.length > 0) unsent = unsent.subarray(await this.#line.write(unsent));
        const reply = replies.take(await this.#line.read());
        if (reply !== undefined) return reply;
        await Promise.race([change, end]);
        if (over) return undefined;
      }
    } finally {
      cancel();
    }
  }
}

function requestOf(id: number, command: string, args: object): Uint8Array {
  const sync = { execute: 'guest-sync-delimited', arguments: { id } };
  const text = `${JSON.stringify(sync)}\n${JSON.stringify({ execute: command, arguments: args })}\n`;
  return Uint8Array.of(RESET, ...new TextEncoder().encode(text));
}
