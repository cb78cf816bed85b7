/**
 * A copy of every control frame of a migration, sent and received, in one file: before each frame a header that says
 * which way it went and when. The data channels' bytes stand beside it, see `transfer/recording.ts`.
 */
import { closeSync, mkdirSync, openSync, writevSync } from 'node:fs';
import { join } from 'node:path';
import { f64, layout, u8, u32 } from '../../base/layout.js';
import type { FrameRecorder } from '../../migration/conversation.js';
import { reasonOf } from '../sockets/listening.js';
import { transferErrors } from '../transfer/errors.js';

/** Name of the file in the recording's folder. */
export const CONTROL_RECORDING_FILE = 'control.bin';

export const controlRecordHeader = layout(
  'control_record',
  {
    /** CONTROL_SENT or CONTROL_RECEIVED, as the source saw it. */
    direction: u8(),
    /** Bytes of the frame that follows. */
    frameBytes: u32(4),
    /** ns on the source's clock. */
    at: f64(8),
  },
  { size: 16 },
);

export const CONTROL_SENT = 1;
export const CONTROL_RECEIVED = 2;

export class ControlRecording {
  readonly #file: string;
  readonly #descriptor: number;
  #failed = false;

  /** Makes `folder` if need be, and the file in it anew. Throws `transfer/recording-failed`. */
  constructor(folder: string) {
    this.#file = join(folder, CONTROL_RECORDING_FILE);
    try {
      mkdirSync(folder, { recursive: true });
      this.#descriptor = openSync(this.#file, 'w', 0o600);
    } catch (error) {
      throw transferErrors.error('recording-failed', { file: this.#file, reason: reasonOf(error) }, error);
    }
  }

  /** A migration goes on without its recording when the disk is full: the file then ends early. */
  readonly add: FrameRecorder = (direction, at, frame) => {
    if (this.#failed) return;
    const header = controlRecordHeader.encode({
      direction: direction === 'sent' ? CONTROL_SENT : CONTROL_RECEIVED,
      frameBytes: frame.length,
      at,
    });
    try {
      writevSync(this.#descriptor, [header, frame]);
    } catch {
      this.#failed = true;
    }
  };

  close(): void {
    closeSync(this.#descriptor);
  }
}
