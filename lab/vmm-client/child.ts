/** How the processes that we spawn end, in words. */
import type { ChildProcess } from 'node:child_process';
import { FerryError } from '../../base/errors.js';
import { afterMs } from '../../vmm/timers.js';
import { labErrors, type SpawnedProcess } from '../errors.js';

/** How a process ended. */
export interface ProcessExit {
  /** Undefined if a signal ended it. */
  readonly exitStatus: number | undefined;
  readonly signal: string | undefined;
  /** What it said of the reason; undefined after a good end, and if it could not say. */
  readonly error: FerryError | undefined;
}

const LAST_WORDS_CHARACTERS = 4096;
/** A busy process on a busy host has ended by then. */
const QUIT_TIMEOUT_MS = 30_000;

/** Gathers the process's last words; resolves when it is gone. */
export function watchChild(child: ChildProcess, what: SpawnedProcess): Promise<ProcessExit> {
  let words = '';
  child.stderr?.setEncoding('utf8');
  child.stderr?.on('data', (text: string) => {
    words = (words + text).slice(-LAST_WORDS_CHARACTERS);
  });
  return new Promise((resolve) => {
    const end = (exitStatus: number | undefined, signal: string | undefined): void =>
      resolve({ exitStatus, signal, error: errorOf(child, what, words, exitStatus, signal) });
    child.once('close', (status, signal) => end(status ?? undefined, signal ?? undefined));
    child.once('error', () => end(undefined, undefined));
  });
}

/** The error that the process printed last, or one made of how it ended; undefined after a good end. */
function errorOf(
  child: ChildProcess,
  what: SpawnedProcess,
  words: string,
  exitStatus: number | undefined,
  signal: string | undefined,
): FerryError | undefined {
  if (exitStatus === 0) return undefined;
  const lines = words.trim().split('\n');
  try {
    const last = JSON.parse(lines.at(-1) ?? '') as { error?: object };
    if (last.error !== undefined) return FerryError.from(last.error);
  } catch {
    // Not in its last words: then they are shown as they are.
  }
  const how = signal ?? (exitStatus === undefined ? 'it could not be started' : `exit status ${exitStatus}`);
  const lastWords = lines.slice(-3).join(' | ');
  return labErrors.error('process-died', { what, pid: child.pid ?? 0, how, lastWords });
}

/** Why a process that was still needed is gone. */
export function endOf(
  child: ChildProcess,
  what: SpawnedProcess,
  { exitStatus, signal, error }: ProcessExit,
): FerryError {
  const how = signal ?? `exit status ${exitStatus ?? 'unknown'}`;
  return error ?? labErrors.error('process-died', { what, pid: child.pid ?? 0, how, lastWords: '' });
}

/**
 * Has a process end by `quit`, which may fail, for it may be gone before it answers, or already; resolves when it is gone. One that
 * does not end is killed.
 */
export async function endChild(
  child: ChildProcess,
  exited: Promise<ProcessExit>,
  quit: () => Promise<unknown>,
): Promise<ProcessExit> {
  quit().catch(() => undefined);
  const cancel = afterMs(QUIT_TIMEOUT_MS, () => child.kill('SIGKILL'));
  try {
    return await exited;
  } finally {
    cancel();
  }
}

/** Ends a process whose monitor could not be reached in `waitedMs`; resolves with the error to throw for it. */
export async function startFailed(
  child: ChildProcess,
  what: SpawnedProcess,
  exited: Promise<ProcessExit>,
  error: unknown,
  waitedMs: number,
): Promise<FerryError> {
  if (error instanceof FerryError && error.code === 'lab/timeout') {
    child.kill('SIGKILL');
    return labErrors.error('process-silent', { what, pid: child.pid ?? 0, waitedMs }, error);
  }
  child.kill('SIGTERM');
  return endOf(child, what, await exited);
}
