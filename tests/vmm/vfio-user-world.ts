/** What a vfio-user device stands between: its process, and the other end of its cable. */
import { readdirSync, readSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { expect } from 'vitest';
import { FrameStreamEncoder, FrameStreamParser } from '../../devices/ethernet/stream-framing.js';
import { type Started, startFerry } from '../processes.js';
import { within } from '../waiting.js';

/** Interrupts that were signalled on an eventfd since it was last asked. */
export function signalledOn(eventfd: number): number {
  const count = new BigUint64Array(1);
  try {
    readSync(eventfd, count);
  } catch {
    return 0;
  }
  return Number(count[0]);
}

/** The other end of the cable. */
export class Wire {
  readonly frames: Uint8Array[] = [];
  readonly #server: Server;
  #plugged: Socket | undefined;
  #heard: () => void = () => {};

  constructor(path: string) {
    this.#server = createServer((socket) => {
      this.#plugged = socket;
      const parser = new FrameStreamParser((bytes, at, length) => {
        this.frames.push(bytes.slice(at, at + length));
        this.#heard();
      });
      socket.on('data', (piece) => parser.push(piece));
      socket.on('error', () => {});
    }).listen(path);
  }

  get frame(): Promise<Uint8Array> {
    const first = this.frames.shift();
    if (first !== undefined) return Promise.resolve(first);
    const next = new Promise<Uint8Array>((resolve) => {
      this.#heard = () => {
        this.#heard = () => {};
        resolve(this.frames.shift()!);
      };
    });
    return within('a frame on the cable', next);
  }

  send(frame: Uint8Array): void {
    const encoder = new FrameStreamEncoder((bytes) => this.#plugged?.write(bytes.slice()));
    encoder.add(frame, 0, frame.length);
    encoder.flush();
  }

  close(): void {
    this.#plugged?.destroy();
    this.#server.close();
  }
}

/** `ferry nic` as a process. */
export class NicProcess {
  readonly #process: Started;

  /** It ends with the test that it is of, if it has not; `staysOn`: it is of all tests of a file. */
  constructor(path: string, netdev: string, { staysOn = false } = {}) {
    const args = ['nic', '--vfio-user', `unix:${path}`, '--netdev', `unix:${netdev}`];
    this.#process = startFerry(args, { staysOn });
  }

  /** The next line that begins with `text`, and all before it are taken. */
  says(text: string): Promise<string> {
    return this.#process.err.next(text);
  }

  /** File descriptors that it has open. */
  get descriptors(): number {
    return readdirSync(`/proc/${this.#process.pid}/fd`).length;
  }

  /** What it says in the end. */
  async end(): Promise<string> {
    try {
      this.#process.child.kill('SIGTERM');
      const { status, stdout } = await this.#process.ended();
      expect(status).toBe(0);
      return stdout;
    } finally {
      await this.#process.kill();
    }
  }
}
