import { describe, expect, it } from 'vitest';
import { microseconds } from '../../base/units.js';
import { pfRegisters as pfReg } from '../../devices/nic82599/pf-registers.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { TestMachine } from './machine.js';
import { GuestVf } from './vf-guest.js';

function setUp() {
  const machine = new TestMachine();
  const guest = new GuestVf(machine, machine.vf(0), 0x10_0000);
  guest.enableDevice();
  guest.write(reg.EIMC, 7);
  guest.read(reg.EICR);
  machine.memory.messages = [];
  const messages = () => {
    const seen = machine.memory.messages.map((m) => m.data - 0x50);
    machine.memory.messages = [];
    return seen;
  };
  return { machine, guest, messages };
}

describe('interrupt causes', () => {
  it('are set by EICS, shown by EICR, and cleared by reading it', () => {
    const { guest } = setUp();
    guest.write(reg.EICS, 5);
    expect(guest.read(reg.EICR)).toBe(5);
    expect(guest.read(reg.EICR)).toBe(0);
    guest.write(reg.EICS, 7);
    guest.write(reg.EICR, 2);
    expect(guest.read(reg.EICR), 'writing one clears too').toBe(5);
  });

  it('EIMS and EIMC set and clear the mask; both show it only through EIMS', () => {
    const { guest } = setUp();
    guest.write(reg.EIMS, 6);
    expect(guest.read(reg.EIMS)).toBe(6);
    guest.write(reg.EIMC, 2);
    expect(guest.read(reg.EIMS)).toBe(4);
    expect(guest.read(reg.EIMC)).toBe(0);
  });

  it('send their vector when unmasked, and one message for each event', () => {
    const { guest, messages } = setUp();
    guest.write(reg.EIMS, 3);
    guest.write(reg.EICS, 1);
    guest.write(reg.EICS, 2);
    guest.write(reg.EICS, 4);
    expect(messages()).toEqual([0, 1]);
    guest.write(reg.EICS, 1);
    expect(messages(), 'an event on a cause that is still set').toEqual([0]);
  });

  it('set while masked stay, and fire once when unmasked', () => {
    const { guest, messages } = setUp();
    guest.write(reg.EICS, 1);
    guest.write(reg.EICS, 1);
    expect(messages()).toEqual([]);
    guest.write(reg.EIMS, 1);
    expect(messages()).toEqual([0]);
    guest.write(reg.EIMS, 1);
    expect(messages(), 'it was unmasked already').toEqual([]);
  });

  it('are cleared by EIAC and masked by EIAM when the message has left, and not before', () => {
    const { machine, guest, messages } = setUp();
    guest.write(reg.EIAC, 1);
    guest.write(reg.EIAM, 1);
    guest.write(reg.EIMS, 3);
    machine.vf(0).fn.behaviour.writeBar(3, 12, 4, 1);
    machine.vf(0).pool.interrupts.raise(1);
    expect(guest.read(reg.EIMS), 'held back by MSI-X').toBe(3);
    machine.vf(0).fn.behaviour.writeBar(3, 12, 4, 0);
    expect(messages()).toEqual([0]);
    expect(guest.read(reg.EIMS)).toBe(2);
    expect(guest.read(reg.EICR)).toBe(0);
    guest.write(reg.EICS, 2);
    expect(guest.read(reg.EIMS), 'vector 1 is not in EIAM').toBe(2);
    expect(guest.read(reg.EICR)).toBe(2);
  });

  it('follow IVAR for queues and IVAR_MISC for the mailbox; an entry that is not valid sends nothing', () => {
    const { machine, guest, messages } = setUp();
    guest.negotiate();
    guest.open();
    guest.write(reg.EIMC, 7);
    guest.read(reg.EICR);
    guest.write(reg.IVAR, 0x80 | 0x02 | ((0x80 | 0x01) << 8));
    guest.write(reg.EIAC, 7);
    guest.write(reg.EIMS, 7);
    const frame = new Uint8Array(64);
    frame.set([0x52, 0x54, 0, 0, 0, 1]);
    machine.nic.receive({ bytes: frame, length: 64 });
    expect(messages()).toEqual([2]);
    guest.write(reg.IVAR, 0);
    machine.nic.receive({ bytes: frame, length: 64 });
    expect(messages()).toEqual([]);
    guest.write(reg.IVAR, 0x83);
    machine.nic.receive({ bytes: frame, length: 64 });
    expect(messages(), 'vector 3 does not exist').toEqual([]);
  });
});

describe('EIAM', () => {
  it('masks what EICR shows or is told to clear, and what EICS sets, without a message', () => {
    const { guest, machine } = setUp();
    machine.vf(0).fn.behaviour.writeBar(3, 12, 4, 1);
    guest.write(reg.EIAM, 5);
    const enabled = (act: () => void): number => {
      guest.write(reg.EIMC, 7);
      guest.read(reg.EICR);
      guest.write(reg.EIMS, 7);
      act();
      return guest.read(reg.EIMS);
    };
    expect(enabled(() => guest.write(reg.EICS, 3))).toBe(6);
    expect(
      enabled(() => {
        machine.vf(0).pool.interrupts.raise(1);
        guest.read(reg.EICR);
      }),
    ).toBe(6);
    expect(enabled(() => guest.write(reg.EICR, 4))).toBe(3);
    expect(enabled(() => guest.read(reg.EICR))).toBe(7);
  });

  it('of the physical function masks when a message leaves only with GPIE.EIAME', () => {
    const { machine } = setUp();
    const { pf } = machine.nic;
    machine.memory.onMessage = () => {};
    const enabled = (gpie: number): number => {
      pf.write(pfReg.GPIE.offset, 4, gpie);
      pf.write(pfReg.EIAM.offset, 4, 1);
      pf.write(pfReg.EIMS.offset, 4, 1);
      pf.interrupts.raise(1);
      return machine.pfRead(pfReg.EIMS) & 1;
    };
    const { MSIX, EIAME } = pfReg.GPIE.fields;
    expect(enabled(MSIX.mask)).toBe(1);
    expect(enabled(MSIX.mask | EIAME.mask)).toBe(0);
  });

  it('loses no message that still waits for its interval', () => {
    const { guest, machine, messages } = setUp();
    guest.write(reg.EITR, 400);
    guest.write(reg.EIAM, 1);
    guest.write(reg.EIMS, 1);
    guest.write(reg.EICS, 1);
    guest.write(reg.EIMS, 1);
    guest.write(reg.EICS, 1);
    expect(messages()).toEqual([0]);
    machine.time.advance(microseconds(200));
    expect(messages()).toEqual([0]);
    expect(guest.read(reg.EIMS)).toBe(0);
  });
});

describe('throttling', () => {
  const INTERVAL = 400; // 100 microseconds in EITR's units

  it('keeps messages of a vector apart by its interval, and delivers the last one late rather than never', () => {
    const { machine, guest, messages } = setUp();
    guest.write(reg.EITR, INTERVAL);
    guest.write(reg.EIMS, 3);
    for (let i = 0; i < 10; i++) guest.write(reg.EICS, 1);
    expect(messages()).toEqual([0]);
    guest.write(reg.EICS, 2);
    expect(messages(), 'vector 1 has its own interval').toEqual([1]);
    machine.time.advance(microseconds(99));
    expect(messages()).toEqual([]);
    machine.time.advance(microseconds(2));
    expect(messages()).toEqual([0]);
    machine.time.advance(microseconds(1000));
    expect(messages()).toEqual([]);
  });

  it('never exceeds its rate, whatever the events (and does without EITR)', () => {
    for (const interval of [INTERVAL, 0]) {
      const { machine, guest, messages } = setUp();
      guest.write(reg.EITR, interval);
      guest.write(reg.EIMS, 1);
      let sent = 0;
      for (let i = 0; i < 1000; i++) {
        guest.write(reg.EICS, 1);
        machine.time.advance(microseconds(7));
        sent += messages().length;
      }
      if (interval === 0) expect(sent).toBe(1000);
      else expect(sent).toBeLessThanOrEqual(71);
      expect(sent).toBeGreaterThan(60);
    }
  });

  it('does not fire for a cause that was masked or cleared while it waited', () => {
    const { machine, guest, messages } = setUp();
    guest.write(reg.EITR, INTERVAL);
    guest.write(reg.EIMS, 1);
    guest.write(reg.EICS, 1);
    guest.write(reg.EICS, 1);
    messages();
    guest.read(reg.EICR);
    machine.time.advance(microseconds(200));
    expect(messages()).toEqual([]);
    guest.write(reg.EICS, 1);
    guest.write(reg.EICS, 1);
    messages();
    guest.write(reg.EIMC, 1);
    machine.time.advance(microseconds(200));
    expect(messages()).toEqual([]);
    guest.write(reg.EIMS, 1);
    expect(messages()).toEqual([0]);
  });

  it.each(['start', 'quiesce'] as const)(
    'a stopped VF holds back what was pending in MSI-X, even when that is unmasked, until %s',
    (goOn) => {
      const { machine, guest, messages } = setUp();
      guest.write(reg.EIMS, 1);
      machine.vf(0).fn.behaviour.writeBar(3, 12, 4, 1);
      guest.write(reg.EICS, 1);
      machine.vf(0).stop();
      machine.vf(0).fn.behaviour.writeBar(3, 12, 4, 0);
      expect(messages()).toEqual([]);
      machine.vf(0)[goOn]();
      expect(messages()).toEqual([0]);
    },
  );

  it('a stopped VF sends nothing and catches up when it starts', () => {
    const { machine, guest, messages } = setUp();
    guest.write(reg.EITR, INTERVAL);
    guest.write(reg.EIMS, 3);
    guest.write(reg.EICS, 1);
    guest.write(reg.EICS, 1);
    messages();
    machine.vf(0).stop();
    guest.write(reg.EICS, 2);
    machine.time.advance(microseconds(500));
    expect(messages()).toEqual([]);
    expect(machine.time.waiting).toBe(0);
    machine.vf(0).start();
    expect(messages(), 'the interval stood still as well').toEqual([1]);
    machine.time.advance(microseconds(200));
    expect(messages()).toEqual([0]);
  });
});
