/** When a reply goes that must not overtake what the device wrote. */
import { expect, it } from 'vitest';
import type { Message } from '../../vmm/vfio-user/connection.js';
import { OrderedReplies } from '../../vmm/vfio-user/ordered-replies.js';

const NOTHING = new Uint8Array(0);
const message = (id: number): Message => ({
  id,
  command: 9,
  flags: 0,
  payload: NOTHING,
  view: new DataView(NOTHING.buffer),
  fds: [],
});

/** A connection and a memory that note what happens; `written` lets go what waits for it. */
function setUp() {
  const log: string[] = [];
  const fences: (() => void)[] = [];
  const timers: (() => void)[] = [];
  const client = {
    answers: 0,
    /** What the client has sent that nobody has looked at. */
    unread: 0,
    reply: ({ id }: Pick<Message, 'id'>) => void log.push(`reply ${id}`),
    hold: () => void log.push('hold'),
    goOn: () => void log.push('go on'),
    takeIn() {
      this.answers += this.unread;
      this.unread = 0;
    },
  };
  let writing = false;
  const replies = new OrderedReplies(
    client,
    (then) => {
      if (writing) fences.push(then);
      else then();
    },
    (_ms, callback) => {
      timers.push(callback);
      return () => void timers.splice(timers.indexOf(callback), 1);
    },
  );
  return {
    log,
    client,
    timers,
    reply: (id: number) => replies.reply(message(id), NOTHING, 0),
    end: () => replies.end(),
    writes: () => {
      writing = true;
    },
    written: () => {
      writing = false;
      for (const then of fences.splice(0)) then();
    },
    /** So much time passes that a timer of its is due. */
    passes: () => timers.shift()?.(),
  };
}

it('a reply goes at once while nothing is written', () => {
  const { log, reply, timers } = setUp();
  reply(1);
  expect([log, timers]).toEqual([['reply 1'], []]);
});

it('a reply waits for what was written, and commands for it', () => {
  const { log, reply, writes, written, timers } = setUp();
  writes();
  reply(1);
  expect(log).toEqual(['hold']);
  written();
  expect([log, timers]).toEqual([['hold', 'reply 1', 'go on'], []]);
});

it('a client that is slow, and answers, is waited for', () => {
  const { log, client, reply, writes, written, passes } = setUp();
  writes();
  reply(1);
  client.answers++;
  passes();
  client.answers++;
  passes();
  // It has answered, and nobody had looked.
  client.unread++;
  passes();
  expect(log).toEqual(['hold']);
  written();
  expect(log).toEqual(['hold', 'reply 1', 'go on']);
});

it('a client that answers nothing while it waits has its reply, once, and from then on all of them at once', () => {
  const { log, reply, writes, written, passes } = setUp();
  writes();
  reply(1);
  passes();
  expect(log).toEqual(['hold', 'reply 1', 'go on']);
  reply(2);
  expect(log.at(-1)).toBe('reply 2');
  written();
  expect(log.filter((line) => line === 'reply 1').length).toBe(1);
});

it('nothing is waited for when the client is gone', () => {
  const { reply, writes, timers, end } = setUp();
  writes();
  reply(1);
  end();
  expect(timers).toEqual([]);
});
