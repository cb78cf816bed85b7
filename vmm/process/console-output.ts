/**
 * The guest's console on standard output or in a file. A reader that is slower than the guest loses lines, not the
 * host its memory.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { vmmErrors } from '../errors.js';
import { reasonOf } from '../sockets/listening.js';
import type { VmmSettings } from './options.js';

/** Bytes that may wait for whoever reads standard output. */
const WAITING_BYTES_MAX = 1024 * 1024;

export class ConsoleOutput {
  readonly #stdio: boolean;
  readonly #json: boolean;
  #fd: number | undefined;
  #dropped = 0;

  /** `json`: each line as `{"console":"..."}`, for programs. Throws `vmm/options` if the file can't be written. */
  constructor(where: VmmSettings['console'], json: boolean) {
    this.#stdio = where.kind === 'stdio';
    this.#json = json;
    // A reader that went away, as `| head` does, is no error of the guest's.
    if (this.#stdio) process.stdout.on('error', () => {});
    if (where.kind !== 'file') return;
    try {
      this.#fd = openSync(where.path, 'a', 0o644);
    } catch (error) {
      const why = `the console can't be written to ${where.path}: ${reasonOf(error)}`;
      throw vmmErrors.error('options', { why }, error);
    }
  }

  /** Writes whole lines; `dropped` lines were lost among them. */
  write(lines: readonly string[], dropped: number): void {
    this.#dropped += dropped;
    if (this.#fd === undefined && !this.#stdio) return;
    if (this.#stdio && process.stdout.writableLength > WAITING_BYTES_MAX) {
      this.#dropped += lines.length;
      return;
    }
    let text = lines.map((line) => this.#written('console', line)).join('');
    if (this.#dropped > 0) {
      const lost = `${this.#dropped} console lines were lost: more than could be written`;
      text += this.#written('lost', this.#json ? this.#dropped : `[${lost}]`);
    }
    this.#dropped = 0;
    if (this.#stdio && process.stdout.writable) process.stdout.write(text);
    if (this.#fd === undefined) return;
    try {
      writeSync(this.#fd, text);
    } catch {
      // A full disk must not stop the guest.
      this.close();
    }
  }

  #written(kind: 'console' | 'lost', what: string | number): string {
    return `${this.#json ? JSON.stringify({ [kind]: what }) : what}\n`;
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}
