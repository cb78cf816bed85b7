/** A campaign on several threads: each has its own booted guest, and takes the next few seeds when it has done with the last. */
import { Worker } from 'node:worker_threads';
import type { ParameterValues } from '../../migration/parameters.js';
import { bundleOf } from '../../vmm/built.js';
import { addTally, newTally, type Tally } from './campaign.js';
import type { Fault } from './fault.js';

export interface CrewOptions {
  readonly imagePath: string;
  readonly plan: readonly Fault[] | undefined;
  readonly parameters: Partial<ParameterValues> | undefined;
  readonly jobs: number;
  /** From `first` to `last`, both included. */
  readonly first: number;
  readonly last: number;
  /** No more seeds are begun when it says so. */
  readonly enough: () => boolean;
  /** Called with what came so far, now and then. */
  readonly progress: (tally: Tally) => void;
}

export type CrewData = Pick<CrewOptions, 'imagePath' | 'plan' | 'parameters'>;

/** Seeds that a thread takes at once: some tenths of a second. */
const PORTION = 8;

export interface Portion {
  readonly from: number;
  readonly to: number;
}

/** Resolves with what came of all seeds; rejects with what a thread died of. */
export async function runCrew(options: CrewOptions): Promise<Tally> {
  const { jobs, first, last, imagePath, plan, parameters, enough, progress } = options;
  const total = newTally();
  let next = first;
  const take = (): Portion | undefined => {
    if (next > last || enough()) return undefined;
    const from = next;
    next = Math.min(last, from + PORTION - 1) + 1;
    return { from, to: next - 1 };
  };
  const work = async (): Promise<void> => {
    const worker = new Worker(bundleOf(new URL('./crew-worker.js', import.meta.url)), {
      workerData: { imagePath, plan, parameters } satisfies CrewData,
    });
    const ended = new Promise<never>((_, reject) => {
      worker.once('error', reject);
      worker.once('exit', (code) =>
        reject(new Error(`a thread of the simulation ended with status ${code}`)),
      );
    });
    ended.catch(() => undefined);
    try {
      for (let portion = take(); portion !== undefined; portion = take()) {
        worker.postMessage(portion);
        const done = new Promise<Tally>((resolve) => worker.once('message', resolve));
        addTally(total, await Promise.race([done, ended]));
        progress(total);
      }
    } finally {
      await worker.terminate();
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  total.failures.sort((a, b) => a.seed - b.seed);
  return total;
}
