/** The file that a trace goes to: opened before the move, so that a name that can't be written is told at once. */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import type { FerryError } from '../../base/errors.js';
import { reasonOf } from '../../vmm/sockets/listening.js';
import { labErrors } from '../errors.js';
import { type Traced, traceOf } from './trace.js';

export class TraceFile {
  readonly path: string;
  readonly #file: number;

  /** Creates or replaces `path`. Throws `lab/file-failed`. */
  constructor(path: string) {
    this.path = path;
    try {
      this.#file = openSync(path, 'w', 0o600);
    } catch (error) {
      throw labErrors.error('file-failed', { path, what: 'written', reason: reasonOf(error) }, error);
    }
  }

  /** Writes all of it; returns `lab/output-cut` if the disk refuses, for the move stands for itself. */
  write(traced: Traced): FerryError | undefined {
    try {
      writeFileSync(this.#file, `${JSON.stringify(traceOf(traced))}\n`);
      return undefined;
    } catch (error) {
      return labErrors.error(
        'output-cut',
        { what: 'trace', path: this.path, reason: reasonOf(error) },
        error,
      );
    }
  }

  close(): void {
    closeSync(this.#file);
  }
}
