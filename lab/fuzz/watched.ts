/**
 * A run of the fuzz on a thread of its own, which is ended if one input keeps it for too long: then the input is in the report, by
 * its number and its bytes.
 */
import { Worker } from 'node:worker_threads';
import { bundleOf } from '../../vmm/built.js';
import { type InputReport, inHex, SHOWN_BYTES_MAX } from './engine.js';
import type { InputTargetName } from './targets.js';

export const FUZZ_WORKER = bundleOf(new URL('./fuzz-worker.js', import.meta.url));

/** What such a thread is given. */
export interface WatchedRun {
  readonly target: InputTargetName;
  readonly seed: number;
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

/** For the thread: what tells the watcher that an input begins. */
export function tellingOf(running: SharedArrayBuffer): (number: number, input: Uint8Array) => void {
  const words = new Int32Array(running, 0, 2);
  const bytes = new Uint8Array(running, BYTES_AT);
  return (number, input) => {
    bytes.set(input.subarray(0, SHOWN_BYTES_MAX));
    words[LENGTH] = input.length;
    Atomics.store(words, NUMBER, number);
  };
}

/** As `fuzzInputs`; an input that does not end in `hangsAfterMs` ends the run and is in its failures. Rejects with what the thread died of. */
export async function fuzzWatched(
  run: Omit<WatchedRun, 'running'>,
  hangsAfterMs = HANGS_AFTER_MS,
  worker: URL = FUZZ_WORKER,
): Promise<InputReport> {
  const running = new SharedArrayBuffer(BYTES_AT + SHOWN_BYTES_MAX);
  const words = new Int32Array(running, 0, 2);
  const thread = new Worker(worker, { workerData: { ...run, running } satisfies WatchedRun });
  const { seed } = run;
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<InputReport>((resolve, reject) => {
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
        const length = words[LENGTH]!;
        const shown = inHex(new Uint8Array(running, BYTES_AT).slice(), length);
        const failures = [`input ${number}: did not end in ${hangsAfterMs / 1000} s; ${shown}`];
        const none = { accepted: 0, refused: 0, bytes: 0, hash: 0 };
        resolve({ seed, accesses: number, failures, ...none });
      }, hangsAfterMs / LOOKS);
    });
  } finally {
    clearInterval(timer);
    await thread.terminate();
  }
}
