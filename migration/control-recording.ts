/**
 * Recordings of a control link (`control.bin`), written as it talks and explained message by message afterwards.
 *
 *     file     `FRRYCTRL`, then entries
 *     entry    header (16 bytes) │ the frame as it was sent or received
 */
import { FerryError } from '../base/errors.js';
import { ascii, bytes, f64, layout, u8, u32 } from '../base/layout.js';
import { nanoseconds, toMilliseconds } from '../base/units.js';
import type { FrameRecorder } from './conversation.js';
import { type Describers, describeMessage } from './describe-message.js';
import { migrationErrors } from './errors.js';
import { frameBytesMax } from './frame.js';
import { decodeMessage } from './messages.js';
import { printable } from './peer-error.js';

export const CONTROL_RECORDING_MAGIC = 'FRRYCTRL';

const fileHeader = layout('control recording', { magic: ascii(8) });
const entryHeader = layout('control recording entry', {
  /** Nanoseconds on the recording side's clock. */
  atNs: f64(),
  /** 0: sent by the side that recorded, 1: received by it. */
  direction: u8(),
  reserved: bytes(3),
  lengthBytes: u32(),
});

/** A recorder for a flow's `record` option; `write` gets the file's bytes in order. */
export function controlRecorder(write: (bytes: Uint8Array) => void): FrameRecorder {
  write(fileHeader.encode({ magic: CONTROL_RECORDING_MAGIC }));
  return (direction, at, frame) => {
    write(
      entryHeader.encode({ atNs: at, direction: direction === 'sent' ? 0 : 1, lengthBytes: frame.length }),
    );
    write(frame);
  };
}

/** Without who explains them, only the sizes of what devices send are told. */
export type ControlDescriberOptions = Describers;

/** Explains a recording, however it is cut, in memory bounded by the largest message. */
export class ControlDescriber {
  readonly #options: ControlDescriberOptions;
  #target = new Uint8Array(fileHeader.size);
  #filled = 0;
  #part: 'file' | 'entry' | 'frame' = 'file';
  #entry = entryHeader.read(new DataView(new ArrayBuffer(entryHeader.size)), 0);
  #startedAt: number | undefined;
  #offset = 0;
  #failed = false;
  #malformed = false;

  constructor(options: ControlDescriberOptions = {}) {
    this.#options = options;
  }

  /** True if these are the first bytes of a recorded control link; needs 8 of them. */
  static recognises(start: Uint8Array): boolean {
    return String.fromCharCode(...start.subarray(0, fileHeader.size)) === CONTROL_RECORDING_MAGIC;
  }

  /** True once anything was found wrong: a frame that can't be decoded, or damage after which nothing has a meaning. */
  get failed(): boolean {
    return this.#failed || this.#malformed;
  }

  /** Lines about what `chunk` completes. Damage gives a line that says so, and none after it. */
  push(chunk: Uint8Array): string[] {
    const lines: string[] = [];
    let at = 0;
    while (at < chunk.length && !this.#failed) {
      const part = chunk.subarray(at, at + this.#target.length - this.#filled);
      this.#target.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled === this.#target.length) this.#guard(lines, () => this.#complete(lines));
    }
    return lines;
  }

  /** Lines about the end of the recording. */
  end(): string[] {
    const lines: string[] = [];
    if (!this.#failed && (this.#filled > 0 || this.#part === 'frame')) {
      this.#guard(lines, () => this.#bad(`ends in the middle of a ${this.#part} (recording cut off)`));
    }
    return lines;
  }

  #complete(lines: string[]): void {
    const bytes = this.#target;
    const view = new DataView(bytes.buffer);
    switch (this.#part) {
      case 'file':
        if (!ControlDescriber.recognises(bytes)) this.#bad('not a recorded control link');
        this.#next('entry', entryHeader.size);
        return;
      case 'entry': {
        this.#entry = entryHeader.read(view, 0);
        const { direction, lengthBytes } = this.#entry;
        if (direction > 1) this.#bad(`direction ${direction}`);
        if (lengthBytes === 0 || lengthBytes > frameBytesMax) this.#bad(`a frame of ${lengthBytes} bytes`);
        this.#next('frame', lengthBytes);
        return;
      }
      case 'frame':
        lines.push(...this.#describe(bytes));
        this.#next('entry', entryHeader.size);
    }
  }

  #describe(frame: Uint8Array): string[] {
    const { atNs, direction } = this.#entry;
    this.#startedAt ??= atNs;
    const ms = toMilliseconds(nanoseconds(atNs - this.#startedAt)).toFixed(3);
    const arrow = direction === 0 ? '->' : '<-';
    const start = `${String(this.#offset).padStart(10)} ${ms.padStart(12)} ms ${arrow} `;
    try {
      const [first, ...more] = describeMessage(decodeMessage(frame), this.#options).map(printable);
      return [start + first, ...more.map((line) => ' '.repeat(start.length) + line)];
    } catch (error) {
      // Sent malformed, or changed since: the frame belongs into the explanation, and those after it can be read.
      if (!(error instanceof FerryError)) throw error;
      this.#malformed = true;
      return [`${start}malformed: ${error.message}`];
    }
  }

  #next(part: 'entry' | 'frame', lengthBytes: number): void {
    this.#offset += this.#target.length;
    this.#part = part;
    this.#target = new Uint8Array(lengthBytes);
    this.#filled = 0;
  }

  #bad(problem: string): never {
    throw migrationErrors.error('bad-recording', { at: this.#offset, problem });
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
}
