/**
 * At no time do two sides run the guest; at the end one does, unless a failure that is known to be fatal, or a person, left none.
 *
 * It does not check that a machine that says that it stands still executes no instruction, nor that a device of it is quiet.
 */
import type { Checker, Happened, Side } from './happened.js';

export const oneRunner: Checker = {
  name: 'one-runner',
  check: (happened) => {
    const findings: string[] = [];
    const running = new Set<Side>();
    for (const { atNs, side, running: runs } of happened.runs) {
      if (runs) running.add(side);
      else running.delete(side);
      if (running.size > 1) findings.push(`source and destination both run the guest at ${atNs} ns`);
    }
    if (running.size === 0 && !mayEndWithNone(happened)) {
      const last = happened.runs.at(-1);
      findings.push(`nobody runs the guest in the end; it stands still since ${last?.atNs ?? 0} ns`);
    }
    return findings;
  },
};

/** Its process ended with the guest in it, or with the only answer to where it is. */
function mayEndWithNone({ source, destination, leftStopped }: Happened): boolean {
  return leftStopped || source.gone || destination.gone;
}
