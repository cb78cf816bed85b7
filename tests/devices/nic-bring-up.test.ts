/** What the host hears of a driver that sets its function up. */
import { describe, expect, it } from 'vitest';
import { BringUp } from '../../devices/nic82599/bring-up.js';

describe("a driver's steps", () => {
  it('are told once after each reset, and not before the first: a driver at work takes them all the time', () => {
    const told: string[] = [];
    const bringUp = new BringUp((step) => told.push(step));
    const work = () => {
      for (const step of ['mailbox', 'interrupts', 'transmit', 'receive', 'mailbox', 'interrupts'] as const)
        bringUp.takes(step);
    };
    work();
    expect(told).toEqual([]);
    bringUp.begins();
    work();
    work();
    expect(told).toEqual(['function-reset', 'mailbox', 'interrupts', 'transmit', 'receive']);
    bringUp.begins();
    bringUp.takes('receive');
    expect(told.slice(5)).toEqual(['function-reset', 'receive']);
  });
});
