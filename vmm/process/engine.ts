/**
 * How a VMM wants its code run. Left to itself, V8 compiles a function when it is first called, forgets it when it was not
 * called for some time, and optimises it, on threads of its own, when it was called often. What a migration does while the
 * guest stands still is code that runs once, right after it was rehearsed: all three fall into the blackout, and take
 * the cores from those who hurry.
 */
import { setFlagsFromString } from 'node:v8';
import type { DestinationState, SourceState } from '../../migration/states.js';

/** Bytes of a function's bytecode up to which V8 optimises it, as long as nobody says otherwise. */
const OPTIMISED_MAX = 60 * 1024;

/**
 * What is loaded from now on, in any thread, is compiled whole, and stays so. Call it before the VMM’s code is loaded, and before
 * bytecode is made that the VMM shall take: the engine compares flags.
 */
export function compileAhead(): void {
  setFlagsFromString('--no-lazy');
  setFlagsFromString('--no-flush-bytecode');
}

/**
 * How long a migration is over before the optimiser goes on: the guest's first packets, and what its driver does with a device that
 * is new to it, are of a sudden so much that it would take both cores from them.
 */
const FIRST_PACKETS_MS = 1000;

let release: ReturnType<typeof setTimeout> | undefined;

/** From now on no thread of this process begins to optimise; what was optimised stays so. */
export function holdOptimiser(): void {
  clearTimeout(release);
  setFlagsFromString('--max-optimized-bytecode-size=0');
}

const releaseOptimiser = (): void => setFlagsFromString(`--max-optimized-bytecode-size=${OPTIMISED_MAX}`);

/**
 * Call it whenever a migration has come to another state: the optimiser stands still while the guest does, and for a moment
 * longer.
 */
export function migrationMoved(state: SourceState | DestinationState): void {
  if (state === 'pre-switchover') holdOptimiser();
  if (!OVER.has(state)) return;
  clearTimeout(release);
  // It keeps no process from ending.
  release = setTimeout(releaseOptimiser, FIRST_PACKETS_MS).unref();
}

const OVER: ReadonlySet<SourceState | DestinationState> = new Set([
  'completed',
  'cancelled',
  'failed',
  'unacknowledged',
]);
