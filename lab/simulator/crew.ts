/** A campaign on several threads: each has its own booted guest, and takes the next few seeds when it has done with the last. */
import { Worker } from 'node:worker_threads';
import type { ParameterValues } from '../../migration/parameters.js';
import { bundleOf } from '../../vmm/built.js';
import { addTally, newTally, type Tally } from './campaign.js';
import type { Fault } from './fault.js';

/** What is the same for all seeds of a campaign. */
export interface CrewData {
  readonly imagePath: string;
  readonly plan: readonly Fault[] | undefined;
  readonly parameters: Partial<ParameterValues> | undefined;
  /** The name of one; random ones if absent. */
  readonly machine?: string | undefined;
}

/** Seeds from `from` to `to`, both included. */
export interface Portion {
  readonly from: number;
  readonly to: number;
}

export interface CrewOptions extends CrewData {
  readonly jobs: number;
  /** In their order, none of them twice. */
  readonly portions: readonly Portion[];
  /** No more seeds are begun when it says so. */
  readonly enough: () => boolean;
  /** Called with what came so far, now and then, and with the seeds that were done last. */
  readonly progress: (tally: Tally, done: Portion) => void;
}

/** Seeds that a thread takes at once: some tenths of a second. */
const PORTION = 8;

export const CREW_WORKER = bundleOf(new URL('./crew-worker.js', import.meta.url));

/** One thread, with a guest that it boots once. */
export class CrewThread {
  readonly #worker: Worker;
  readonly #ended: Promise<never>;

  constructor({ imagePath, plan, parameters, machine }: CrewData) {
    this.#worker = new Worker(CREW_WORKER, {
      workerData: { imagePath, plan, parameters, machine } satisfies CrewData,
    });
    this.#ended = new Promise<never>((_, reject) => {
      this.#worker.once('error', reject);
      this.#worker.once('exit', (code) =>
        reject(new Error(`a thread of the simulation ended with status ${code}`)),
      );
    });
    this.#ended.catch(() => undefined);
  }

  /** Resolves with what came of these seeds; rejects with what the thread died of. One at a time. */
  run(portion: Portion): Promise<Tally> {
    const done = new Promise<Tally>((resolve) => this.#worker.once('message', resolve));
    this.#worker.postMessage(portion);
    return Promise.race([done, this.#ended]);
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }
}

/** Resolves with what came of all seeds; rejects with what a thread died of. */
export async function runCrew(options: CrewOptions): Promise<Tally> {
  const { jobs, portions, enough, progress } = options;
  const total = newTally();
  const left = portions.map(({ from, to }) => ({ from, to }));
  const take = (): Portion | undefined => {
    const first = left[0];
    if (first === undefined || enough()) return undefined;
    const { from } = first;
    const to = Math.min(first.to, from + PORTION - 1);
    first.from = to + 1;
    if (first.from > first.to) left.shift();
    return { from, to };
  };
  const work = async (): Promise<void> => {
    const thread = new CrewThread(options);
    try {
      for (let portion = take(); portion !== undefined; portion = take()) {
        addTally(total, await thread.run(portion));
        progress(total, portion);
      }
    } finally {
      await thread.end();
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  total.failures.sort((a, b) => a.seed - b.seed);
  return total;
}
