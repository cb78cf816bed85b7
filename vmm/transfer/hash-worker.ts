/** Piscina task of the page hasher: one slice of pages. */
import { simdKernels } from './kernels.js';
import type { HashTask } from './page-hasher.js';

export default function hashSlice(task: HashTask): void {
  const kernels = simdKernels(task.memory);
  const table = new Uint32Array(task.table);
  for (let i = 0; i < task.pageCount; i++) {
    kernels.hash(task.firstPage + i, task.seed, table, 2 * (task.at + i));
  }
}
