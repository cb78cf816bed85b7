/** Whether what happened in a scenario is right: all that must hold whatever is inflicted, and what holds for this scenario. */
import { violationsOf } from '../checkers/checkers.js';
import type { Happened, SideEnd } from '../checkers/happened.js';
import type { LinkRule } from './link/rule.js';
import type { FaultRun } from './outcome.js';
import type { FaultScenario, Keeper } from './scenario.js';

const MAY_HAVE: Readonly<Record<Keeper, readonly FaultRun['guest'][]>> = {
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
  unstruck: readonly LinkRule[],
): readonly string[] {
  const findings = violationsOf(happened).map(({ checker, finding }) => `${checker}: ${finding}`);
  const { host } = scenario;
  for (const { at } of unstruck)
    findings.push(`struck: nothing came to ${JSON.stringify(at)}, so nothing was shown`);
  if ((host?.kind === 'full-disk') !== unwritten.length > 0) {
    findings.push(
      unwritten.length === 0
        ? `struck: nobody said that the ${host!.kind === 'full-disk' && host!.file} could not be written`
        : `typed-errors: not written, and nothing was in the way: ${unwritten.map(({ message }) => message).join('; ')}`,
    );
  }
  if (!MAY_HAVE[scenario.guest].includes(guest)) {
    findings.push(`keeper: ${guest} has the guest in the end, and not ${scenario.guest}`);
  }
  for (const side of ['source', 'destination'] as const) {
    findings.push(...wrongWords(side, happened[side], scenario, guest));
  }
  return findings;
}

/** A side that did not come to a good end names the cause; one that knows nothing of a failure tells of none. */
function wrongWords(
  side: 'source' | 'destination',
  { error, gone, status }: SideEnd,
  { causes }: FaultScenario,
  guest: FaultRun['guest'],
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
