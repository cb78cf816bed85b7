/**
 * Operations of a data plane that wait for its workers. Each settles exactly once: with its result, with the plane's
 * failure, or because the plane was closed. A promise that nobody awaits is no unhandled rejection.
 */
import type { FerryError } from '../../base/errors.js';

interface Waiting {
  readonly operation: string;
  readonly reject: (error: FerryError) => void;
}

export class Outcomes {
  readonly #waiting = new Set<Waiting>();
  #failure: ((operation: string) => FerryError) | undefined;

  /** Runs `start`, which calls `resolve` when the operation is done. Rejects at once if the plane has failed. */
  wait<T>(operation: string, start: (resolve: (value: T) => void) => void): Promise<T> {
    const promise = new Promise<T>((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure(operation));
        return;
      }
      const waiting: Waiting = { operation, reject };
      this.#waiting.add(waiting);
      start((value) => {
        this.#waiting.delete(waiting);
        resolve(value);
      });
    });
    promise.catch(() => {});
    return promise;
  }

  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /** Rejects all that wait, and all that will; the first failure counts. */
  fail(failure: (operation: string) => FerryError): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    for (const { operation, reject } of this.#waiting) reject(failure(operation));
    this.#waiting.clear();
  }
}
