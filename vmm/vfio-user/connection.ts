/**
 * One client's connection: messages cut from the stream, each with the descriptors that came with it, and replies. A client
 * that does not read its replies is not read either; one that breaks the framing is let go.
 *
 * Header and payload are read by themselves, never beyond a message: whatever pieces a client sends in, the descriptors that
 * come with a piece belong to the message that it is part of.
 */
import { closeSync } from 'node:fs';
import { MIB } from '../../base/units.js';
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

/** A client that does not answer for so long is let go. */
const ANSWER_MS_MAX = 30_000;
/** What a client may send while an answer is awaited: its posted writes, mostly. */
const POSTPONED_BYTES_MAX = 4 * MIB;
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
  /** Commands that came while an answer was awaited. */
  readonly #postponed: Message[] = [];
  #postponedBytes = 0;
  #asked = 0;
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

  /**
   * Sends a command of this end, and waits for the answer: its payload, or undefined for an error, or if the client is gone. What the
   * client asks meanwhile is carried out later, in its order. Nothing else happens in this process until then.
   */
  ask(command: number, payload: Uint8Array): Uint8Array | undefined {
    const deadline = performance.now() + ANSWER_MS_MAX;
    const left = (): number => Math.max(0, Math.ceil(deadline - performance.now()));
    const id = this.#asked;
    this.#asked = (id + 1) & 0xffff;
    this.#send(id, command, TYPE_COMMAND, 0, payload);
    while (this.#unsent.length > 0 && !this.#ended) {
      if (this.#sockets.poll(this.#fd, POLLOUT, left())) this.#flush();
      else this.end('it takes no messages');
    }
    while (!this.#ended) {
      if (!this.#receive()) {
        if (!this.#ended && !this.#sockets.poll(this.#fd, POLLIN, left())) this.end('it gives no answer');
        continue;
      }
      const message = this.#take();
      if ((message.flags & TYPE_MASK) === TYPE_REPLY) {
        closeAll(message.fds);
        this.#attend();
        if (message.id === id && message.command === command) {
          return (message.flags & FLAG_ERROR) === 0 ? message.payload : undefined;
        }
        this.end('a reply to nothing');
      } else {
        this.#postponed.push(message);
        this.#postponedBytes += header.size + message.payload.length;
        if (this.#postponedBytes > POSTPONED_BYTES_MAX) this.end('it asks too much before it answers');
      }
    }
    return undefined;
  }

  /** Lets the client go. */
  end(why?: string): void {
    if (this.#ended) return;
    this.#ended = true;
    closeAll(this.#fds);
    for (const { fds } of this.#postponed.splice(0)) closeAll(fds);
    this.#sockets.shutdown(this.#fd);
    if (this.#waits.size === 0) closeSync(this.#fd);
    this.#observer.ended(why);
  }

  #wait(): void {
    const events = this.#unsent.length > 0 ? POLLOUT : POLLIN;
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
    for (let left = MESSAGES_AT_A_TIME; left > 0 && !this.#ended && this.#unsent.length === 0; left--) {
      const message = this.#next();
      if (message === undefined) break;
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

  /** Sees to what was postponed, whether or not more comes. */
  #attend(): void {
    if (this.#postponed.length === 0 || this.#attending) return;
    this.#attending = true;
    setImmediate(() => {
      this.#attending = false;
      if (!this.#ended) this.#ready();
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

  /** The next message, if one is whole. */
  #next(): Message | undefined {
    const first = this.#postponed.shift();
    if (first !== undefined) this.#postponedBytes -= header.size + first.payload.length;
    return first ?? (this.#receive() ? this.#take() : undefined);
  }

  #send(id: number, command: number, flags: number, error: number, payload: Uint8Array): void {
    const bytes = new Uint8Array(new ArrayBuffer(header.size + payload.length));
    header.write(new DataView(bytes.buffer), 0, { id, command, size: bytes.length, flags, error });
    bytes.set(payload, header.size);
    this.#unsent.push(bytes);
    this.#flush();
  }

  #flush(): void {
    for (let next = this.#unsent[0]; next !== undefined && !this.#ended; next = this.#unsent[0]) {
      const sent = this.#sockets.send(this.#fd, next, 0, next.length);
      if (sent === undefined) this.end();
      else if (sent === next.length) this.#unsent.shift();
      else {
        this.#unsent[0] = next.slice(sent);
        if (sent === 0) return;
      }
    }
  }
}

function closeAll(fds: number[]): void {
  for (const fd of fds.splice(0)) closeSync(fd);
}
