/**
 * A run of the fuzz on a thread of its own, which is ended if one input or access keeps it for too long: then that is in the report, by its
 * number, and by its bytes if it has some.
 */
import { Worker } from 'node:worker_threads';
import { bundleOf } from '../../vmm/built.js';
import type { DriverName, DriverReport } from './drivers.js';
import { type InputReport, inHex, SHOWN_BYTES_MAX } from './engine.js';
import type { InputTargetName } from './targets.js';

export const FUZZ_WORKER = bundleOf(new URL('./fuzz-worker.js', import.meta.url));

/** What such a thread is given. */
export interface WatchedRun {
  readonly target: InputTargetName | DriverName;
  readonly seed: number;
  /** Inputs or accesses. */
  readonly inputs: number;
  /** Two words, the number of the input that runs and its length in bytes; then what is shown of it. */
  readonly running: SharedArrayBuffer;
}

const NUMBER = 0;
const LENGTH = 1;
const BYTES_AT = 8;
/** Far beyond what any input takes, also where the processor has much else to do. */
const HANGS_AFTER_MS = 60_000;
const LOOKS = 20;

/** For the thread: what tells the watcher that an input, or an access, begins. */
export function tellingOf(running: SharedArrayBuffer): (number: number, input?: Uint8Array) => void {
  const words = new Int32Array(running, 0, 2);
  const bytes = new Uint8Array(running, BYTES_AT);
  return (number, input) => {
    if (input !== undefined) bytes.set(input.subarray(0, SHOWN_BYTES_MAX));
    words[LENGTH] = input?.length ?? 0;
    Atomics.store(words, NUMBER, number);
  };
}

/** As `fuzzInputs`; an input that does not end in `hangsAfterMs` ends the run and is in its failures. Rejects with what the thread died of. */
export function fuzzWatched(
  run: Omit<WatchedRun, 'running'> & { readonly target: InputTargetName },
  hangsAfterMs = HANGS_AFTER_MS,
  worker: URL = FUZZ_WORKER,
): Promise<InputReport> {
  return watched(run, hangsAfterMs, worker, ({ number, shown }) => ({
    seed: run.seed,
    accesses: number,
    failures: [`input ${number}: did not end in ${hangsAfterMs / 1000} s; ${shown}`],
    accepted: 0,
    refused: 0,
    bytes: 0,
    hash: 0,
  }));
}

/** The same for accesses of a driver. */
export function driveWatched(
  run: Omit<WatchedRun, 'running'> & { readonly target: DriverName },
  hangsAfterMs = HANGS_AFTER_MS,
  worker: URL = FUZZ_WORKER,
): Promise<DriverReport> {
  return watched(run, hangsAfterMs, worker, ({ number }) => ({
    seed: run.seed,
    accesses: number,
    failures: [`access ${number}: did not end in ${hangsAfterMs / 1000} s`],
    met: 'what it met is not known',
  }));
}

/** `hung` makes the report of a run in which one did not end. */
async function watched<R>(
  run: Omit<WatchedRun, 'running'>,
  hangsAfterMs: number,
  worker: URL,
  hung: (one: { readonly number: number; readonly shown: string }) => R,
): Promise<R> {
  const running = new SharedArrayBuffer(BYTES_AT + SHOWN_BYTES_MAX);
  const words = new Int32Array(running, 0, 2);
  const thread = new Worker(worker, { workerData: { ...run, running } satisfies WatchedRun });
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<R>((resolve, reject) => {
      thread.once('message', resolve);
      thread.once('error', reject);
      thread.once('exit', (status) => reject(new Error(`a thread of the fuzz ended with status ${status}`)));
      let last = 0;
      let looks = 0;
      timer = setInterval(() => {
        const number = Atomics.load(words, NUMBER);
        looks = number === last ? looks + 1 : 0;
        last = number;
        // Nothing has begun: the thread still loads what it attacks.
        if (number === 0 || looks < LOOKS) return;
        const shown = inHex(new Uint8Array(running, BYTES_AT).slice(), words[LENGTH]!);
        resolve(hung({ number, shown }));
      }, hangsAfterMs / LOOKS);
    });
  } finally {
    clearInterval(timer);
    await thread.terminate();
  }
}
