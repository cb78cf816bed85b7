/** What a peer says in numbers is looked at: a round that is not the one under way ends the migration, by name. */
import { describe, expect, it } from 'vitest';
import type { LinkRule } from '../../lab/simulator/link.js';
import { type ControlMessage, decodeMessage, encodeMessage } from '../../migration/messages.js';
import { checkOneSurvivor, simulate } from './simulate.js';
import type { GuestShape } from './test-machine.js';

/** Changes the second message of that kind, or the only one. */
function change(kind: ControlMessage['kind'], nth: number, to: (message: never) => ControlMessage): LinkRule {
  let seen = 0;
  return {
    name: `${kind} ${nth} changed`,
    judge: (message) =>
      message.kind === kind && ++seen === nth
        ? { do: 'replace', bytes: encodeMessage(to(decodeMessage(message.bytes) as never)) }
        : undefined,
  };
}

/** Writes so much that a second round is worth it. */
const BUSY: GuestShape = { pages: 256, workingSet: 250, stepsPerSlice: 10 };

describe('the number of a round', () => {
  const kinds = [
    ['round-received', 1],
    ['round-received', 2],
    ['round-end', 1],
    ['round-end', 2],
    ['complete', 1],
  ] as const;
  it.each(kinds)('in %s (no. %d) is checked by who hears it, and named', async (kind, nth) => {
    for (const off of [1, 2]) {
      const wrong = (message: { round: number }): ControlMessage =>
        ({ ...message, round: message.round + off }) as never;
      const outcome = await simulate({ shape: BUSY, rules: [change(kind, nth, wrong)] });
      expect(checkOneSurvivor(outcome)).toBe('source');
      for (const { error } of [outcome.source, outcome.destination]) {
        expect(error, `round ${nth} called ${nth + off}`).toMatchObject({
          code: 'migration/malformed-message',
          facts: { message: kind, field: 'round' },
        });
      }
    }
  });
});

describe('the counts of a round', () => {
  it.each(['round-end', 'complete'] as const)('in %s are compared with what came', async (kind) => {
    for (const field of ['pages', 'zeroPages'] as const) {
      const wrong = (message: Record<typeof field, number>): ControlMessage =>
        ({ ...message, [field]: message[field] + 1 }) as never;
      const outcome = await simulate({ rules: [change(kind, 1, wrong)] });
      expect(checkOneSurvivor(outcome)).toBe('source');
      expect(outcome.destination.error, field).toMatchObject({
        code: 'migration/round-incomplete',
        facts: { field: field === 'pages' ? 'pages' : 'zero pages' },
      });
    }
  });
});
