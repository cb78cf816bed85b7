/** The replies of a guest agent, out of the bytes that come from it: whatever these are, nothing but one reply is made of them. */
import type { AgentReply } from '../../migration/ports.js';

const DELIMITER = 0xff;
const NEWLINE = 0x0a;
/** Longest line that is kept; a guest may send without end. */
const LINE_BYTES_MAX = 64 * 1024;

const malformed = (what: string): AgentReply => ({ error: { class: 'GenericError', desc: what } });

/** Passes over what was on its way before the sync `id`, and its reply; then the next line is the reply that is waited for. */
export class AgentReplies {
  readonly #id: number;
  #line: number[] = [];
  /** Bytes before a delimiter are of an earlier time. */
  #state: 'earlier' | 'sync' | 'reply' = 'earlier';

  constructor(id: number) {
    this.#id = id;
  }

  /** The reply, once all of it has come; undefined before. */
  take(bytes: Uint8Array): AgentReply | undefined {
    for (const byte of bytes) {
      if (byte === DELIMITER && this.#state !== 'reply') {
        this.#state = 'sync';
        this.#line = [];
      } else if (this.#state !== 'earlier') {
        const reply = this.#add(byte);
        if (reply !== undefined) return reply;
      }
    }
    return undefined;
  }

  #add(byte: number): AgentReply | undefined {
    if (byte !== NEWLINE) {
      if (this.#line.length === LINE_BYTES_MAX) return this.#tooLong();
      this.#line.push(byte);
      return undefined;
    }
    const value = parse(this.#line);
    this.#line = [];
    if (this.#state === 'reply') return replyOf(value);
    this.#state =
      (value as { return?: unknown } | null | undefined)?.return === this.#id ? 'reply' : 'earlier';
    return undefined;
  }

  /** Of something earlier that is nothing; of the reply it is the end. */
  #tooLong(): AgentReply | undefined {
    this.#line = [];
    if (this.#state === 'reply') return malformed(`a reply of more than ${LINE_BYTES_MAX} bytes`);
    this.#state = 'earlier';
    return undefined;
  }
}

function parse(line: readonly number[]): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(line)));
  } catch {
    return undefined;
  }
}

function replyOf(value: unknown): AgentReply {
  if (typeof value !== 'object' || value === null) return malformed('a reply that is no JSON object');
  if (Object.hasOwn(value, 'return')) return { return: (value as { return: unknown }).return };
  const { error } = value as { error?: { class?: unknown; desc?: unknown } | null };
  if (typeof error?.class !== 'string' || typeof error.desc !== 'string') {
    return malformed('a reply that neither returns anything nor tells an error');
  }
  return { error: { class: error.class, desc: error.desc.slice(0, 512) } };
}
