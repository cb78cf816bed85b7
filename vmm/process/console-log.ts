/**
 * The guest's console on its way to people: keeps the last lines, and hands them on in batches. A guest may write as
 * fast as it likes; what is kept and handed on is bounded.
 */

export const CONSOLE_LINES_KEPT = 1000;
/** Lines handed on in one window of time; more than anybody reads, few enough for every monitor client to keep up. */
const WINDOW_LINES_MAX = 500;
const WINDOW_MS = 100;

export class ConsoleLog {
  readonly #handOn: (lines: readonly string[], dropped: number) => void;
  readonly #nowMs: () => number;
  readonly #soon: (flush: () => void) => void;
  readonly #kept: string[] = [];
  #batch: string[] = [];
  #dropped = 0;
  #scheduled = false;
  #windowStartMs = Number.NEGATIVE_INFINITY;
  #windowLines = 0;

  /**
   * `handOn` gets the lines since its last call, and how many were left out; `soon` runs its argument once the
   * current burst is through.
   */
  constructor(
    handOn: (lines: readonly string[], dropped: number) => void,
    nowMs: () => number,
    soon: (flush: () => void) => void,
  ) {
    this.#handOn = handOn;
    this.#nowMs = nowMs;
    this.#soon = soon;
  }

  push(line: string): void {
    this.#kept.push(line);
    if (this.#kept.length > 2 * CONSOLE_LINES_KEPT) this.#kept.splice(0, CONSOLE_LINES_KEPT);
    const now = this.#nowMs();
    if (now - this.#windowStartMs >= WINDOW_MS) {
      this.#windowStartMs = now;
      this.#windowLines = 0;
    }
    if (++this.#windowLines > WINDOW_LINES_MAX) this.#dropped++;
    else this.#batch.push(line);
    this.#schedule();
  }

  /** Lines that were lost before they came here. */
  lost(lines: number): void {
    this.#dropped += lines;
    this.#schedule();
  }

  /** The last `lines` lines, oldest first. */
  tail(lines: number): readonly string[] {
    return this.#kept.slice(-Math.min(lines, CONSOLE_LINES_KEPT));
  }

  /** Hands on what waits, at once. */
  flush(): void {
    this.#scheduled = false;
    if (this.#batch.length === 0 && this.#dropped === 0) return;
    const [lines, dropped] = [this.#batch, this.#dropped];
    this.#batch = [];
    this.#dropped = 0;
    this.#handOn(lines, dropped);
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#soon(() => this.flush());
  }
}
