/** A copy of every byte that a source's page worker sends, for `ferry inspect`. Off the hot path: used only if asked. */
import { closeSync, openSync, writevSync } from 'node:fs';
import type { FrameBuffer } from '../../migration/pages/frame-buffer.js';
import type { FrameRecorder } from '../../migration/pages/source-channel.js';
import { transferErrors } from '../../migration/pages/transfer-errors.js';
import { reasonOf } from '../sockets/listening.js';

export class Recording implements FrameRecorder {
  readonly #descriptor: number;
  readonly #cut: (reason: string) => void;
  #isCut = false;

  /**
   * Creates `file`, or empties it. Throws `transfer/recording-failed`. `cut` hears once why nothing more can be written:
   * pages go on without their recording.
   */
  constructor(file: string, cut: (reason: string) => void) {
    this.#cut = cut;
    try {
      this.#descriptor = openSync(file, 'w', 0o600);
    } catch (error) {
      throw transferErrors.error('recording-failed', { file, reason: reasonOf(error) }, error);
    }
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
    if (this.#isCut) return;
    try {
      let rest = pieces;
      while (rest.length > 0) {
        let written = writevSync(this.#descriptor, rest);
        rest = rest.flatMap((piece) => {
          const skip = Math.min(written, piece.length);
          written -= skip;
          return skip === piece.length ? [] : [piece.subarray(skip)];
        });
      }
    } catch (error) {
      this.#isCut = true;
      this.#cut(reasonOf(error));
    }
  }
}
