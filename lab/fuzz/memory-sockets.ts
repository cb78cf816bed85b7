/**
 * UNIX sockets as `vmm/vfio-user` uses them, between a server and a client that are both in this thread: bytes and descriptors lie in
 * memory until they are taken, and nobody waits: who would is told at once that nothing came. Descriptors are real ones.
 */
import { closeSync, openSync } from 'node:fs';
import { invariant } from '../../base/errors.js';
import { POLLIN, type Received, type UnixSockets } from '../../vmm/vfio-user/unix-sockets.js';

interface Piece {
  readonly bytes: Uint8Array;
  taken: number;
  readonly fds: readonly number[];
}

/** One connection: the server has `fd`, the client this object. */
export class MemoryConnection {
  /** The server's descriptor, which stands for its end; it closes it. */
  readonly fd = openSync('/dev/null', 'r');
  /** Bytes that the socket takes of the server until the client has read some. */
  room = Number.POSITIVE_INFINITY;
  readonly #in: Piece[] = [];
  #out: Uint8Array[] = [];
  #outBytes = 0;
  #clientGone = false;
  #serverGone = false;
  #then: { readonly events: number; readonly call: () => void }[] = [];

  /** Whether the server has ended it. */
  get ended(): boolean {
    return this.#serverGone;
  }

  /** The client sends; the descriptors come with the first byte. */
  send(bytes: Uint8Array, fds: readonly number[] = []): void {
    if (this.#serverGone || bytes.length === 0) for (const fd of fds) closeSync(fd);
    else this.#in.push({ bytes, taken: 0, fds });
  }

  /** The client leaves; what it sent can still be read. */
  leave(): void {
    this.#clientGone = true;
  }

  /** All that the server has sent since it was last asked. */
  read(): Uint8Array {
    const all = new Uint8Array(this.#outBytes);
    let at = 0;
    for (const piece of this.#out) {
      all.set(piece, at);
      at += piece.length;
    }
    this.#out = [];
    this.#outBytes = 0;
    return all;
  }

  /** Calls those who wait for what is there now. False if nobody does. */
  turn(): boolean {
    const due = this.#then.filter(({ events }) => this.ready(events));
    this.#then = this.#then.filter((one) => !due.includes(one));
    for (const { call } of due) call();
    return due.length > 0;
  }

  /** Whether the server, at its end, finds one of `events`. */
  ready(events: number): boolean {
    if (this.#clientGone || this.#serverGone) return true;
    return (events & POLLIN) !== 0 ? this.#in.length > 0 : this.#outBytes < this.room;
  }

  receive(target: Uint8Array, at: number, length: number): Received {
    const [piece] = this.#in;
    if (piece === undefined) return { bytes: this.#clientGone || this.#serverGone ? 0 : undefined, fds: [] };
    const fds = piece.taken === 0 ? piece.fds : [];
    const part = piece.bytes.subarray(piece.taken, piece.taken + length);
    target.set(part, at);
    piece.taken += part.length;
    if (piece.taken === piece.bytes.length) this.#in.shift();
    return { bytes: part.length, fds };
  }

  take(source: Uint8Array, at: number, length: number): number | undefined {
    if (this.#clientGone || this.#serverGone) return undefined;
    const count = Math.max(0, Math.min(length, this.room - this.#outBytes));
    if (count > 0) this.#out.push(source.slice(at, at + count));
    this.#outBytes += count;
    return count;
  }

  watch(events: number, call: () => void): void {
    this.#then.push({ events, call });
  }

  shutdown(): void {
    this.#serverGone = true;
    // What nobody has read is lost, and the descriptors with it, as the kernel does it.
    for (const { taken, fds } of this.#in.splice(0)) if (taken === 0) for (const fd of fds) closeSync(fd);
  }
}

export class MemorySockets implements UnixSockets {
  readonly #connections = new Map<number, MemoryConnection>();

  /** A client has connected. */
  open(): MemoryConnection {
    const connection = new MemoryConnection();
    this.#connections.set(connection.fd, connection);
    return connection;
  }

  listen(): number {
    invariant(false, 'clients are opened here');
  }

  connect(): number {
    invariant(false, 'clients are opened here');
  }

  accept(): undefined {}

  receive(fd: number, target: Uint8Array, at: number, length: number): Received {
    return this.#of(fd).receive(target, at, length);
  }

  send(fd: number, source: Uint8Array, at: number, length: number): number | undefined {
    return this.#of(fd).take(source, at, length);
  }

  poll(fd: number, events: number): boolean {
    const connection = this.#connections.get(fd);
    // An eventfd: it always has room.
    return connection === undefined || connection.ready(events);
  }

  whenReady(fd: number, events: number, then: () => void): void {
    this.#of(fd).watch(events, then);
  }

  shutdown(fd: number): void {
    this.#of(fd).shutdown();
  }

  #of(fd: number): MemoryConnection {
    const connection = this.#connections.get(fd);
    invariant(connection !== undefined, `no connection has descriptor ${fd}`);
    return connection;
  }
}
