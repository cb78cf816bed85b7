/**
 * What happened in a simulation, in order, as lines and as one hash: two runs with the same seed must have the same,
 * down to the nanosecond.
 */
import { createHash } from 'node:crypto';
import type { Instant } from '../../base/units.js';

/** Characters that are hashed at once: a call for each event would cost more than all of the hashing. */
const HASHED_AT_ONCE = 16384;

export class Trace {
  readonly #hash = createHash('sha256');
  /** What is still to be hashed. */
  #text = '';
  readonly lines: string[] = [];
  #digest: string | undefined;

  /** Adds one event; it must say all that makes it differ from another. */
  note(at: Instant, event: string): void {
    const line = `${at} ${event}`;
    this.#add(line);
    this.lines.push(line);
  }

  /** An event of the machinery, which happens too often to be kept as a line. */
  tick(at: Instant, number: number): void {
    this.#add(`${at} #${number}`);
  }

  /** The hash over all events, hex; ends the trace. */
  hash(): string {
    this.#digest ??= this.#hash.update(this.#text).digest('hex');
    return this.#digest;
  }

  #add(line: string): void {
    this.#text += `${line}\n`;
    if (this.#text.length < HASHED_AT_ONCE) return;
    this.#hash.update(this.#text);
    this.#text = '';
  }
}
