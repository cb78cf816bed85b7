/** CPU time of a process's threads, from Linux's schedstat. */
import { readdirSync, readFileSync } from 'node:fs';

/** Nanoseconds on a CPU by thread id, so far. Threads that end meanwhile are left out; elsewhere than on Linux, all are. */
export function threadTimes(pid: number): ReadonlyMap<number, number> {
  const times = new Map<number, number>();
  for (const thread of threadsOf(pid)) {
    try {
      const [onCpu] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ');
      times.set(thread, Number(onCpu));
    } catch {
      // It has ended.
    }
  }
  return times;
}

/** What each thread ran between two readings, nanoseconds. */
export function timesBetween(
  before: ReadonlyMap<number, number>,
  after: ReadonlyMap<number, number>,
): Map<number, number> {
  return new Map([...after].map(([thread, ns]) => [thread, ns - (before.get(thread) ?? 0)]));
}

function threadsOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch {
    return [];
  }
}
