/**
 * A socket at which a client of the guest's agent connects, as to a character device of QEMU's: bytes go to a serial port of the
 * guest and come from it, as they are. One client at a time, for the port has no connections; what the guest sends to nobody is
 * dropped. Neither side's bytes pile up: who sends faster than the other takes has to wait.
 */
import { createServer, type Server, type Socket } from 'node:net';
import type { Cancel } from '../../base/clock.js';
import type { SerialLine } from '../agent/serial-line.js';
import { formatSocketAddress, type SocketAddress } from '../sockets/address.js';
import { type Listening, listen, unlinkSocket } from '../sockets/listening.js';

export class AgentListener {
  readonly #server: Server;
  /** The port of the guest that is here. */
  #line: SerialLine | undefined;
  #forget: Cancel = () => undefined;
  #listening: Listening | undefined;
  #client: Socket | undefined;
  /** From the client, and not taken by the port yet. */
  #waiting = new Uint8Array(0);
  /** A look at the port is under way, or wanted behind that. */
  #turn: 'none' | 'running' | 'again' = 'none';

  private constructor() {
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  /** Throws `vmm/listen-failed`. Clients may come before there is a guest, and wait. */
  static async open(address: SocketAddress): Promise<AgentListener> {
    const listener = new AgentListener();
    listener.#listening = await listen(listener.#server, address);
    return listener;
  }

  /** Where it really listens. */
  get address(): string {
    return formatSocketAddress(this.#listening!.address);
  }

  /** A guest is here, and this is its port; or none is, and its client is hung up on. */
  serve(line: SerialLine | undefined): void {
    this.#forget();
    if (line === undefined && this.#line !== undefined) this.#client?.destroy();
    this.#line = line;
    this.#forget = line?.onChange(() => this.#look()) ?? (() => undefined);
    this.#look();
  }

  /** The port has something for the client, or room; or the client for the port. */
  #look(): void {
    if (this.#turn !== 'none') {
      this.#turn = 'again';
      return;
    }
    this.#turn = 'running';
    void this.#exchange()
      // A machine that is ended answers nothing any more.
      .catch(() => undefined)
      .finally(() => {
        const again = this.#turn === 'again';
        this.#turn = 'none';
        if (again) this.#look();
      });
  }

  /** Lets its client go, whatever is on its way; another may come. */
  hangUp(): void {
    this.#client?.destroy();
  }

  close(): void {
    if (this.#listening !== undefined) unlinkSocket(this.#listening.address);
    this.#server.close();
    this.serve(undefined);
    this.#client?.destroy();
  }

  #accept(socket: Socket): void {
    socket.on('error', () => socket.destroy());
    // One that has said all that it wants to may still hear the answer; but it has no right to stay.
    if (this.#client?.readableEnded === false) {
      socket.destroy();
      return;
    }
    this.#client?.destroy();
    this.#client = socket;
    this.#waiting = new Uint8Array(0);
    socket.on('data', (chunk) => {
      // Until the port has taken it all.
      socket.pause();
      this.#waiting = Uint8Array.from(chunk);
      this.#look();
    });
    socket.on('drain', () => this.#look());
    socket.on('close', () => {
      if (this.#client !== socket) return;
      this.#client = undefined;
      this.#look();
    });
    this.#look();
  }

  async #exchange(): Promise<void> {
    const line = this.#line;
    if (line === undefined) return;
    const client = this.#client;
    if (client?.writableNeedDrain !== true) {
      const bytes = await line.read();
      // To who is there now: the guest has not heard of a client that came meanwhile.
      if (bytes.length > 0 && this.#client === client && client?.writable === true) client.write(bytes);
    }
    if (client === undefined || this.#client !== client || this.#waiting.length === 0) return;
    const offered = this.#waiting;
    const taken = await line.write(offered);
    if (this.#client !== client) return;
    this.#waiting = offered.subarray(taken);
    if (this.#waiting.length === 0) client.resume();
  }
}
