/**
 * What happened in a simulation, in order, as lines and as one hash: two runs with the same seed must have the same,
 * down to the nanosecond.
 */
import { createHash } from 'node:crypto';
import type { Instant } from '../../base/units.js';

export class Trace {
  readonly #hash = createHash('sha256');
  readonly lines: string[] = [];
  #digest: string | undefined;

  /** Adds one event; it must say all that makes it differ from another. */
  note(at: Instant, event: string): void {
    const line = `${at} ${event}`;
    this.#hash.update(line).update('\n');
    this.lines.push(line);
  }

  /** An event of the machinery, which happens too often to be kept as a line. */
  tick(at: Instant, number: number): void {
    this.#hash.update(`${at} #${number}\n`);
  }

  /** The hash over all events, hex; ends the trace. */
  hash(): string {
    this.#digest ??= this.#hash.digest('hex');
    return this.#digest;
  }
}
