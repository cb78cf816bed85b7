/** What a vfio-user device stands between: its process, and the other end of its cable. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { FrameStreamEncoder, FrameStreamParser } from '../../devices/ethernet/stream-framing.js';

const FERRY = fileURLToPath(new URL('../../dist/bin/ferry.js', import.meta.url));

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
    return new Promise((resolve) => {
      this.#heard = () => resolve(this.frames.shift()!);
    });
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
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  #heard: () => void = () => {};

  constructor(path: string, netdev: string) {
    this.#child = spawn(process.execPath, [
      FERRY,
      'nic',
      '--vfio-user',
      `unix:${path}`,
      '--netdev',
      `unix:${netdev}`,
    ]);
    createInterface({ input: this.#child.stderr! }).on('line', (line) => {
      this.#lines.push(line);
      this.#heard();
    });
  }

  /** The next line that begins with `text`, and all before it are taken. */
  async says(text: string): Promise<string> {
    for (;;) {
      for (let line = this.#lines.shift(); line !== undefined; line = this.#lines.shift()) {
        if (line.startsWith(text)) return line;
      }
      await new Promise<void>((resolve) => {
        this.#heard = resolve;
      });
    }
  }

  /** File descriptors that it has open. */
  get descriptors(): number {
    return readdirSync(`/proc/${this.#child.pid}/fd`).length;
  }

  /** What it says in the end. */
  async end(): Promise<string> {
    let text = '';
    this.#child.stdout!.on('data', (piece: Buffer) => {
      text += piece.toString();
    });
    this.#child.kill('SIGTERM');
    const [status] = await once(this.#child, 'close');
    expect(status).toBe(0);
    return text;
  }
}
