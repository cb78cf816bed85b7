/** A thread of the page hasher: hashes one slice of pages after the other. */
import { constants, setPriority } from 'node:os';
import { osThreadId } from '../threads/os-thread.js';
import { onTask } from '../threads/task-thread.js';
import { simdKernels } from './kernels.js';
import type { HashTask } from './page-hasher.js';

onTask((task: HashTask) => {
  if (task.inBackground) giveWay();
  const kernels = simdKernels(task.memory);
  const table = new Uint32Array(task.table);
  for (let i = 0; i < task.pageCount; i++) {
    kernels.hash(task.firstPage + i, task.seed, table, 2 * (task.at + i));
  }
});

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
