/**
 * RAM whose pages the host has given before anybody needs them. A page that nobody touched costs nothing, but the first
 * write to it does: at a destination these are bound to fall into the first round, which takes about twice as long by them.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { bundleOf } from '../built.js';

/**
 * Resolves when every page of `memory` has been touched, by a thread of its own, so that this one answers meanwhile. What is
 * in the pages stays as it is, whoever writes to them at the same time. Rejects as the thread fails.
 */
export async function preallocate(memory: WebAssembly.Memory): Promise<void> {
  const worker = new Worker(bundleOf(new URL('./prealloc-worker.js', import.meta.url)), {
    name: 'prealloc',
    workerData: memory,
  });
  await once(worker, 'exit');
}
