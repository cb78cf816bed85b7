import { describe, expect, it } from 'vitest';
import type { Scheduler } from '../../base/clock.js';
import { instant, MIB, milliseconds } from '../../base/units.js';
import { Conversation } from '../../migration/conversation.js';
import { decodeHeader, type FrameKind } from '../../migration/frame.js';
import { type ControlMessage, encodeMessage } from '../../migration/messages.js';
import { MigrationParameters } from '../../migration/parameters.js';
import type { ControlLink } from '../../migration/ports.js';

/** A talk whose peer and clock are this test. */
function talk() {
  const arrived: Uint8Array[] = [];
  let receive: ((frame: Uint8Array) => void) | undefined;
  const timers: { readonly ns: number; readonly fire: () => void }[] = [];
  /** What the event loop finds when it looks at the sockets. */
  const poll: (() => void)[] = [];
  const sent: FrameKind[] = [];
  const link: ControlLink = {
    send: async (frame) => void sent.push(decodeHeader(frame).kind),
    receive: () =>
      new Promise((resolve) => {
        const frame = arrived.shift();
        if (frame === undefined) receive = resolve;
        else resolve(frame);
      }),
    close: () => {},
  };
  const arrive = (message: ControlMessage): void => {
    const frame = encodeMessage(message);
    if (receive === undefined) arrived.push(frame);
    else receive(frame);
    receive = undefined;
  };
  const scheduler: Scheduler = {
    now: () => instant(0),
    after: (ns, fire) => {
      timers.push({ ns, fire });
      return () => {};
    },
    sleep: async () => {},
    yield: async () => {
      for (const found of poll.splice(0)) found();
      // As long as promises take to pass it on.
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
  const conversation = new Conversation({
    link,
    scheduler,
    parameters: new MigrationParameters(),
    phase: () => 'committed',
  });
  return { conversation, arrive, poll, timers, sent, unread: () => arrived.length };
}

const prepared: ControlMessage = {
  kind: 'prepared',
  lastPagesNs: 0,
  integrityNs: 0,
  loadNs: 0,
  deviceLoadNs: 0,
};
const DEADLINE = milliseconds(7);

describe('a process that stood still beyond a deadline', () => {
  it('takes the answer that came meanwhile', async () => {
    const { conversation, arrive, poll, timers } = talk();
    const answer = conversation.expect(['prepared'], DEADLINE);
    poll.push(() => arrive(prepared));
    timers.find(({ ns }) => ns === DEADLINE)?.fire();
    await expect(answer, 'the answer lay in the socket').resolves.toEqual(prepared);
  });

  it('gives up if there is none', async () => {
    const { conversation, timers } = talk();
    const answer = conversation.expect(['prepared'], DEADLINE);
    timers.find(({ ns }) => ns === DEADLINE)?.fire();
    await expect(answer).rejects.toMatchObject({ code: 'migration/peer-silent', facts: { waitedMs: 7 } });
  });
});

describe('a peer that answers no ping', () => {
  /** Beats of the heart, after each of which the peer says something or not. */
  async function beats(count: number, speaks: boolean) {
    const { conversation, arrive, timers } = talk();
    conversation.post(prepared);
    for (let i = 0; i < count; i++) {
      timers.shift()?.fire();
      if (speaks) arrive({ kind: 'ping', serial: i });
      await new Promise((resolve) => setImmediate(resolve));
    }
    return conversation;
  }

  it('is called silent after a while, but not if it says anything at all', async () => {
    const silent = await beats(30, false);
    expect(() => silent.check()).toThrow(/silent|no sign of life/);
    (await beats(30, true)).check();
  });
});

describe('a source that takes its time before its first words', () => {
  it('pings nobody until it has said them: whoever hears anything else first turns it away', () => {
    const { conversation, timers, sent } = talk();
    for (let i = 0; i < 30; i++) timers.shift()!.fire();
    expect(sent).toEqual([]);
    conversation.check();
    conversation.post(prepared);
    timers.shift()!.fire();
    expect(sent).toEqual(['prepared', 'ping']);
  });
});

describe('what a peer says that nobody waits for', () => {
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const tooMuch = /`(verify|device-data)`.*expected nothing more until it is answered/;

  it('is bounded in number', async () => {
    const { conversation, arrive } = talk();
    for (let i = 0; i < 500; i++) arrive({ kind: 'verify' });
    await settled();
    conversation.check();
    for (let i = 0; i < 100; i++) arrive({ kind: 'verify' });
    await settled();
    expect(() => conversation.check(), 'the inbox has a limit').toThrow(tooMuch);
  });

  it('is bounded in bytes', async () => {
    const { conversation, arrive } = talk();
    const piece: ControlMessage = {
      kind: 'device-data',
      device: 'vf0',
      data: new Uint8Array(MIB),
      last: false,
    };
    for (let i = 0; i < 40; i++) arrive(piece);
    await settled();
    conversation.check();
    for (let i = 0; i < 10; i++) arrive(piece);
    await settled();
    expect(() => conversation.check(), 'the inbox has a limit').toThrow(tooMuch);
  });

  it('still counts when the talk has ended meanwhile: a commit behind which the link broke was received', async () => {
    const { conversation, arrive } = talk();
    arrive(prepared);
    await settled();
    conversation.fail(new Error('the link broke'));
    await expect(conversation.expect(['prepared'])).resolves.toEqual(prepared);
    await expect(conversation.expect(['commit']), 'and nothing after it').rejects.toThrow('the link broke');
  });

  it('does not count when it has been taken', async () => {
    const { conversation, arrive } = talk();
    for (let i = 0; i < 2000; i++) {
      arrive({ kind: 'verify' });
      await conversation.expect(['verify']);
    }
    conversation.check();
  });
});

describe('a peer that is not listened to for a while', () => {
  const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  /** More heartbeats than a silent peer is given. */
  const manyBeats = ({ timers }: ReturnType<typeof talk>): void => {
    for (let beat = 0; beat < 100; beat++) timers.at(-1)!.fire();
  };

  it('is read no further, and not called silent for that', async () => {
    const world = talk();
    const { conversation, arrive, unread } = world;
    let finish: () => void = () => undefined;
    const work = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const waiting = conversation.unheard(work);
    for (let i = 0; i < 600; i++) arrive({ kind: 'verify' });
    await settled();
    expect(unread(), 'messages left on the link').toBeGreaterThanOrEqual(598);
    manyBeats(world);
    conversation.check();
    finish();
    await waiting;
    for (let i = 0; i < 600; i++) await conversation.expect(['verify']);
    expect(unread()).toBe(0);
    manyBeats(world);
    expect(() => conversation.check(), 'once it is listened to again').toThrow(/sign of life/);
  });

  it('ends the wait when the talk is ended here', async () => {
    const { conversation } = talk();
    const waiting = conversation.unheard(new Promise(() => undefined));
    conversation.fail(new Error('cancelled'));
    await expect(waiting).rejects.toThrow('cancelled');
  });
});
