/**
 * Gives the memory of a machine that is gone back to the host now. The engine would free guest RAM when it next
 * happens to collect garbage, and may not notice for a long time that a few small objects hold gigabytes: a VMM that
 * a guest leaves and comes back to would hold its RAM twice.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

let collect: (() => void) | undefined;

/** Collects garbage, which takes some milliseconds. Not while a guest runs. */
export function reclaimMemory(): void {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
  }
  collect();
}
