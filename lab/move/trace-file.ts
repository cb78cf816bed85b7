/** The file that a trace goes to: opened before the move, so that a name that can't be written is told at once. */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { reasonOf } from '../../vmm/sockets/listening.js';
import { labErrors } from '../errors.js';
import { type Traced, traceOf } from './trace.js';

export class TraceFile {
  readonly path: string;
  readonly #file: number;

  /** Creates or replaces `path`. Throws `lab/file-failed`. */
  constructor(path: string) {
    this.path = path;
    this.#file = this.#attempt(() => openSync(path, 'w', 0o600));
  }

  /** Writes all of it. Throws `lab/file-failed`. */
  write(traced: Traced): void {
    this.#attempt(() => writeFileSync(this.#file, `${JSON.stringify(traceOf(traced))}\n`));
  }

  close(): void {
    closeSync(this.#file);
  }

  #attempt<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      const facts = { path: this.path, what: 'written', reason: reasonOf(error) };
      throw labErrors.error('file-failed', facts, error);
    }
  }
}
