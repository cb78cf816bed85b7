/**
 * A commit that the destination no longer hears: it gave up before, says so, and never runs the guest, so the source may take
 * back what it gave away. What says less than that proves nothing.
 */
import { describe, expect, it } from 'vitest';
import { milliseconds } from '../../base/units.js';
import type { LinkMessage, LinkRule, LinkVerdict } from '../../lab/simulator/link.js';
import { encodeMessage } from '../../migration/messages.js';
import { errorMessage } from '../../migration/peer-error.js';
import { checkOneSurvivor, type Outcome, type Stage, simulate } from './simulate.js';
import { refused } from './test-errors.js';

const rule = (name: string, judge: (message: LinkMessage) => LinkVerdict | undefined): LinkRule => ({
  name,
  judge,
});

const impatient = { keepaliveIntervalMs: 10, peerTimeoutMs: 50 };
/** The source alone is patient: a process that stands still does not count the time. */
const patientSource = ({ parameters }: Stage): void => parameters.set({ peerTimeoutMs: 60_000 });

const said = (outcome: Outcome, words: string): boolean =>
  outcome.trace.lines.some((line) => line.includes(words));

/** The guest was given away by the source, which has it back, and stands still nowhere. */
function expectTakenBack(outcome: Outcome, code: string): void {
  expect(said(outcome, 'source sends commit'), 'the commit was sent').toBe(true);
  expect(said(outcome, 'prepared -> committed'), 'the destination heard it').toBe(false);
  expect(checkOneSurvivor(outcome)).toBe('source');
  expect(outcome.source).toMatchObject({ status: 'failed', error: { code } });
  expect(outcome.destination).toMatchObject({ status: 'failed', error: { code } });
}

describe('a destination that gives up before it hears the commit', () => {
  it('gives the guest back to a source that stood still, whatever that had said by the time it read so', async () => {
    let still = false;
    const outcome = await simulate({
      parameters: impatient,
      prepare: patientSource,
      rules: [
        rule('the source stands still', ({ from, kind }) => {
          if (from === 'source' && kind === 'complete') {
            still = true;
            return { do: 'delay', by: milliseconds(0) };
          }
          return from === 'source' && still ? { do: 'silence' } : undefined;
        }),
        rule('and reads all at once', ({ from, kind }) =>
          from === 'destination' && kind === 'prepared' ? { do: 'delay', by: milliseconds(200) } : undefined,
        ),
      ],
    });
    expectTakenBack(outcome, 'migration/peer-silent');
    expect(outcome.source.error?.facts).toMatchObject({ phase: 'prepared' });
  });

  it('gives it back when the commit is lost, late, garbled or of another migration', async () => {
    const ends: readonly (readonly [LinkVerdict | ((bytes: Uint8Array) => LinkVerdict), string])[] = [
      [{ do: 'silence' }, 'migration/peer-silent'],
      [{ do: 'delay', by: milliseconds(500) }, 'migration/peer-silent'],
      [
        (bytes) => ({
          do: 'replace',
          bytes: bytes.map((byte, at) => (at === bytes.length - 1 ? byte ^ 1 : byte)),
        }),
        'migration/malformed-message',
      ],
      [
        () => ({ do: 'replace', bytes: encodeMessage({ kind: 'commit', migrationId: 'f'.repeat(32) }) }),
        'migration/malformed-message',
      ],
    ];
    for (const [verdict, code] of ends) {
      const outcome = await simulate({
        parameters: impatient,
        prepare: patientSource,
        rules: [
          rule('commit', ({ kind, bytes }) => {
            if (kind !== 'commit') return undefined;
            return typeof verdict === 'function' ? verdict(bytes) : verdict;
          }),
        ],
      });
      expectTakenBack(outcome, code);
    }
  });
});

describe('words of the destination that do not say that it gave up before the commit', () => {
  it('leave a guest that was given away where it is: a wish to cancel', async () => {
    const outcome = await simulate({
      prepare: ({ destination, cancel, world: { scheduler } }) => {
        const { run } = destination;
        destination.run = async () => {
          cancel.destination.abort();
          await scheduler.sleep(milliseconds(1));
          return run.call(destination);
        };
      },
    });
    expect(checkOneSurvivor(outcome)).toBe('destination');
    expect(said(outcome, 'destination sends error'), 'a cancel after the commit is no word to anybody').toBe(
      false,
    );
    expect(outcome.source.status).toBe('completed');
  });

  it('leave it undecided: the machine at the destination failed to run', async () => {
    const outcome = await simulate({
      prepare: ({ destination }) => {
        destination.failing = { run: refused('no thread') };
      },
    });
    expect(outcome.source.status).toBe('unacknowledged');
    expect(outcome.stage.source.calls).not.toContain('resume');
  });

  it('leave it undecided: any other error', async () => {
    const outcome = await simulate({
      rules: [
        rule('running', ({ kind }) =>
          kind === 'running'
            ? { do: 'replace', bytes: encodeMessage(errorMessage(refused('something'))) }
            : undefined,
        ),
      ],
      parameters: { answerTimeoutMs: 200 },
    });
    expect(checkOneSurvivor(outcome)).toBe('destination');
    expect(outcome.source.status).toBe('unacknowledged');
    expect(outcome.source.error?.message).toMatch(/something/);
  });
});
