/**
 * The guest's console on standard output or in a file. A reader that is slower than the guest loses lines, not the
 * host its memory, nor the guest its time.
 */
import { closeSync, writeSync } from 'node:fs';
import type { FerryError } from '../../base/errors.js';
import { vmmErrors } from '../errors.js';
import { reasonOf } from '../sockets/listening.js';
import type { VmmSettings } from './options.js';
import { isFull, openOutput } from './output-file.js';

/** Bytes that may wait for whoever reads standard output. */
const WAITING_BYTES_MAX = 1024 * 1024;

const NOTHING = new Uint8Array(0);

export interface ConsoleOutputOptions {
  readonly where: VmmSettings['console'];
  /** Each line as `{"console":"..."}`, for programs. */
  readonly json: boolean;
  /** Hears once of a disk that is full or fails: nothing more is written, and the guest goes on. */
  readonly cut: (error: FerryError) => void;
}

export class ConsoleOutput {
  readonly #options: ConsoleOutputOptions;
  readonly #stdio: boolean;
  #fd: number | undefined;
  #dropped = 0;
  /** What a pipe had no room for, in the middle of a line. */
  #rest: Uint8Array = NOTHING;
  #isCut = false;

  /** Throws `vmm/options` if the file can't be written, also for a named pipe that nobody reads. */
  constructor(options: ConsoleOutputOptions) {
    const { where } = options;
    this.#options = options;
    this.#stdio = where.kind === 'stdio';
    if (this.#stdio) {
      // A reader that went away, as `| head` does, is no error of the guest's.
      process.stdout.on('error', (error) => {
        if ((error as NodeJS.ErrnoException).code !== 'EPIPE') this.#cut('standard output', error);
      });
    }
    if (where.kind !== 'file') return;
    try {
      this.#fd = openOutput(where.path, 0o644, { append: true });
    } catch (error) {
      const why = `the console can't be written to ${where.path}: ${reasonOf(error)}`;
      throw vmmErrors.error('options', { why }, error);
    }
  }

  /** Writes whole lines; `dropped` lines were lost among them. */
  write(lines: readonly string[], dropped: number): void {
    this.#dropped += dropped;
    if (this.#fd === undefined && !this.#stdio) return;
    if (this.#crowded) {
      this.#dropped += lines.length;
      return;
    }
    let text = lines.map((line) => this.#written('console', line)).join('');
    if (this.#dropped > 0) {
      const lost = `${this.#dropped} console lines were lost: more than could be written`;
      text += this.#written('lost', this.#options.json ? this.#dropped : `[${lost}]`);
    }
    this.#dropped = 0;
    if (this.#fd !== undefined) this.#rest = this.#push(this.#fd, Buffer.from(text));
    else if (process.stdout.writable && !this.#isCut) process.stdout.write(text);
  }

  /** Whoever reads has not taken what was written before. */
  get #crowded(): boolean {
    if (this.#fd === undefined) return process.stdout.writableLength > WAITING_BYTES_MAX;
    if (this.#rest.length > 0) this.#rest = this.#push(this.#fd, this.#rest);
    return this.#rest.length > 0;
  }

  /** Writes as much as there is room for; returns the rest. */
  #push(fd: number, bytes: Uint8Array): Uint8Array {
    let at = 0;
    try {
      while (at < bytes.length) at += writeSync(fd, bytes, at);
    } catch (error) {
      if (isFull(error)) return bytes.subarray(at);
      this.close();
      const { where } = this.#options;
      this.#cut(where.kind === 'file' ? where.path : '', error);
    }
    return NOTHING;
  }

  #cut(path: string, error: unknown): void {
    if (this.#isCut) return;
    this.#isCut = true;
    const facts = { what: "guest's console", path, reason: reasonOf(error) };
    this.#options.cut(vmmErrors.error('output-cut', facts, error));
  }

  #written(kind: 'console' | 'lost', what: string | number): string {
    return `${this.#options.json ? JSON.stringify({ [kind]: what }) : what}\n`;
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}
