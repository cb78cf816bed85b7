/**
 * Files that a user named, written without ever waiting for a named pipe's reader for long: neither a guest nor the end of
 * a process may depend on one.
 */
import { constants, openSync } from 'node:fs';
import { open } from 'node:fs/promises';

const { O_WRONLY, O_CREAT, O_TRUNC, O_APPEND, O_NONBLOCK } = constants;

const POLL_MS = 10;

/** A write to a pipe that is full. */
export const isFull = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'EAGAIN';

/**
 * Opens `path`, emptied unless `append`. Writes to it do not wait: see `isFull`. Throws the system's error, ENXIO for a named
 * pipe that nobody reads.
 */
export const openOutput = (path: string, mode: number, { append = false } = {}): number =>
  openSync(path, O_WRONLY | O_CREAT | O_NONBLOCK | (append ? O_APPEND : O_TRUNC), mode);

/**
 * Writes all of `text` to `path`. Rejects with the system's error, EAGAIN for a pipe's reader that has not taken it in
 * `patienceMs`.
 */
export async function writeOutput(path: string, text: string, patienceMs = 1000): Promise<void> {
  const file = await open(path, O_WRONLY | O_CREAT | O_NONBLOCK | O_TRUNC);
  try {
    const bytes = Buffer.from(text);
    const deadline = performance.now() + patienceMs;
    for (let at = 0; at < bytes.length; ) {
      try {
        at += (await file.write(bytes, at)).bytesWritten;
      } catch (error) {
        if (!isFull(error) || performance.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
    }
  } finally {
    await file.close();
  }
}
