/** A question to the guest: its own answer is waited for, whenever it comes, and for no longer than somebody waits. */
import { describe, expect, it } from 'vitest';
import { milliseconds } from '../../base/units.js';
import { askGuest } from '../../migration/ask-guest.js';
import type { AssignedDevice, GuestMessage } from '../../migration/ports.js';

const never = new Promise<void>(() => undefined);
const patient = { patience: { duration: milliseconds(5), over: never }, givenUp: never };

/** A channel whose guest does `answer` before the question's number is known. */
function channel(answer: (say: (message: GuestMessage) => void, sequence: number) => void) {
  const listeners = new Set<(message: GuestMessage) => void>();
  const say = (message: GuestMessage): void => {
    for (const listener of listeners) listener(message);
  };
  let sequence = 6;
  const asked: unknown[] = [];
  const guest = {
    features: async () => [],
    request: async (word: string, args: readonly number[] = []) => {
      asked.push([word, ...args]);
      answer(say, ++sequence);
      return sequence;
    },
    onMessage: (listener: (message: GuestMessage) => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  return { device: { name: 'vf0', guest } as unknown as AssignedDevice, asked, listeners };
}

const message = (sequence: number, word = 'ok'): GuestMessage => ({ sequence, word, args: [1, 2, 3, 4] });

describe('a question to the guest', () => {
  it('is answered by the message of its number, also one that came first; others are not for it', async () => {
    const { device, asked, listeners } = channel((say, sequence) => {
      say(message(sequence - 1, 'late'));
      say(message(sequence));
    });
    expect(await askGuest(device, 'do', [9], patient)).toEqual(message(7));
    expect(asked).toEqual([['do', 9]]);
    expect(listeners.size).toBe(0);
  });

  it('is answered later', async () => {
    const { device } = channel((say, sequence) => {
      setImmediate(() => say(message(sequence)));
    });
    expect((await askGuest(device, 'do', [], patient)).sequence).toBe(7);
  });

  it.each([
    ['its time is over', { ...patient, patience: { ...patient.patience, over: Promise.resolve() } }],
    ['nobody waits any more', { ...patient, givenUp: Promise.resolve() }],
  ])('ends when %s, and listens no longer', async (_, limits) => {
    const { device, listeners } = channel(() => undefined);
    await expect(askGuest(device, 'do', [], limits)).rejects.toMatchObject({
      code: 'migration/guest-silent',
      message: expect.stringMatching(/vf0 did not answer do within 5 ms/),
    });
    expect(listeners.size).toBe(0);
  });
});
