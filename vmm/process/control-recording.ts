/**
 * The file that a recorded control link goes to, beside the data channels' files (`transfer/recording.ts`).
 */
import { closeSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { controlRecorder } from '../../migration/control-recording.js';
import type { FrameRecorder } from '../../migration/conversation.js';
import { transferErrors } from '../../migration/pages/transfer-errors.js';
import { reasonOf } from '../sockets/listening.js';
import { makeRecordingFolder } from './recording-folder.js';

/** Name of the file in the recording's folder. */
export const CONTROL_RECORDING_FILE = 'control.bin';
const DATA_FILE = /^data-\d+\.bin$/;

export class ControlRecording {
  /** For a flow's `record` option. */
  readonly add: FrameRecorder;
  readonly #descriptor: number;

  /**
   * Makes `folder` if need be, and the file in it anew; what is left there of an earlier recording is removed. Throws
   * `transfer/recording-failed`. A migration goes on without its recording when the disk is full: the file then ends
   * early, and `cut` hears once of which file, and why.
   */
  constructor(folder: string, cut: (file: string, reason: string) => void) {
    const file = join(folder, CONTROL_RECORDING_FILE);
    let isCut = false;
    makeRecordingFolder(folder);
    try {
      for (const name of readdirSync(folder)) if (DATA_FILE.test(name)) rmSync(join(folder, name));
      this.#descriptor = openSync(file, 'w', 0o600);
    } catch (error) {
      throw transferErrors.error('recording-failed', { file, reason: reasonOf(error) }, error);
    }
    this.add = controlRecorder((bytes) => {
      if (isCut) return;
      try {
        for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
      } catch (error) {
        isCut = true;
        cut(file, reasonOf(error));
      }
    });
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}
