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

/** From now on no thread of this process begins to optimise; what was optimised stays so. */
export const holdOptimiser = (): void => setFlagsFromString('--max-optimized-bytecode-size=0');

const releaseOptimiser = (): void => setFlagsFromString(`--max-optimized-bytecode-size=${OPTIMISED_MAX}`);

/** Call it whenever a migration has come to another state: the optimiser stands still while the guest does. */
export function migrationMoved(state: SourceState | DestinationState): void {
  if (state === 'pre-switchover') holdOptimiser();
  if (OVER.has(state)) releaseOptimiser();
}

const OVER: ReadonlySet<SourceState | DestinationState> = new Set([
  'completed',
  'cancelled',
  'failed',
  'unacknowledged',
]);
