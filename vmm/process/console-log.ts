/**
 * The guest's console on its way to people: cuts the guest's bytes into lines, keeps the last of them, and hands them
 * on in batches. A guest may write what and as fast as it likes; what is kept and handed on is bounded.
 */

export interface ConsoleLogSink {
  /** Whole lines since the last call, and how many were left out. */
  lines(lines: readonly string[], dropped: number): void;
}

export const CONSOLE_LINES_KEPT = 1000;
const LINE_CHARACTERS_MAX = 1024;
/** Lines handed on in one window of time. */
const WINDOW_LINES_MAX = 500;
const WINDOW_MS = 100;

export class ConsoleLog {
  readonly #sink: ConsoleLogSink;
  readonly #nowMs: () => number;
  /** Runs its argument soon, once the current burst of bytes is through. */
  readonly #soon: (flush: () => void) => void;
  readonly #decoder = new TextDecoder('utf-8');
  readonly #kept: string[] = [];
  #partial = '';
  #batch: string[] = [];
  #dropped = 0;
  #scheduled = false;
  #windowStartMs = 0;
  #windowLines = 0;

  constructor(sink: ConsoleLogSink, nowMs: () => number, soon: (flush: () => void) => void) {
    this.#sink = sink;
    this.#nowMs = nowMs;
    this.#soon = soon;
  }

  /** Bytes as the guest wrote them. */
  push(bytes: Uint8Array): void {
    const text = this.#partial + this.#decoder.decode(bytes, { stream: true });
    let start = 0;
    for (;;) {
      const end = text.indexOf('\n', start);
      if (end < 0) break;
      this.#line(text.slice(start, end));
      start = end + 1;
    }
    this.#partial = text.slice(start);
    while (this.#partial.length >= LINE_CHARACTERS_MAX) {
      this.#line(this.#partial.slice(0, LINE_CHARACTERS_MAX));
      this.#partial = this.#partial.slice(LINE_CHARACTERS_MAX);
    }
  }

  /** The last whole lines, oldest first. */
  tail(lines: number): readonly string[] {
    return this.#kept.slice(-lines);
  }

  /** Hands on what waits, at once. */
  flush(): void {
    this.#scheduled = false;
    if (this.#batch.length === 0 && this.#dropped === 0) return;
    const [lines, dropped] = [this.#batch, this.#dropped];
    this.#batch = [];
    this.#dropped = 0;
    this.#sink.lines(lines, dropped);
  }

  #line(raw: string): void {
    const line = (raw.endsWith('\r') ? raw.slice(0, -1) : raw).slice(0, LINE_CHARACTERS_MAX);
    this.#kept.push(line);
    if (this.#kept.length > 2 * CONSOLE_LINES_KEPT) this.#kept.splice(0, CONSOLE_LINES_KEPT);
    const now = this.#nowMs();
    if (now - this.#windowStartMs >= WINDOW_MS) {
      this.#windowStartMs = now;
      this.#windowLines = 0;
    }
    if (++this.#windowLines > WINDOW_LINES_MAX) this.#dropped++;
    else this.#batch.push(line);
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#soon(() => this.flush());
  }
}
