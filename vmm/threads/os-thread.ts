/** The thread as the host's kernel knows it. */
import { readlinkSync } from 'node:fs';

/** The kernel's id of this thread, by which its CPU time and its priority are found; 0 where there is no /proc. */
export function osThreadId(): number {
  try {
    return Number(readlinkSync('/proc/thread-self').split('/').pop());
  } catch {
    return 0;
  }
}
