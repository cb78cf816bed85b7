/**
 * Hashes of pages as they are in RAM now, computed on threads of its own. They end with `close`: the guest stands still
 * while somebody waits for the hashes, and the end of a thread takes a core for milliseconds.
 */
import { availableParallelism } from 'node:os';
import { invariant } from '../../base/errors.js';
import type { PageHasher } from '../../migration/ports.js';
import { bundleOf } from '../built.js';
import { TaskThread } from '../threads/task-thread.js';
import { memoryPages } from './kernels.js';

const THREADS_MAX = 4;
/** Below this many pages a thread is not worth its start. */
const THREAD_PAGES_MIN = 16_384;

export interface HashTask {
  readonly memory: WebAssembly.Memory;
  readonly firstPage: number;
  readonly pageCount: number;
  readonly seed: number;
  /** Two words a page of the whole range; `at` is the first page's place in it. */
  readonly table: SharedArrayBuffer;
  readonly at: number;
  /** Give way to everything else. */
  readonly inBackground: boolean;
}

export class WorkerPageHasher implements PageHasher {
  readonly #memory: WebAssembly.Memory;
  readonly #threads: TaskThread<HashTask>[] = [];

  constructor(memory: WebAssembly.Memory) {
    this.#memory = memory;
  }

  /** Two words (low, high) a page, from `firstPage` on. The guest should be paused: else each page is of its own time. */
  async hashAll(
    firstPage: number,
    pageCount: number,
    seed: number,
    inBackground = false,
  ): Promise<Uint32Array> {
    invariant(firstPage + pageCount <= memoryPages(this.#memory), 'pages beyond RAM');
    const table = new Uint32Array(new SharedArrayBuffer(pageCount * 8));
    const wanted = Math.ceil(pageCount / THREAD_PAGES_MIN);
    const threads = Math.max(1, Math.min(wanted, THREADS_MAX, availableParallelism()));
    const share = Math.ceil(pageCount / threads);
    const module = bundleOf(new URL('./hash-worker.js', import.meta.url));
    while (this.#threads.length < threads) this.#threads.push(new TaskThread(module, 'hashes'));
    const slices = this.#threads.slice(0, threads).map((thread, index) =>
      thread.run({
        memory: this.#memory,
        firstPage: firstPage + index * share,
        pageCount: Math.min(share, pageCount - index * share),
        seed,
        table: table.buffer,
        at: index * share,
        inBackground,
      }),
    );
    await Promise.all(slices);
    return table;
  }

  async close(): Promise<void> {
    await Promise.all(this.#threads.splice(0).map((thread) => thread.end()));
  }
}
