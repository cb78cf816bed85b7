/** Whether what happened in a scenario is right: all that must hold whatever is inflicted, and what holds for this scenario. */
import { violationsOf } from '../checkers/checkers.js';
import type { Happened, Side, SideEnd, Whereabouts } from '../checkers/happened.js';
import type { FaultRun } from './outcome.js';
import type { FaultScenario, Keeper, Strike } from './scenario.js';

const MAY_HAVE: Readonly<Record<Keeper, readonly Whereabouts[]>> = {
  source: ['source'],
  destination: ['destination'],
  either: ['source', 'destination'],
  undecided: ['undecided'],
  ended: ['nobody'],
};

/** One sentence for each thing that does not hold. */
export function findingsOf(
  scenario: FaultScenario,
  happened: Happened,
  { guest, unwritten }: Pick<FaultRun, 'guest' | 'unwritten'>,
  unstruck: readonly Pick<Strike, 'at'>[],
): readonly string[] {
  const findings = violationsOf(happened).map(({ checker, finding }) => `${checker}: ${finding}`);
  findings.push(...idleFindings(unstruck));
  return [...findings, ...diskFindings(scenario, unwritten), ...endFindings(scenario, happened, guest)];
}

/** A strike that never came: a run in which it did not has shown nothing. */
export const idleFindings = (unstruck: readonly { readonly at: unknown }[]): readonly string[] =>
  unstruck.map(({ at }) => `struck: nothing came to ${JSON.stringify(at)}, so nothing was shown`);

/** A full disk is told of, and nothing else is. */
export function diskFindings(
  { host }: Pick<FaultScenario, 'host'>,
  unwritten: FaultRun['unwritten'],
): readonly string[] {
  const file = host?.kind === 'full-disk' ? host.file : undefined;
  if ((file !== undefined) === unwritten.length > 0) return [];
  return file === undefined
    ? [
        `typed-errors: not written, and nothing was in the way: ${unwritten.map(({ message }) => message).join('; ')}`,
      ]
    : [`struck: nobody said that the ${file} could not be written`];
}

/** What is wrong with a monitor's answer: `reason`: why it refused, undefined if it did not; `refused`: whether it had to. */
export function otherAnswer(
  side: Side,
  command: string,
  reason: string | undefined,
  refused: boolean,
): string | undefined {
  if (refused === (reason !== undefined)) return undefined;
  return reason === undefined
    ? `operator: the ${side} did ${command}, which it had to refuse`
    : `operator: the ${side} refused ${command}: ${reason}`;
}

/** Whoever has the guest in the end must have it, and sides that failed name the cause. */
export function endFindings(
  expected: Pick<FaultScenario, 'guest' | 'causes'>,
  happened: Pick<Happened, Side>,
  guest: Whereabouts,
): readonly string[] {
  const findings: string[] = [];
  if (!MAY_HAVE[expected.guest].includes(guest)) {
    findings.push(`keeper: ${guest} has the guest in the end, and not ${expected.guest}`);
  }
  for (const side of ['source', 'destination'] as const) {
    findings.push(...wrongWords(side, happened[side], expected, guest));
  }
  return findings;
}

/** A side that did not come to a good end names the cause; one that knows nothing of a failure tells of none. */
function wrongWords(
  side: 'source' | 'destination',
  { error, gone, status }: SideEnd,
  { causes }: Pick<FaultScenario, 'causes'>,
  guest: Whereabouts,
): readonly string[] {
  if (gone || status === undefined) return [];
  if (error === undefined) {
    // With the guest at the destination both may know that all is well.
    if (guest === 'destination' || status === 'completed') return [];
    return [`typed-errors: the ${side} ended as ${status} and does not say why`];
  }
  if (causes?.test(error.code) === true) return [];
  return [`typed-errors: the ${side} says ${error.code} (${error.message}), which is not what was done`];
}
