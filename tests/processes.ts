/**
 * Processes that tests start: `ferry`, or Node with some arguments. What they say can be waited for, so can their end, and none outlives
 * its test, whatever that comes to, nor the process that the tests run in.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { Lines, within } from './waiting.js';

export const FERRY = fileURLToPath(new URL('../dist/bin/ferry.js', import.meta.url));

export interface Ended {
  /** Null for one that a signal ended. */
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface StartOptions {
  /** What it is, for errors. */
  readonly name?: string;
  readonly stdio?: StdioOptions;
  /** It is for all tests of a file, and its starter ends it after them. */
  readonly staysOn?: boolean;
  /** What runs in place of Node. */
  readonly program?: string;
}

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class Started {
  readonly child: ChildProcess;
  readonly name: string;
  /** What it says on standard output and standard error; empty where these lead elsewhere. */
  readonly out: Lines;
  readonly err: Lines;
  readonly #ended: Promise<Ended>;
  #stdout = '';
  #stderr = '';

  constructor(args: readonly string[], { name, stdio = ['ignore', 'pipe', 'pipe'], program }: StartOptions) {
    this.name = name ?? [program ?? 'node', ...args].join(' ').slice(0, 100);
    this.child = spawn(program ?? process.execPath, args, { stdio });
    running.add(this.child);
    const { stdout, stderr } = this.child;
    stdout?.on('data', (text: Buffer) => {
      this.#stdout += text.toString();
    });
    stderr?.on('data', (text: Buffer) => {
      this.#stderr += text.toString();
    });
    this.out = new Lines(`${this.name}, standard output,`, stdout ?? Readable.from([]));
    this.err = new Lines(`${this.name}, standard error,`, stderr ?? Readable.from([]));
    this.#ended = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (status, signal) => {
        running.delete(this.child);
        const how = status === null ? `was ended by ${signal}` : `ended with status ${status}`;
        for (const lines of [this.out, this.err]) lines.end(`it ${how}; ${this.#stderr.slice(-300)}`);
        resolve({ status, stdout: this.#stdout, stderr: this.#stderr });
      });
    });
    this.#ended.catch(() => running.delete(this.child));
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** How it ends, and all that it said. Rejects if it does not. */
  ended(): Promise<Ended> {
    return within(`the end of ${this.name}`, this.#ended, () => `it says: ${this.#stderr.slice(-300)}`);
  }

  /** Ends it at once, if it has not ended. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended();
  }
}

/** Starts Node, or another program, with `args`. It is killed when the test that starts it is over, unless it stays on. */
export function start(args: readonly string[], options: StartOptions = {}): Started {
  const started = new Started(args, options);
  if (options.staysOn !== true) onTestFinished(() => started.kill());
  return started;
}

/** Starts `ferry`. */
export const startFerry = (args: readonly string[], options: StartOptions = {}): Started =>
  start([FERRY, ...args], { name: `ferry ${args[0] ?? ''}`, ...options });
