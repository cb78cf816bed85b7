/** The folder that a recording goes to. */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { transferErrors } from '../../migration/pages/transfer-errors.js';
import { reasonOf } from '../sockets/listening.js';

/** Makes `folder` if it is not there. Throws `transfer/recording-failed`. */
export function makeRecordingFolder(folder: string): void {
  try {
    // Not with all folders above it: where none can be made at all, as in /proc, Node 20 tries for ever.
    if (!existsSync(folder)) mkdirSync(folder);
    readdirSync(folder);
  } catch (error) {
    throw transferErrors.error('recording-failed', { file: folder, reason: reasonOf(error) }, error);
  }
}
