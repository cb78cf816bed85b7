/** Requests in flight over a port: each id is answered once. */
import { FerryError, invariant, type SerializedError } from '../../base/errors.js';

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class Requests {
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;
  /** Why no request is answered any more. */
  #closed: Error | undefined;

  get size(): number {
    return this.#waiting.size;
  }

  /** Calls `send` with a new id; resolves or rejects with that request's answer. */
  async request<Result>(send: (id: number) => void): Promise<Result> {
    if (this.#closed !== undefined) throw this.#closed;
    const id = this.#next++;
    return new Promise<Result>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (result: unknown) => void, reject });
      send(id);
    });
  }

  resolve(id: number, result: unknown): void {
    this.#take(id)?.resolve(result);
  }

  reject(id: number, error: SerializedError): void {
    this.#take(id)?.reject(FerryError.from(error));
  }

  /** Rejects all, and every later request. */
  close(error: Error): void {
    this.#closed = error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  /** Undefined for an answer that comes after `close`. */
  #take(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    invariant(waiting !== undefined || this.#closed !== undefined, `answer to no request: ${id}`);
    this.#waiting.delete(id);
    return waiting;
  }
}
