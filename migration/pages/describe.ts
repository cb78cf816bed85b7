/** Explains a recorded data channel (`data-N.bin`), frame by frame, in bounded memory and a bounded number of lines. */
import { FerryError } from '../../base/errors.js';
import { ChannelReceiver, CLOSED, END_OF_ROUND, FRAME, HELLO, NOTHING } from './channel-receiver.js';
import { channelHello, FRAME_ZERO } from './layouts.js';
import { DiscardSink } from './page-sink.js';

export interface DescribeOptions {
  /** Lines for frames; further frames are only counted. */
  readonly framesMax?: number;
  /** Runs named per frame; further runs are only counted. */
  readonly runsMax?: number;
  /** What pages the recorded machine had, if known; a recording does not say. */
  readonly migratedPages?: number;
}

/** Pages of the largest machine: a recording of any passes. */
const ANY_MACHINE_PAGES = 2 ** 20;

export class StreamDescriber {
  readonly #receiver: ChannelReceiver;
  readonly #framesMax: number;
  readonly #runsMax: number;
  #shown = 0;
  #hidden = 0;
  #failed = false;

  constructor(options: DescribeOptions = {}) {
    this.#framesMax = options.framesMax ?? 200;
    this.#runsMax = options.runsMax ?? 4;
    this.#receiver = new ChannelReceiver({
      channel: -1,
      token: undefined,
      migratedPages: options.migratedPages ?? ANY_MACHINE_PAGES,
      sink: new DiscardSink(),
    });
  }

  /** True if these are the first bytes of a data channel; needs 8 of them. */
  static recognises(start: Uint8Array): boolean {
    return String.fromCharCode(...start.subarray(0, 8)) === 'FRRYDATA';
  }

  /** True once the stream was found damaged: what follows has no meaning. */
  get failed(): boolean {
    return this.#failed;
  }

  /** Lines about what `chunk` completes. A damaged stream gives a line that says so, and none after it. */
  push(chunk: Uint8Array): string[] {
    const lines: string[] = [];
    let at = 0;
    while (at < chunk.length && !this.#failed) {
      const target = this.#receiver.target();
      const part = chunk.subarray(at, at + target.length);
      target.set(part);
      at += part.length;
      this.#guard(lines, () => {
        const line = this.#describe(this.#receiver.filled(part.length));
        if (line !== undefined) lines.push(line);
      });
    }
    return lines;
  }

  /** Lines about the end of the stream. */
  end(): string[] {
    const lines: string[] = [];
    if (this.#hidden > 0) lines.push(`... and ${this.#hidden} more frames`);
    if (!this.#failed) this.#guard(lines, () => this.#receiver.ended());
    return lines;
  }

  #guard(lines: string[], step: () => void): void {
    try {
      step();
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
      this.#failed = true;
      lines.push(`damaged: ${error.message}`);
    }
  }

  #describe(received: number): string | undefined {
    const receiver = this.#receiver;
    if (received === NOTHING) return undefined;
    if (received === HELLO) return line(0, channelHello.size, 'hello', `data channel ${receiver.channel}`);
    const at = receiver.bytesReceived - receiver.frameBytes;
    if (received === FRAME && this.#shown >= this.#framesMax) {
      this.#hidden++;
      return undefined;
    }
    const skipped = this.#hidden > 0 ? ` (${this.#hidden} frames not shown)` : '';
    this.#hidden = 0;
    this.#shown++;
    const number = `#${receiver.frame}`;
    if (received === CLOSED) return line(at, receiver.frameBytes, number, `close${skipped}`);
    if (received === END_OF_ROUND) {
      const { pages, zeroPages, bytes } = receiver.roundReceived;
      const what = `end of round ${receiver.round - 1}: ${pages} pages, ${zeroPages} zero pages, ${bytes} bytes`;
      return line(at, receiver.frameBytes, number, what + skipped);
    }
    const { runs } = receiver;
    const kind = receiver.kind === FRAME_ZERO ? 'zero pages' : 'pages';
    const named: string[] = [];
    for (let i = 0; i < Math.min(runs.length, this.#runsMax); i++) {
      const first = runs.firstPage[i]!;
      const last = first + runs.pageCount[i]! - 1;
      named.push(first === last ? `${first}` : `${first}-${last}`);
    }
    if (runs.length > named.length) named.push(`... ${runs.length - named.length} more runs`);
    const what = `round ${receiver.round}: ${runs.pages} ${kind} in ${runs.length} runs: ${named.join(', ')}`;
    return line(at, receiver.frameBytes, number, what);
  }
}

function line(at: number, lengthBytes: number, number: string, what: string): string {
  return `${String(at).padStart(10)} ${String(lengthBytes).padStart(8)}  ${number.padEnd(7)} ${what}`;
}
