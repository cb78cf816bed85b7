/** A file that is written at the end: opened before the work begins, so that a name that can't be written is told at once. */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import type { FerryError } from '../../base/errors.js';
import { reasonOf } from '../../vmm/sockets/listening.js';
import { labErrors } from '../errors.js';

export class WholeFile {
  readonly path: string;
  readonly #what: string;
  readonly #file: number;

  /** Creates or replaces `path`, for what is called `what`. Throws `lab/file-failed`. */
  constructor(path: string, what: string) {
    this.path = path;
    this.#what = what;
    try {
      this.#file = openSync(path, 'w', 0o600);
    } catch (error) {
      throw labErrors.error('file-failed', { path, what: 'written', reason: reasonOf(error) }, error);
    }
  }

  /** Writes all of it; returns `lab/output-cut` if the disk refuses, for the work stands for itself. */
  write(text: string): FerryError | undefined {
    try {
      writeFileSync(this.#file, text);
      return undefined;
    } catch (error) {
      return labErrors.error(
        'output-cut',
        { what: this.#what, path: this.path, reason: reasonOf(error) },
        error,
      );
    }
  }

  close(): void {
    closeSync(this.#file);
  }
}
