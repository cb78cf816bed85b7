/** A commit of which nothing was heard: the source asks, over new links, and the destination's word decides. */
import { describe, expect, it } from 'vitest';
import { FerryError } from '../../base/errors.js';
import { seededRandom } from '../../base/random.js';
import { type Duration, milliseconds, toMilliseconds } from '../../base/units.js';
import type { LinkMessage, LinkRule, LinkVerdict } from '../../lab/simulator/link.js';
import { Trace } from '../../lab/simulator/trace.js';
import { VirtualTime } from '../../lab/simulator/virtual-time.js';
import { migrationErrors } from '../../migration/errors.js';
import { answerInquiry, inquire, mayAsk } from '../../migration/inquiry.js';
import { encodeMessage } from '../../migration/messages.js';
import { MigrationParameters } from '../../migration/parameters.js';
import { errorMessage } from '../../migration/peer-error.js';
import type { ControlLink } from '../../migration/ports.js';
import type { DestinationRecord } from '../../migration/record.js';
import { Timeline } from '../../migration/timeline.js';
import { checkOneSurvivor, type Outcome, simulate } from './simulate.js';
import { refused } from './test-errors.js';

const impatient = { keepaliveIntervalMs: 10, peerTimeoutMs: 50, answerTimeoutMs: 200, inquiryTimeoutMs: 500 };

/** The first message of that kind, and whatever else `also` names. */
const on = (kind: string, verdict: LinkVerdict): LinkRule => ({
  name: `${verdict.do} ${kind}`,
  judge: (message) => (message.kind === kind ? verdict : undefined),
});

const asked = ({ trace }: Outcome): number =>
  trace.lines.filter((line) => line.includes('source sends inquiry')).length;

describe('a source whose commit or its answer is lost, and whose network comes back', () => {
  it.each([
    ['the commit never arrives', on('commit', { do: 'cut', when: 'before' }), 'source'],
    ['the commit arrives, and nothing else', on('commit', { do: 'cut', when: 'after' }), 'destination'],
    ['the answer never arrives', on('running', { do: 'cut', when: 'before' }), 'destination'],
    ['the answer is swallowed', on('running', { do: 'silence' }), 'destination'],
  ] as const)('knows where the guest is, and one side runs it: %s', async (_, rule, expected) => {
    const parameters = { ...impatient, verify: 'after' } as const;
    const outcome = await simulate({ parameters, rules: [rule], reachable: true });
    expect(checkOneSurvivor(outcome)).toBe(expected);
    expect(asked(outcome)).toBeGreaterThan(0);
    const { source } = outcome;
    if (expected === 'source') {
      expect(source).toMatchObject({ status: 'failed', guest: 'here' });
      expect(source.error?.advice).toMatch(/is here again/);
    } else {
      expect(source).toMatchObject({ status: 'completed', guest: 'there', error: undefined });
      // What the lost link took with it is told, and what it would have brought is claimed by nobody.
      expect(source.afterwards?.code).toMatch(/^migration\/(link-broken|peer-silent|peer-closed)$/);
      expect(source.verification?.established).not.toBe(true);
    }
  });

  it('is undecided in no case, whichever message is the last that the old link brings, in which way', async () => {
    const kinds: LinkMessage[] = [];
    const watch: LinkRule = {
      name: 'watch',
      judge: (message) => {
        kinds.push(message);
        return message.kind === 'released' ? { do: 'delay', by: milliseconds(0) } : undefined;
      },
    };
    await simulate({ parameters: impatient, rules: [watch] });
    const late = kinds.filter(({ kind }) =>
      ['complete', 'prepared', 'commit', 'running', 'released'].includes(kind),
    );
    expect(late.length).toBe(5);
    const ends = new Set<string>();
    for (const { from, index } of late) {
      for (const verdict of [
        { do: 'cut', when: 'before' },
        { do: 'cut', when: 'after' },
        { do: 'silence' },
      ] as const) {
        const rule = {
          name: 'once',
          judge: (message: LinkMessage) =>
            message.from === from && message.index === index ? verdict : undefined,
        };
        ends.add(checkOneSurvivor(await simulate({ parameters: impatient, rules: [rule], reachable: true })));
      }
    }
    expect([...ends].sort()).toEqual(['destination', 'source']);
  });
});

describe('a destination that is asked', () => {
  it('is asked again while it does not know itself', async () => {
    // It hears nothing of the cut until its patience is over, and could still be told to run the guest.
    const outcome = await simulate({
      parameters: impatient,
      prepare: ({ parameters }) => parameters.set({ answerTimeoutMs: 50 }),
      rules: [on('commit', { do: 'silence' })],
      reachable: true,
    });
    expect(asked(outcome)).toBeGreaterThan(1);
    expect(checkOneSurvivor(outcome)).toBe('source');
  });

  it('that could not let the guest run leaves it to people, and says so once', async () => {
    const outcome = await simulate({
      parameters: impatient,
      prepare: ({ destination }) => {
        destination.failing = { run: refused('no thread') };
      },
      rules: [on('error', { do: 'cut', when: 'before' })],
      reachable: true,
    });
    expect(outcome.source).toMatchObject({ status: 'unacknowledged', guest: 'unknown' });
    expect(asked(outcome)).toBe(1);
  });

  it('answers by what it has put down, and nothing to who asks for another migration', () => {
    const record = (part: Partial<DestinationRecord>): DestinationRecord =>
      ({ parts: { startNs: 5, deviceStartNs: 3 }, timeline: [], ...part }) as unknown as DestinationRecord;
    const error = (refused('no thread') as FerryError).toJSON();
    expect(answerInquiry(undefined)).toMatchObject({ code: 'migration/not-known', discarded: false });
    expect(answerInquiry(record({ status: 'completed' }))).toEqual({
      kind: 'running',
      startNs: 5,
      deviceStartNs: 3,
    });
    for (const status of ['setup', 'active', 'device', 'prepared', 'committed'] as const) {
      expect(answerInquiry(record({ status })), status).toMatchObject({
        code: 'migration/not-decided',
        discarded: false,
      });
    }
    expect(answerInquiry(record({ status: 'failed', guest: 'there', error }))).toMatchObject({
      discarded: true,
    });
    expect(answerInquiry(record({ status: 'failed', guest: 'unknown', error }))).toMatchObject({
      discarded: false,
    });
  });

  it('expects to be asked only where it had promised to run the guest, and lost the source', () => {
    const record = (code: string, prepared: boolean): DestinationRecord =>
      ({
        error: new FerryError(code, 'failed', '', '', {}).toJSON(),
        timeline: prepared ? [{ what: 'state', facts: { to: 'prepared' } }] : [],
      }) as unknown as DestinationRecord;
    expect(mayAsk(record('migration/peer-silent', true))).toBe(true);
    expect(mayAsk(record('migration/peer-silent', false))).toBe(false);
    expect(mayAsk(record('migration/cancelled', true))).toBe(false);
  });
});

describe('asking a destination that nobody reaches', () => {
  async function inVain(redial: () => Promise<ControlLink>, cancelAfterMs?: number): Promise<number> {
    const time = new VirtualTime(seededRandom(1), new Trace());
    const cancel = new AbortController();
    if (cancelAfterMs !== undefined) time.after(milliseconds(cancelAfterMs), () => cancel.abort());
    const parameters = new MigrationParameters({ ...impatient, inquiryTimeoutMs: 1000 });
    const verdict = await time.run(
      inquire({
        redial,
        scheduler: time,
        parameters,
        signal: cancel.signal,
        timeline: new Timeline(time),
        migrationId: '0'.repeat(32),
        observer: {},
      }),
    );
    expect(verdict).toBeUndefined();
    return toMilliseconds(time.now() as unknown as Duration);
  }
  const swallows = () => new Promise<never>(() => undefined);
  let open = 0;
  const mute = async (): Promise<ControlLink> => {
    let [closed, end] = [false, (): void => undefined];
    open++;
    return {
      send: async () => undefined,
      receive: () =>
        new Promise((resolve) => {
          end = () => resolve(undefined);
        }),
      close: () => {
        if (!closed) open--;
        closed = true;
        end();
      },
    };
  };

  it('ends when its time is up, whatever becomes of the connections, and leaves none open', async () => {
    for (const redial of [swallows, mute, () => Promise.reject(refused('no route'))]) {
      const ms = await inVain(redial);
      expect(ms).toBeGreaterThanOrEqual(1000);
      expect(ms).toBeLessThan(1100);
    }
    expect(open).toBe(0);
  });

  it('goes on when it is sent away unheard, for that is no word on the migration', async () => {
    const reasons = [
      migrationErrors.error('no-hello', { waitedMs: 5 }),
      migrationErrors.error('crowded', { most: 5 }),
      migrationErrors.error('busy', {}),
      migrationErrors.error('not-waiting', {}),
    ];
    let asked = 0;
    const ms = await inVain(async () => ({
      send: async () => undefined,
      receive: async () => encodeMessage(errorMessage(reasons[asked++ % reasons.length])),
      close: () => undefined,
    }));
    expect(ms).toBeGreaterThanOrEqual(1000);
    expect(asked).toBeGreaterThan(reasons.length);
  });

  it('ends at once when the user gives up', async () => {
    expect(await inVain(swallows, 333)).toBe(333);
  });
});
