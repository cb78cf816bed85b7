/**
 * At no time do two sides run the guest; once it has gone on at the destination it never goes on at the source, unless it is moved back;
 * at the end the side that says so runs it, and nobody does only if a person left it so, or if the process ended that had it.
 *
 * It does not check that a machine that says that it stands still executes no instruction, nor that a device of it is quiet.
 */
import type { Checker, Happened, RunChange, Side } from './happened.js';

export const oneRunner: Checker = {
  name: 'one-runner',
  check: (happened) => [...duringRuns(happened), ...inTheEnd(happened)],
};

function duringRuns({ runs, second }: Happened): string[] {
  const findings: string[] = [];
  const running = new Set<Side>();
  let holder: Side = 'source';
  let isMovedAgain = false;
  for (const { atNs, side, running: goesOn } of runs) {
    if (!goesOn) {
      running.delete(side);
      continue;
    }
    running.add(side);
    const forth = side === 'destination';
    if (running.size > 1) findings.push(`source and destination both run the guest at ${atNs} ns`);
    else if (side !== holder) {
      const again = second !== undefined && atNs >= second.beganNs;
      if (again ? isMovedAgain : !forth) {
        findings.push(
          `the guest goes on at the ${side} again at ${atNs} ns, as it was before it went on at the ${holder}`,
        );
      }
      isMovedAgain ||= again;
    }
    holder = side;
  }
  return findings;
}

function inTheEnd(happened: Happened): string[] {
  const running = runningIn(happened.runs);
  const findings: string[] = [];
  for (const side of ['source', 'destination'] as const) {
    const says = happened.claims?.includes(side);
    if (says !== undefined && says !== running.has(side)) {
      findings.push(
        `in the end the ${side} says that it ${says ? 'runs' : 'does not run'} the guest, and it ${says ? 'stands still' : 'runs'}`,
      );
    }
  }
  if (running.size === 0 && !mayEndWithNone(happened)) {
    findings.push(
      `nobody runs the guest in the end; it stands still since ${happened.runs.at(-1)?.atNs ?? 0} ns`,
    );
  }
  return findings;
}

function runningIn(runs: readonly RunChange[]): ReadonlySet<Side> {
  const running = new Set<Side>();
  for (const { side, running: goesOn } of runs) {
    if (goesOn) running.add(side);
    else running.delete(side);
  }
  return running;
}

/** The guest ended with the process that ran it last, or to which it was given without running there, or by itself. */
function mayEndWithNone(happened: Happened): boolean {
  const last = happened.runs.findLast(({ running }) => running)?.side ?? 'source';
  const { source, destination, leftStopped, guestEnded = false } = happened;
  const givenAway = source.status === 'completed' && destination.gone;
  return leftStopped || guestEnded || happened[last].gone || givenAway;
}
