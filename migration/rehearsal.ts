/** How long a machine will take to be loaded and to start, before it has to: for the source's estimate of the blackout. */
import type { Scheduler } from '../base/clock.js';
import { type Duration, elapsed, nanoseconds } from '../base/units.js';
import type { DestinationMachine } from './ports.js';

export interface Rehearsed {
  readonly loadNs: Duration;
  readonly startNs: Duration;
}

export const NOT_REHEARSED: Rehearsed = { loadNs: nanoseconds(0), startNs: nanoseconds(0) };

/** Times the rehearsals of a machine that has prepared its code. */
export async function rehearseMachine(machine: DestinationMachine, scheduler: Scheduler): Promise<Rehearsed> {
  const took = async (what: 'load' | 'run'): Promise<Duration> => {
    const from = scheduler.now();
    await machine.rehearse?.(what);
    return elapsed(from, scheduler.now());
  };
  return { loadNs: await took('load'), startNs: await took('run') };
}
