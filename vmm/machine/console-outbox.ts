/**
 * Console lines on their way out of the device thread. A guest can print faster than anybody reads, so what waits here
 * is bounded: beyond that the oldest give way and are counted, because the last words of a guest matter most.
 */
import type { ConsoleLine } from '../../devices/console/device.js';

export interface ConsoleBatch {
  readonly lines: readonly ConsoleLine[];
  /** Lines lost before the first of these. */
  readonly dropped: number;
}

/** Lines that may wait; each is at most LINE_BYTES_MAX bytes. */
export const OUTBOX_LINES_MAX = 1024;

export class ConsoleOutbox {
  #lines: ConsoleLine[] = [];
  #dropped = 0;
  /** A batch was handed over and not taken note of yet. */
  #inFlight = false;

  push(line: ConsoleLine): void {
    if (this.#lines.length === OUTBOX_LINES_MAX) {
      this.#lines.shift();
      this.#dropped++;
    }
    this.#lines.push(line);
  }

  /** The next batch; undefined while the reader has the last one in hand, or there is nothing. */
  take(): ConsoleBatch | undefined {
    if (this.#inFlight || this.#lines.length === 0) return undefined;
    this.#inFlight = true;
    return this.rest();
  }

  /** All that waits, whatever the reader has in hand: for what must not overtake it. */
  rest(): ConsoleBatch {
    const batch = { lines: this.#lines, dropped: this.#dropped };
    this.#lines = [];
    this.#dropped = 0;
    return batch;
  }

  /** The reader has dealt with the last batch. */
  acknowledge(): void {
    this.#inFlight = false;
  }
}
