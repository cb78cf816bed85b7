/**
 * One client's connection: messages cut from the stream, each with the descriptors that came with it, and replies. A client
 * that does not read its replies is not read either; one that breaks the framing is let go.
 *
 * Header and payload are read by themselves, never beyond a message: whatever pieces a client sends in, the descriptors that
 * come with a piece belong to the message that it is part of.
 */
import { closeSync } from 'node:fs';
import type { Cancel } from '../../base/clock.js';
import { MIB } from '../../base/units.js';
import { afterMs } from '../timers.js';
import { FLAG_ERROR, header, MESSAGE_BYTES_MAX, TYPE_COMMAND, TYPE_MASK, TYPE_REPLY } from './protocol.js';
import { POLLIN, POLLOUT, type UnixSockets } from './unix-sockets.js';

export interface Message {
  readonly id: number;
  readonly command: number;
  readonly flags: number;
  /** What follows the header. */
  readonly payload: Uint8Array;
  readonly view: DataView;
  /** Closed when the message has been handled, but for those that were taken out. */
  readonly fds: number[];
}

export interface ConnectionObserver {
  message(message: Message): void;
  /** The client is gone, or was let go because of `why`; nothing comes any more. */
  ended(why: string | undefined): void;
}

/** A command of this end that is not answered. */
interface Asked {
  readonly command: number;
  /** By `performance.now()`. */
  readonly until: number;
  readonly then: (answer: Uint8Array | undefined) => void;
}

/** A client that does not answer for so long is let go. */
const ANSWER_MS_MAX = 30_000;
/** What a client may send while its commands wait for its answers: its posted writes, mostly. */
const COMMAND_BYTES_MAX = 4 * MIB;
/** Messages in a row before others have their turn. */
const MESSAGES_AT_A_TIME = 64;

export class Connection {
  readonly #sockets: UnixSockets;
  readonly #fd: number;
  readonly #observer: ConnectionObserver;
  readonly #bytes = new Uint8Array(new ArrayBuffer(MESSAGE_BYTES_MAX));
  readonly #view = new DataView(this.#bytes.buffer);
  /** Of the message under way; its length is that of a header until it is known. */
  #have = 0;
  #length: number = header.size;
  #fds: number[] = [];
  /** Replies that the socket had no room for. */
  readonly #unsent: Uint8Array[] = [];
  /** Bytes of the first of them that went. */
  #unsentAt = 0;
  /** Commands that were not carried out yet. */
  readonly #commands: Message[] = [];
  #commandBytes = 0;
  #held = false;
  /** What this end has asked, by the message's id; in the order in which it did. */
  readonly #asked = new Map<number, Asked>();
  #id = 0;
  #answers = 0;
  #cancelGuard: Cancel | undefined;
  #ended = false;
  /** Events that are waited for at the socket; the last of them closes it, if it ended meanwhile. */
  readonly #waits = new Set<number>();
  #attending = false;

  /** `fd` is the connection's from now on. */
  constructor(sockets: UnixSockets, fd: number, observer: ConnectionObserver) {
    this.#sockets = sockets;
    this.#fd = fd;
    this.#observer = observer;
    this.#wait();
  }

  /** Sends a reply: `payload` behind a header, with `errno` if it is not 0. */
  reply(to: Pick<Message, 'id' | 'command'>, payload: Uint8Array, errno = 0): void {
    this.#send(to.id, to.command, TYPE_REPLY | (errno === 0 ? 0 : FLAG_ERROR), errno, payload);
  }

  /** Sends a command of this end; `then` has the payload of the answer, undefined for an error. Not called once the client is gone. */
  request(command: number, payload: Uint8Array, then: (answer: Uint8Array | undefined) => void): void {
    if (this.#ended) return;
    do this.#id = (this.#id + 1) & 0xffff;
    while (this.#asked.has(this.#id));
    this.#asked.set(this.#id, { command, until: performance.now() + ANSWER_MS_MAX, then });
    this.#send(this.#id, command, TYPE_COMMAND, 0, payload);
    this.#guard();
  }

  /** Answers that the client has given. */
  get answers(): number {
    return this.#answers;
  }

  /** Takes in what has come: answers are told to who asked, commands wait for their turn. */
  takeIn(): void {
    for (let left = MESSAGES_AT_A_TIME; left > 0 && !this.#ended && this.#reads && this.#receive(); left--) {
      this.#sort(this.#take());
      // More when some of these have been carried out.
      if (this.#commandBytes > COMMAND_BYTES_MAX) break;
    }
  }

  /** Commands wait, in their order, until `goOn`. */
  hold(): void {
    this.#held = true;
  }

  goOn(): void {
    this.#held = false;
    this.#attend();
  }

  /** Lets the client go. */
  end(why?: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#cancelGuard?.();
    this.#asked.clear();
    closeAll(this.#fds);
    for (const { fds } of this.#commands.splice(0)) closeAll(fds);
    this.#sockets.shutdown(this.#fd);
    if (this.#waits.size === 0) closeSync(this.#fd);
    this.#observer.ended(why);
  }

  /** Waits for room for what is unsent; and for more to come, unless that would only pile up. */
  #wait(): void {
    if (this.#unsent.length > 0) this.#waitFor(POLLOUT);
    if (this.#reads) this.#waitFor(POLLIN);
  }

  /** Who does not read its replies is not read either, but for answers: it may have to be rid of these before it reads. */
  get #reads(): boolean {
    return this.#unsent.length === 0 || this.#asked.size > 0;
  }

  #waitFor(events: number): void {
    if (this.#waits.has(events)) return;
    this.#waits.add(events);
    this.#sockets.whenReady(this.#fd, events, () => {
      this.#waits.delete(events);
      if (!this.#ended) this.#ready();
      else if (this.#waits.size === 0) closeSync(this.#fd);
    });
  }

  #ready(): void {
    this.#flush();
    this.takeIn();
    for (let left = MESSAGES_AT_A_TIME; left > 0 && this.#mayCarryOut; left--) {
      const message = this.#commands.shift()!;
      this.#commandBytes -= header.size + message.payload.length;
      try {
        this.#observer.message(message);
      } finally {
        closeAll(message.fds);
      }
    }
    if (this.#ended) return;
    this.#wait();
    this.#attend();
  }

  get #mayCarryOut(): boolean {
    return !this.#ended && !this.#held && this.#unsent.length === 0 && this.#commands.length > 0;
  }

  /** An answer is for who asked; a command waits for its turn. */
  #sort(message: Message): void {
    if ((message.flags & TYPE_MASK) === TYPE_REPLY) {
      closeAll(message.fds);
      const asked = this.#asked.get(message.id);
      if (asked === undefined || asked.command !== message.command) {
        this.end('a reply to nothing');
        return;
      }
      this.#asked.delete(message.id);
      this.#answers++;
      asked.then((message.flags & FLAG_ERROR) === 0 ? message.payload : undefined);
      return;
    }
    this.#commands.push(message);
    this.#commandBytes += header.size + message.payload.length;
    const waits = this.#held || this.#unsent.length > 0;
    if (waits && this.#commandBytes > COMMAND_BYTES_MAX) this.end('it asks too much before it answers');
  }

  /** Sees to commands that wait, whether or not more comes. */
  #attend(): void {
    if (!this.#mayCarryOut || this.#attending) return;
    this.#attending = true;
    setImmediate(() => {
      this.#attending = false;
      if (!this.#ended) this.#ready();
    });
  }

  /** Looks after the answer that is awaited longest. */
  #guard(): void {
    if (this.#ended || this.#cancelGuard !== undefined) return;
    const oldest = this.#asked.values().next().value;
    if (oldest === undefined) return;
    this.#cancelGuard = afterMs(Math.max(0, oldest.until - performance.now()), () => {
      this.#cancelGuard = undefined;
      // This end may have been busy, and not the client.
      this.takeIn();
      if (this.#asked.get(this.#asked.keys().next().value ?? -1) === oldest) this.end('it gives no answer');
      else this.#guard();
    });
  }

  /** True when the message under way is whole. */
  #receive(): boolean {
    while (this.#have < this.#length) {
      const { bytes, fds } = this.#sockets.receive(
        this.#fd,
        this.#bytes,
        this.#have,
        this.#length - this.#have,
      );
      if (bytes === undefined) return false;
      if (bytes === 0) {
        this.end();
        return false;
      }
      this.#fds.push(...fds);
      this.#have += bytes;
      if (this.#have === header.size && this.#length === header.size) {
        this.#length = this.#view.getUint32(header.offset.size, true);
        if (this.#length < header.size || this.#length > MESSAGE_BYTES_MAX) {
          this.end(`a message of ${this.#length} bytes`);
          return false;
        }
      }
    }
    return true;
  }

  /** The message that is whole, out of the way of the next one. */
  #take(): Message {
    const { id, command, flags } = header.read(this.#view, 0);
    const payload = this.#bytes.slice(header.size, this.#length);
    const fds = this.#fds;
    this.#have = 0;
    this.#length = header.size;
    this.#fds = [];
    return { id, command, flags, payload, view: new DataView(payload.buffer), fds };
  }

  #send(id: number, command: number, flags: number, error: number, payload: Uint8Array): void {
    if (this.#ended) return;
    const bytes = new Uint8Array(new ArrayBuffer(header.size + payload.length));
    header.write(new DataView(bytes.buffer), 0, { id, command, size: bytes.length, flags, error });
    bytes.set(payload, header.size);
    this.#unsent.push(bytes);
    this.#flush();
    if (!this.#ended) this.#wait();
  }

  #flush(): void {
    for (let next = this.#unsent[0]; next !== undefined && !this.#ended; next = this.#unsent[0]) {
      const sent = this.#sockets.send(this.#fd, next, this.#unsentAt, next.length - this.#unsentAt);
      if (sent === undefined) {
        this.end();
        return;
      }
      if (sent === 0) return;
      this.#unsentAt += sent;
      if (this.#unsentAt < next.length) continue;
      this.#unsent.shift();
      this.#unsentAt = 0;
    }
  }
}

function closeAll(fds: number[]): void {
  for (const fd of fds.splice(0)) closeSync(fd);
}
