/**
 * Garbage is collected when it suits us. The engine would free guest RAM when it next happens to collect, and may not
 * notice for a long time that a few small objects hold gigabytes: a VMM that a guest leaves and comes back to would
 * hold its RAM twice. And left alone it collects at the end of a migration's first rounds, which is when the guest
 * stands still: 5 to 15 ms of this thread, and of helper threads that take the cores from those who hurry.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

let collect: (() => void) | undefined;

/** Collects garbage, which takes this thread some milliseconds. Not while a guest stands still. */
export function reclaimMemory(): void {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
  }
  collect();
}
