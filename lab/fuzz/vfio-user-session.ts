/** The client's side of a session: what it sends and in which pieces, how it answers the device, and whether each command has its reply. */
import { closeSync } from 'node:fs';
import type { SeededRandom } from '../../base/random.js';
import {
  COMMAND,
  dmaAccess,
  dmaMap,
  FLAG_ERROR,
  FLAG_NO_REPLY,
  header,
  MAP_WRITE,
  MESSAGE_BYTES_MAX,
  TYPE_COMMAND,
  TYPE_MASK,
  TYPE_REPLY,
} from '../../vmm/vfio-user/protocol.js';
import type { MemoryConnection } from './memory-sockets.js';
import { joined } from './mutate.js';
import { ANSWER } from './vfio-user-client.js';

const PAGE = 4096;
/** What a device may ask for in one message. */
const ASKED_BYTES_MAX = 128 * 1024;
const NOTHING = new Uint8Array(0);
const EFAULT = 14;

interface Called {
  readonly id: number;
  readonly command: number;
}

interface Reply extends Called {
  readonly errno: number;
  readonly payload: Uint8Array;
}

interface Range {
  readonly from: number;
  readonly to: number;
}

export class TestClient {
  readonly connection: MemoryConnection;
  /** An `ANSWER`. */
  answers: number = ANSWER.right;
  problem: string | undefined;
  /** Commands of the device. */
  asks = 0;
  taken = 0;
  refused = 0;
  /** Pages of the file that were mapped for writing, or may have been. */
  readonly writable = new Set<number>();
  /** Addresses that only this side reaches. */
  readonly #ranges: Range[] = [];
  readonly #memory: Uint8Array;
  /** What is still to be sent of a message, in pieces. */
  #pieces: { readonly bytes: Uint8Array; readonly fds: readonly number[] }[] = [];
  /** Bytes that went, behind the last whole message; undefined where no message can begin any more. */
  #sent: Uint8Array | undefined = NOTHING;
  /** Of bytes that came, behind the last whole message. */
  #came: Uint8Array = NOTHING;
  /** Commands that must have a reply, in their order. */
  readonly #called: Called[] = [];
  readonly #replies: Reply[] = [];
  #withMemory = false;
  #id = 0x8000;
  /** The device was left without an answer. */
  #silent = false;

  constructor(connection: MemoryConnection, memory: Uint8Array) {
    this.connection = connection;
    this.#memory = memory;
  }

  /** Bytes with descriptors, cut in pieces; `memory`: the first of them is of the file. */
  send(bytes: Uint8Array, fds: readonly number[], memory: boolean, random: SeededRandom): void {
    this.#withMemory = memory;
    let given = fds;
    for (let at = 0; at < bytes.length; ) {
      const length = random.chance(0.7) ? bytes.length - at : 1 + random.below(24);
      this.#pieces.push({ bytes: bytes.subarray(at, at + length), fds: given });
      given = [];
      at += length;
    }
    // Of a message without a byte.
    for (const fd of given) closeSync(fd);
  }

  /** A command; what is returned tells its reply when it has come. */
  ask(command: number, payload: Uint8Array): () => Reply {
    const id = this.#id++;
    this.#say({ id, command }, payload);
    return () =>
      this.#replies.find((reply) => reply.id === id) ?? { id, command, errno: -1, payload: NOTHING };
  }

  /** Sends one piece more, and lets the server have its turn; takes what it says. False if nothing happened. */
  deliver(): boolean {
    const more = this.#push();
    const turned = this.connection.turn();
    this.#hear();
    return more || turned;
  }

  /** It has memory that the device has to ask for. */
  get isAsked(): boolean {
    return this.#ranges.length > 0;
  }

  /** Each command that came whole has one reply, in their order, for as long as the server serves this client. */
  judgeReplies(): void {
    this.#hear();
    const ended = this.connection.ended;
    this.#replies.forEach(({ id, command }, i) => {
      const should = this.#called[i];
      if (should?.id !== id || should.command !== command)
        this.#wrong(`reply ${i} is to ${command}, and not to ${should?.command ?? 'nothing'}`);
    });
    // Replies may wait for an answer that never comes.
    if (!ended && !this.#silent && this.#replies.length < this.#called.length)
      this.#wrong(`${this.#replies.length} replies to ${this.#called.length} commands`);
    if (!ended && this.#sent === undefined) this.#wrong('a message that is none does not end the connection');
  }

  #wrong(what: string): void {
    this.problem ??= what;
  }

  #push(): boolean {
    const piece = this.#pieces.shift();
    if (piece === undefined) return false;
    this.connection.send(piece.bytes, piece.fds);
    this.#model(piece.bytes);
    return true;
  }

  /** Keeps account of what the server must make of the bytes that went to it. */
  #model(bytes: Uint8Array): void {
    if (this.#sent === undefined) return;
    let all = joined([this.#sent, bytes]);
    while (all.length >= header.size) {
      const view = new DataView(all.buffer, all.byteOffset);
      const { id, command, size, flags } = header.read(view, 0);
      if (size < header.size || size > MESSAGE_BYTES_MAX) {
        this.#sent = undefined;
        return;
      }
      if (all.length < size) break;
      const type = flags & TYPE_MASK;
      if (type === TYPE_COMMAND) {
        if ((flags & FLAG_NO_REPLY) === 0) this.#called.push({ id, command });
        if (command === COMMAND.DMA_MAP) this.#mapped(all.subarray(header.size, size));
      } else if (type !== TYPE_REPLY) {
        this.#sent = undefined;
        return;
      }
      all = all.slice(size);
    }
    this.#sent = all;
  }

  #mapped(payload: Uint8Array): void {
    if (payload.length < dmaMap.size) return;
    const { flags, offset, address, size } = dmaMap.read(new DataView(payload.buffer, payload.byteOffset), 0);
    if (!this.#withMemory) this.#ranges.push({ from: address, to: address + size });
    else if ((flags & MAP_WRITE) !== 0) {
      for (let at = offset; at < Math.min(offset + size, this.#memory.length); at += PAGE)
        this.writable.add(Math.floor(at / PAGE));
    }
  }

  #hear(): void {
    // One that is deaf reads nothing.
    if (this.connection.room !== Number.POSITIVE_INFINITY) return;
    let all = joined([this.#came, this.connection.read()]);
    while (all.length >= header.size) {
      const view = new DataView(all.buffer, all.byteOffset);
      const { id, command, size, flags, error } = header.read(view, 0);
      if (size < header.size || size > MESSAGE_BYTES_MAX + header.size) {
        this.#wrong(`a message of ${size} bytes comes`);
        return;
      }
      if (all.length < size) break;
      const payload = all.slice(header.size, size);
      all = all.slice(size);
      if ((flags & TYPE_MASK) === TYPE_REPLY) {
        const failed = (flags & FLAG_ERROR) !== 0;
        if (failed) this.refused++;
        else this.taken++;
        this.#replies.push({ id, command, errno: failed ? error : 0, payload });
      } else this.#asked(id, command, payload);
    }
    this.#came = all;
  }

  /** The device wants something of this side's memory. */
  #asked(id: number, command: number, payload: Uint8Array): void {
    this.asks++;
    const { address, count } = dmaAccess.read(new DataView(payload.buffer), 0);
    if (command !== COMMAND.DMA_READ && command !== COMMAND.DMA_WRITE)
      this.#wrong(`the device sends command ${command}`);
    else if (count === 0 || count > ASKED_BYTES_MAX) this.#wrong(`the device asks for ${count} bytes`);
    else if (!this.#isMapped(address, address + count))
      this.#wrong(`the device asks for ${count} bytes at 0x${address.toString(16)}, which were not mapped`);
    this.#answer(id, command, payload, address, count);
  }

  /** Whether ranges that lie side by side, or one, have all of it. */
  #isMapped(from: number, to: number): boolean {
    let reached = from;
    for (let found = true; found && reached < to; ) {
      found = false;
      for (const range of this.#ranges) {
        if (range.from > reached || range.to <= reached) continue;
        reached = range.to;
        found = true;
      }
    }
    return reached >= to;
  }

  #answer(id: number, command: number, asked: Uint8Array, address: number, count: number): void {
    const { answers } = this;
    if (answers === ANSWER.never) {
      this.#silent = true;
      return;
    }
    if (answers === ANSWER.leaves) {
      this.connection.leave();
      return;
    }
    if (answers === ANSWER.late) this.#say({ id: this.#id++, command: COMMAND.GET_INFO }, NOTHING);
    const error = answers === ANSWER.error;
    const at = address % (this.#memory.length / 2);
    const data = command === COMMAND.DMA_READ ? this.#memory.slice(at, at + count) : NOTHING;
    const whole = joined([asked.slice(0, dmaAccess.size), data]);
    const payload = error ? NOTHING : answers === ANSWER.short ? whole.subarray(0, whole.length >> 1) : whole;
    const flags = TYPE_REPLY | (error ? FLAG_ERROR : 0);
    this.#say(
      { id: answers === ANSWER.another ? id ^ 1 : id, command, flags, error: error ? EFAULT : 0 },
      payload,
    );
  }

  /** A message of its own, behind what is still to be sent. */
  #say(
    head: { readonly id: number; readonly command: number; readonly flags?: number; readonly error?: number },
    payload: Uint8Array,
  ): void {
    const size = header.size + payload.length;
    this.#pieces.push({ bytes: joined([header.encode({ ...head, size }), payload]), fds: [] });
  }
}
