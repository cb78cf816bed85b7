/** A copy of every byte that a source's page worker sends, for `ferry inspect`. Off the hot path: used only if asked. */
import { closeSync, openSync, writevSync } from 'node:fs';
import type { FrameBuffer } from '../../migration/pages/frame-buffer.js';
import { reasonOf } from '../sockets/listening.js';
import { transferErrors } from './errors.js';

export class Recording {
  readonly #file: string;
  readonly #descriptor: number;

  /** Creates `file`, or empties it. Throws `transfer/recording-failed`, as `add` does. */
  constructor(file: string) {
    this.#file = file;
    this.#descriptor = this.#guard(() => openSync(file, 'w', 0o600));
  }

  addBytes(bytes: Uint8Array): void {
    this.#write([bytes]);
  }

  add(frame: FrameBuffer): void {
    this.#write(frame.pieces.slice(0, frame.pieceCount));
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #write(pieces: Uint8Array[]): void {
    this.#guard(() => {
      let rest = pieces;
      while (rest.length > 0) {
        let written = writevSync(this.#descriptor, rest);
        rest = rest.flatMap((piece) => {
          const skip = Math.min(written, piece.length);
          written -= skip;
          return skip === piece.length ? [] : [piece.subarray(skip)];
        });
      }
    });
  }

  #guard<T>(action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw transferErrors.error('recording-failed', { file: this.#file, reason: reasonOf(error) }, error);
    }
  }
}
