/** What the source does to find out, and to say, where the machine at the destination differs from its own. */
import { type FerryError, isFerryError } from '../base/errors.js';
import type { Duration } from '../base/units.js';
import { compareStates, type RegisterNames } from './compare-states.js';
import type { Conversation } from './conversation.js';
import { migrationErrors } from './errors.js';
import { malformed } from './frame.js';
import { HashComparison, hashMessages } from './integrity.js';
import type { MachineState } from './ports.js';

/** Differences that an error spells out. */
const DIFFERENCES_SHOWN_MAX = 12;

/** Receives the destination's hashes of the first `pages` pages and compares them with `mine`. */
async function comparePages(
  talk: Conversation,
  mine: Uint32Array,
  pages: number,
  deadline: Duration,
): Promise<HashComparison> {
  const comparison = new HashComparison(mine, pages);
  while (!comparison.complete) comparison.add(await talk.expect(['page-hashes'], deadline));
  return comparison;
}

/**
 * After *damaged*: the destination's hashes of the pages as received follow; compared with the hashes as sent they name
 * the pages that changed on the way.
 */
export async function nameDamagedPages(
  talk: Conversation,
  sent: Uint32Array,
  pages: number,
  deadline: Duration,
): Promise<FerryError> {
  const { count, inWords } = await comparePages(talk, sent, pages, deadline);
  if (count === 0) return malformed('damaged', 'page-hashes', 'all agree with what was sent');
  return migrationErrors.error('integrity-mismatch', { pages: inWords, count });
}

/**
 * Verification after the guest was given away, first half: the machine as loaded, which the destination kept and sends by itself.
 * Returns the differences in words, the peer's silence among them; rejects only for a defect of ours.
 */
export async function compareLoaded(
  talk: Conversation,
  saved: Promise<MachineState>,
  registerNames: RegisterNames | undefined,
  deadline: Duration,
): Promise<readonly string[]> {
  // Whoever waits for it hears of a failure, below.
  saved.catch(() => undefined);
  try {
    const loaded = await talk.expect(['read-back'], deadline);
    return compareStates(await saved, loaded.machine, registerNames);
  } catch (error) {
    if (!isFerryError(error)) throw error;
    return [`the machine as loaded was not shown: ${error.message}`];
  }
}

/**
 * Second half: all of RAM, which stands here as the guest left it (`now`). The integrity root has shown that the destination
 * received what was sent; so the hashes as sent stand for its RAM as it was, and only a page that was not sent again can differ.
 */
export function comparePagesLeft(now: Uint32Array, sent: Uint32Array): readonly string[] {
  const pages = now.length / 2;
  const comparison = new HashComparison(now, pages);
  for (const part of hashMessages(sent, pages)) comparison.add(part);
  return comparison.count > 0 ? [`pages ${comparison.inWords}`] : [];
}

/**
 * A verifying run: asks the destination for the hashes of all of its RAM and for the machine as loaded, and throws
 * `migration/verification-failed` with every difference from `hashes` and `saved`.
 */
export async function verifyDestination(
  talk: Conversation,
  hashes: Promise<Uint32Array>,
  pages: number,
  saved: Promise<MachineState>,
  registerNames: RegisterNames | undefined,
  deadline: Duration,
): Promise<void> {
  // Whoever waits for them hears of a failure, below.
  saved.catch(() => undefined);
  hashes.catch(() => undefined);
  await talk.send({ kind: 'verify' });
  const { count, inWords } = await comparePages(talk, await talk.during(hashes), pages, deadline);
  const loaded = await talk.expect(['read-back'], deadline);
  const differences = compareStates(await saved, loaded.machine, registerNames);
  const total = count + differences.length;
  if (total === 0) return;
  if (count > 0) differences.unshift(`pages ${inWords}`);
  throw migrationErrors.error('verification-failed', {
    differences: differences.slice(0, DIFFERENCES_SHOWN_MAX).join('; '),
    count: total,
  });
}
