import { describe, expect, it } from 'vitest';
import { TestMachine } from './machine.js';
import { GuestVf } from './vf-guest.js';

const macOf = (bytes: readonly number[]): Uint8Array => Uint8Array.from(bytes);
const frame = (to: readonly number[], from: readonly number[], size = 64): Uint8Array => {
  const data = new Uint8Array(size);
  data.set(macOf(to), 0);
  data.set(macOf(from), 6);
  data.set([0x88, 0xb5], 12);
  for (let i = 14; i < size; i++) data[i] = i;
  return data;
};
const PEER = [2, 0, 0, 0, 0, 9] as const;
const VF0 = [0x52, 0x54, 0, 0, 0, 1] as const;

describe('nic', () => {
  it('carries frames both ways', () => {
    const machine = new TestMachine();
    const guest = new GuestVf(machine, machine.vf(0), 0x10_0000).start();
    const slot = guest.send(frame(PEER, VF0));
    expect(machine.sent).toHaveLength(1);
    expect(guest.isDone(slot)).toBe(true);
    const incoming = frame(VF0, PEER, 80);
    machine.nic.receive({ bytes: incoming, length: incoming.length });
    expect(guest.receive()?.data).toEqual(incoming);
    expect(machine.memory.messages.map((m) => m.data)).toContain(0x50);
  });
});
