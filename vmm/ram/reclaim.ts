/**
 * Gives the RAM of machines that are gone back to the host. A WebAssembly memory is freed when the garbage collector
 * finds it unreachable, but the collector counts only the few bytes of the object and not the gigabytes behind it, so a
 * process that hosts one machine after another would hold the RAM of many.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

let collect: (() => void) | undefined;

/** A full collection; milliseconds, so for the moment when a machine has just gone. */
export function reclaimRam(): void {
  if (collect === undefined) {
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
  }
  collect();
}
