import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { TestMachine } from './machine.js';
import { GuestVf } from './vf-guest.js';

const MSIX_CONTROL = 0x72;
const PENDING = 0x2000;

function setUp() {
  const machine = new TestMachine();
  const vf = machine.vf(0);
  new GuestVf(machine, vf, 0x10_0000).enableDevice();
  machine.memory.messages = [];
  const table = (vector: number, word: number, value: number) =>
    vf.fn.behaviour.writeBar(3, vector * 16 + word * 4, 4, value);
  return { machine, vf, table, pending: () => vf.fn.behaviour.readBar(3, PENDING, 4) };
}

describe('MSI-X', () => {
  it('sends the address and data of the entry, with the requester id of the function', () => {
    const { machine, vf } = setUp();
    vf.msix.trigger(1);
    expect(machine.memory.messages).toEqual([
      { requester: (1 << 8) + 0x80, address: 0xfee0_1000, data: 0x51 },
    ]);
  });

  it('starts with every entry masked', () => {
    const { vf } = setUp();
    vf.fn.reset('function');
    for (let vector = 0; vector < 3; vector++) {
      expect(vf.fn.behaviour.readBar(3, vector * 16 + 12, 4)).toBe(1);
    }
    expect(vf.fn.configRead(MSIX_CONTROL, 2)).toBe(2);
  });

  const holdBacks: [string, (t: ReturnType<typeof setUp>, on: boolean) => void][] = [
    ['its entry is masked', ({ table }, on) => table(1, 3, on ? 1 : 0)],
    ['the function is masked', ({ vf }, on) => vf.fn.configWrite(MSIX_CONTROL, 2, on ? 0xc000 : 0x8000)],
    ['bus mastering is off', ({ vf }, on) => vf.fn.configWrite(0x04, 2, on ? 0 : 4)],
  ];
  for (const [name, hold] of holdBacks) {
    it(`keeps one message pending while ${name}, and sends it once when that ends`, () => {
      const t = setUp();
      hold(t, true);
      t.vf.msix.trigger(1);
      t.vf.msix.trigger(1);
      expect(t.machine.memory.messages).toEqual([]);
      expect(t.pending()).toBe(2);
      hold(t, false);
      expect(t.machine.memory.messages.map((m) => m.data)).toEqual([0x51]);
      expect(t.pending()).toBe(0);
      hold(t, true);
      hold(t, false);
      expect(t.machine.memory.messages).toHaveLength(1);
    });
  }

  it('keeps what is triggered while a message that was pending leaves, if its entry is masked by then', () => {
    const { machine, vf, table, pending } = setUp();
    table(1, 3, 1);
    vf.msix.trigger(1);
    machine.memory.onMessage = () => {
      table(1, 3, 1);
      vf.msix.trigger(1);
    };
    table(1, 3, 0);
    expect(machine.memory.messages).toHaveLength(1);
    expect(pending(), 'the second event').toBe(2);
  });

  it('uses the entry as it is when the message leaves, not as it was when triggered', () => {
    const { machine, vf, table } = setUp();
    table(0, 3, 1);
    vf.msix.trigger(0);
    table(0, 2, 0x99);
    table(0, 3, 0);
    expect(machine.memory.messages.map((m) => m.data)).toEqual([0x99]);
  });

  it('neither sends nor remembers while disabled', () => {
    const { machine, vf, pending } = setUp();
    vf.fn.configWrite(MSIX_CONTROL, 2, 0);
    vf.msix.trigger(0);
    expect(pending()).toBe(0);
    vf.fn.configWrite(MSIX_CONTROL, 2, 0x8000);
    expect(machine.memory.messages).toEqual([]);
  });

  it('takes writes to the table while disabled, and none to the pending bits', () => {
    const { vf, table, pending } = setUp();
    vf.fn.configWrite(MSIX_CONTROL, 2, 0);
    table(2, 0, 0x1234_5678);
    expect(vf.fn.behaviour.readBar(3, 2 * 16, 4)).toBe(0x1234_5678);
    vf.fn.behaviour.writeBar(3, PENDING, 4, 0xffff_ffff);
    expect(pending()).toBe(0);
  });

  it('drops a vector beyond the table', () => {
    const { machine, vf } = setUp();
    vf.msix.trigger(3);
    vf.msix.trigger(1000);
    expect(machine.memory.messages).toEqual([]);
  });

  it('never loses and never doubles a message under random masking (against an oracle)', () => {
    const t = setUp();
    const random = seededRandom(7);
    const held = { entry: [false, false, false], fn: false };
    const waiting = [false, false, false];
    const expected: number[] = [];
    const flush = () => {
      for (let v = 0; v < 3; v++) {
        if (waiting[v] && !held.fn && !held.entry[v]) {
          waiting[v] = false;
          expected.push(0x50 + v);
        }
      }
    };
    for (let i = 0; i < 5000; i++) {
      const v = random.below(3);
      switch (random.below(3)) {
        case 0:
          t.vf.msix.trigger(v);
          waiting[v] = true;
          break;
        case 1:
          held.entry[v] = random.chance(0.5);
          t.table(v, 3, held.entry[v] ? 1 : 0);
          break;
        default:
          held.fn = random.chance(0.3);
          t.vf.fn.configWrite(MSIX_CONTROL, 2, held.fn ? 0xc000 : 0x8000);
      }
      flush();
    }
    expect(t.machine.memory.messages.map((m) => m.data)).toEqual(expected);
    expect(expected.length).toBeGreaterThan(500);
  });
});
