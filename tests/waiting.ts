/**
 * How tests wait for what another process or thread does: never without a bound, and what was waited for is in the error. The bound is
 * for a machine that does much else, and shorter than that of a test: a test that is ended by its own says nothing.
 */

import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

const PATIENCE_MS = 120_000;

/** What `promise` resolves with. Rejects if that takes longer than anything does; `heard`: what else is known by then. */
export async function within<T>(
  what: string,
  promise: Promise<T>,
  heard: () => string = () => '',
  ms = PATIENCE_MS,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const rest = heard();
      reject(new Error(`waited ${ms / 1000} s in vain for ${what}${rest === '' ? '' : `; ${rest}`}`));
    }, ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves when `condition` holds, which is looked at in each turn of the event loop; `what` it is, for the error. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  ms = PATIENCE_MS,
): Promise<void> {
  const deadline = performance.now() + ms;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited ${ms / 1000} s in vain until ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Lines of a stream, which may be waited for. */
export class Lines {
  /** All of them so far. */
  readonly seen: string[] = [];
  readonly #of: string;
  readonly #heard = new Set<() => void>();
  #taken = 0;
  #over: Error | undefined;

  /** `of`: whose, for errors. */
  constructor(of: string, stream: Readable) {
    this.#of = of;
    createInterface({ input: stream }).on('line', (line) => {
      this.seen.push(line);
      this.#wake();
    });
  }

  /** No more will come, because of that. */
  end(reason: string): void {
    this.#over ??= new Error(reason);
    this.#wake();
  }

  /** The first line that matches, from the `from`th on. Rejects when no more can come. */
  find(pattern: RegExp, from = 0): Promise<string> {
    let at = from;
    return this.#wait(String(pattern), () => {
      for (; at < this.seen.length; at++) if (pattern.test(this.seen[at]!)) return this.seen[at];
      return undefined;
    });
  }

  /** The next line that begins with `text`; it, and all before it, are not looked at again. */
  next(text: string): Promise<string> {
    return this.#wait(`'${text}'`, () => {
      while (this.#taken < this.seen.length) {
        const line = this.seen[this.#taken++]!;
        if (line.startsWith(text)) return line;
      }
      return undefined;
    });
  }

  #wait(what: string, look: () => string | undefined): Promise<string> {
    let heard = (): void => {};
    const found = new Promise<string>((resolve, reject) => {
      heard = () => {
        const line = look();
        if (line !== undefined) resolve(line);
        else if (this.#over !== undefined)
          reject(new Error(`${this.#of} never said ${what}: ${this.#over.message}`));
      };
      this.#heard.add(heard);
      heard();
    });
    const last = (): string => `last it said: ${this.seen.slice(-3).join(' | ') || 'nothing'}`;
    return within(`${this.#of} to say ${what}`, found, last).finally(() => this.#heard.delete(heard));
  }

  #wake(): void {
    for (const heard of [...this.#heard]) heard();
  }
}
