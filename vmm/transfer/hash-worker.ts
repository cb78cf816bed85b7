/** Piscina task of the page hasher: one slice of pages. */
import { constants, setPriority } from 'node:os';
import { osThreadId } from '../threads/os-thread.js';
import { simdKernels } from './kernels.js';
import type { HashTask } from './page-hasher.js';

export default function hashSlice(task: HashTask): void {
  if (task.inBackground) giveWay();
  const kernels = simdKernels(task.memory);
  const table = new Uint32Array(task.table);
  for (let i = 0; i < task.pageCount; i++) {
    kernels.hash(task.firstPage + i, task.seed, table, 2 * (task.at + i));
  }
}

/** Linux has a priority for each thread. Where that can't be set, the work is done all the same. */
function giveWay(): void {
  const thread = osThreadId();
  if (thread === 0) return;
  try {
    setPriority(thread, constants.priority.PRIORITY_LOW);
  } catch {
    // Not permitted on this host.
  }
}
