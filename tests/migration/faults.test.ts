/** Every message lost, cut, garbled or never heard of, in both directions: exactly one side ends with the guest. */
import { describe, expect, it } from 'vitest';
import type { LinkMessage, LinkRule, LinkVerdict, Side } from '../../lab/simulator/link.js';
import { checkOneSurvivor, type Outcome, type Scene, simulate } from './simulate.js';
import { smallDevice } from './test-device.js';
import { type GuestShape, smallGuest } from './test-machine.js';

/** All messages of a migration without faults. */
async function messagesOf(scene: Scene): Promise<LinkMessage[]> {
  const seen: LinkMessage[] = [];
  const watch: LinkRule = {
    name: 'watch',
    judge: (message) => {
      seen.push(message);
      return message.kind === 'released' ? { do: 'delay', by: 0 as never } : undefined;
    },
  };
  const outcome = await simulate({ ...scene, rules: [watch] });
  expect(outcome.source.status).toBe('completed');
  return seen;
}

function at(message: LinkMessage, verdict: (message: LinkMessage) => LinkVerdict): LinkRule {
  return {
    name: `${message.from} message ${message.index} (${message.kind})`,
    judge: (other) =>
      other.from === message.from && other.index === message.index ? verdict(other) : undefined,
  };
}

const scenes: readonly (readonly [string, Scene])[] = [
  ['with the root checked', { parameters: { verify: 'root' } }],
  ['verifying everything', { parameters: { verify: 'full' } }],
  [
    'with a device that writes memory',
    { shape: { ...smallGuest, device: smallDevice }, parameters: { verify: 'full' } },
  ],
  [
    'with three devices, verifying when the guest runs',
    {
      shape: {
        ...smallGuest,
        device: { ...smallDevice, first: 30, pages: 12 },
        otherDevices: [
          { ...smallDevice, first: 50, pages: 12 },
          { ...smallDevice, first: 70, pages: 12 },
        ],
      },
      parameters: { verify: 'after' },
    },
  ],
];

/**
 * The commit was sent, the destination does not have it, and can't say so: the one case in which nobody may decide by
 * himself.
 */
function commitLost(outcome: Outcome): boolean {
  const { lines } = outcome.trace;
  const has = (words: string): boolean => lines.some((line) => line.includes(words));
  return has('source sends commit') && !has('prepared -> committed') && !has('committed -> device (refused)');
}

async function tryAll(scene: Scene, verdict: (message: LinkMessage) => LinkVerdict): Promise<Set<string>> {
  const ends = new Set<string>();
  for (const message of await messagesOf(scene)) {
    const outcome = await simulate({ ...scene, rules: [at(message, verdict)] });
    const survivor = checkOneSurvivor(outcome);
    expect(survivor === 'undecided', `${message.from} ${message.kind}`).toBe(commitLost(outcome));
    if (survivor !== 'destination') {
      expect(outcome.source.error?.advice.length).toBeGreaterThan(10);
      expect(outcome.destination.error?.advice.length).toBeGreaterThan(10);
    }
    ends.add(`${survivor}: ${outcome.source.error?.code ?? outcome.source.status}`);
  }
  return ends;
}

describe.each(scenes)('a migration %s', (_, scene) => {
  it('cut just before any message arrives leaves exactly one side with the whole guest', async () => {
    const ends = await tryAll(scene, () => ({ do: 'cut', when: 'before' }));
    expect([...ends].sort()).toEqual([
      'destination: completed',
      'destination: migration/commit-unacknowledged',
      'source: migration/link-broken',
      'undecided: migration/commit-unacknowledged',
    ]);
  });

  it('cut just after any message arrived leaves exactly one side with the whole guest', async () => {
    const ends = await tryAll(scene, () => ({ do: 'cut', when: 'after' }));
    expect([...ends].sort()).toEqual([
      'destination: completed',
      'destination: migration/commit-unacknowledged',
      'source: migration/link-broken',
      'undecided: migration/commit-unacknowledged',
    ]);
  });

  it('whose peer falls silent at any message is given up in bounded time', async () => {
    const patience = { keepaliveIntervalMs: 10, peerTimeoutMs: 50, answerTimeoutMs: 200 };
    const impatient = { ...scene, parameters: { ...scene.parameters, ...patience } };
    const ends = await tryAll(impatient, () => ({ do: 'silence' }));
    expect([...ends].some((end) => end.startsWith('source: migration/peer-silent'))).toBe(true);
    expect([...ends].every((end) => /completed|silent|unacknowledged|closed/.test(end))).toBe(true);
  });

  it('with one byte changed in any message is given up with a typed error', async () => {
    let step = 0;
    const ends = await tryAll(scene, ({ bytes }) => {
      const garbled = bytes.slice();
      // Another place in each message, so that magic, version, kind, length, checksums and payload all have their turn.
      garbled[(step++ * 7) % garbled.length]! ^= 0x10;
      return { do: 'replace', bytes: garbled };
    });
    expect([...ends].every((end) => /completed|not-a-stream|peer-version|malformed|unackn/.test(end))).toBe(
      true,
    );
  });
});

describe('a message that comes twice', () => {
  it('is either harmless or refused, and never runs the guest twice', async () => {
    for (const message of await messagesOf({})) {
      const outcome = await simulate({ rules: [at(message, () => ({ do: 'repeat' }))] });
      checkOneSurvivor(outcome);
    }
  });

  it('if it is the commit, is reported by the destination, which runs the guest once', async () => {
    const commit = (await messagesOf({})).find(({ kind }) => kind === 'commit')!;
    const outcome = await simulate({ rules: [at(commit, () => ({ do: 'repeat' }))] });
    expect(checkOneSurvivor(outcome)).toBe('destination');
    expect(outcome.destination.afterwards?.code).toBe('migration/unexpected-message');
    const control = await simulate();
    expect(control.destination.afterwards).toBeUndefined();
  });
});

describe('a cancel', () => {
  const sides: readonly Side[] = ['source', 'destination'];

  it.each(sides)(
    'at the %s, at any message, ends with the guest on one side, and never after commit',
    async (side) => {
      const ends = new Set<string>();
      for (const message of await messagesOf({ parameters: { verify: 'full' } })) {
        let abort: () => void = () => undefined;
        const outcome = await simulate({
          parameters: { verify: 'full' },
          prepare: ({ cancel }) => {
            abort = () => cancel[side].abort();
          },
          rules: [
            at(message, () => {
              abort();
              return { do: 'delay', by: 0 as never };
            }),
          ],
        });
        const survivor = checkOneSurvivor(outcome);
        // The source can't take back what it gave away; the destination may refuse it until it has heard so.
        const tooLate = side === 'source' ? 'source sends commit' : 'prepared -> committed';
        const committed = outcome.trace.lines.some((line) => line.includes(tooLate));
        expect(survivor, `cancelled at ${message.from} ${message.kind}`).toBe(
          committed ? 'destination' : 'source',
        );
        // One that comes too late is not even heard.
        if (committed)
          expect(outcome.destination.afterwards, `${message.from} ${message.kind}`).toBeUndefined();
        ends.add(`${survivor} ${outcome.source.status} ${outcome.source.error?.code}`);
      }
      expect([...ends].sort()).toEqual([
        'destination completed undefined',
        side === 'source' ? 'source cancelled migration/cancelled' : 'source failed migration/cancelled',
      ]);
    },
  );

  it('takes effect within what passes at once of a long round', async () => {
    let abortedAt = 0;
    const outcome = await simulate({
      bytesPerSecond: 1e6,
      prepare: ({ cancel, world: { scheduler } }) => {
        scheduler.after(100e6 as never, () => {
          abortedAt = scheduler.now();
          cancel.source.abort();
        });
      },
    });
    expect(checkOneSurvivor(outcome)).toBe('source');
    const cancelled = outcome.trace.lines.find((line) => line.includes('cancelling -> cancelled'))!;
    // What passes at once, 16 pages, takes 66 ms at this rate; the round as a whole would take 370.
    expect(Number.parseInt(cancelled, 10) - abortedAt).toBeLessThan(70e6);
  });

  it('before the first step sends no page', async () => {
    const outcome = await simulate({ prepare: ({ cancel }) => cancel.source.abort() });
    expect(checkOneSurvivor(outcome)).toBe('source');
    expect(outcome.source.transferred.bytes).toBe(0);
  });
});

describe('the check for one survivor', () => {
  it('fails for two owners, for none, for a guest run twice and for one wrong byte', async () => {
    const moved = await simulate();
    const { stage } = moved;
    expect(checkOneSurvivor(moved)).toBe('destination');
    const claimed = { ...moved, source: { ...moved.source, status: 'failed' as const } };
    expect(() => checkOneSurvivor(claimed)).toThrow(/both sides claim/);
    const lost = { ...moved, destination: { ...moved.destination, status: 'failed' as const } };
    expect(() => checkOneSurvivor(lost)).toThrow();
    stage.destination.calls.push('run');
    expect(() => checkOneSurvivor(moved)).toThrow();
    stage.destination.calls.pop();
    stage.destination.ram[5000]! ^= 1;
    expect(() => checkOneSurvivor(moved)).toThrow(/differs from the truth/);
  });
});

describe('the data channels', () => {
  it('breaking at any piece leave the guest at the source', async () => {
    // Several rounds.
    const shape: GuestShape = { pages: 96, workingSet: 90, stepsPerSlice: 10 };
    const pieces = (await simulate({ shape })).stage.data.pieces();
    expect(pieces).toBeGreaterThan(8);
    for (let piece = 0; piece < pieces; piece++) {
      const outcome = await simulate({ shape, breakAtPiece: piece });
      expect(checkOneSurvivor(outcome)).toBe('source');
      expect(outcome.source.error?.code).toBe('transfer/channel-broken');
    }
  });
});
