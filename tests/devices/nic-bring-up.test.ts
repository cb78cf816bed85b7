/** What the host hears of a driver that sets its function up. */
import { describe, expect, it } from 'vitest';
import { milliseconds } from '../../base/units.js';
import { pfRegisters } from '../../devices/nic82599/pf-registers.js';
import { Reception } from '../../devices/nic82599/reception.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { TestMachine, TestTime } from './machine.js';
import { GuestVf } from './vf-guest.js';

describe("a driver's steps", () => {
  function setUp() {
    const told: string[] = [];
    const machine = new TestMachine({ broughtUp: (_vf, step) => told.push(step) });
    const guest = new GuestVf(machine, machine.vf(0), 0x10_0000);
    const steps = (): string[] => told.splice(0);
    return { machine, guest, steps };
  }
  const on = (register: typeof reg.TXDCTL | typeof reg.RXDCTL): number => register.fields.ENABLE.mask;

  it('are told once after each reset, and not before the first: a driver at work takes them all the time', () => {
    const { guest, steps } = setUp();
    const work = (): void => {
      guest.write(reg.EIMS, 0);
      guest.write(reg.EIMS, 1);
      guest.write(reg.TXDCTL, on(reg.TXDCTL), 1);
      guest.write(reg.RXDCTL, 0);
      guest.write(reg.RXDCTL, on(reg.RXDCTL));
    };
    work();
    expect(steps()).toEqual([]);
    guest.negotiate();
    work();
    work();
    expect(steps()).toEqual(['function-reset', 'mailbox', 'interrupts', 'transmit', 'receive']);
    guest.write(reg.CTRL, reg.CTRL.fields.RST.mask);
    guest.write(reg.RXDCTL, on(reg.RXDCTL));
    expect(steps()).toEqual(['function-reset', 'receive']);
  });

  it('are its own: the physical function that switches its queues on and off after a reset takes none', () => {
    const { machine, guest, steps } = setUp();
    guest.negotiate();
    guest.open();
    // With thresholds, as drivers have them: the queue is one that somebody has set up.
    guest.write(reg.TXDCTL, on(reg.TXDCTL) | (8 << 16));
    steps();
    let switched = 0;
    const { pf } = machine.nic;
    const write = pf.write.bind(pf);
    pf.write = (offset, size, value) => {
      const before = guest.read(reg.TXDCTL);
      write(offset, size, value);
      if (guest.read(reg.TXDCTL) !== before) switched++;
    };
    guest.negotiate();
    expect(switched).toBeGreaterThan(0);
    expect(steps()).toEqual(['function-reset', 'mailbox']);
  });
});

describe('a driver takes what comes', () => {
  function setUp() {
    const time = new TestTime();
    const told: boolean[] = [];
    return { time, told, reception: new Reception(time, (on) => told.push(on)) };
  }

  it('when its queue is on and the function may interrupt, which it lets it do last', () => {
    const { told, reception } = setUp();
    reception.interruptsEnabled();
    reception.queueSwitched(true, false);
    expect(told).toEqual([]);
    reception.interruptsEnabled();
    // As after each poll.
    reception.interruptsEnabled();
    expect(told).toEqual([true]);
    reception.queueSwitched(false, true);
    reception.interruptsEnabled();
    expect(told).toEqual([true, false]);
    reception.queueSwitched(true, true);
    expect(told).toEqual([true, false, true]);
  });

  it('without an interrupt if it polls, which shows after a while', () => {
    const { time, told, reception } = setUp();
    reception.queueSwitched(true, false);
    time.advance(milliseconds(99));
    expect(told).toEqual([]);
    time.advance(milliseconds(1));
    expect(told).toEqual([true]);
    reception.interruptsEnabled();
    expect([told, time.waiting]).toEqual([[true], 0]);
  });

  it('no more when the function was reset, whatever it does next', () => {
    const { time, told, reception } = setUp();
    reception.queueSwitched(true, false);
    reception.reset();
    reception.interruptsEnabled();
    time.advance(milliseconds(200));
    expect([told, time.waiting]).toEqual([[], 0]);
    reception.queueSwitched(true, true);
    reception.reset();
    expect(told).toEqual([true, false]);
  });

  it('as its registers tell, of the first queue alone', () => {
    const told: boolean[] = [];
    const machine = new TestMachine({ receiverSwitched: (_vf, on) => told.push(on) });
    const guest = new GuestVf(machine, machine.vf(0), 0x10_0000);
    const on = reg.RXDCTL.fields.ENABLE.mask;
    guest.write(reg.RXDCTL, on, 1);
    guest.write(reg.EIMS, 1);
    expect(told).toEqual([]);
    guest.write(reg.EIMC, 7);
    guest.write(reg.RXDCTL, on);
    expect(told).toEqual([]);
    guest.write(reg.EIMS, 1);
    expect(told).toEqual([true]);
    guest.write(reg.CTRL, reg.CTRL.fields.RST.mask);
    expect(told).toEqual([true, false]);
  });
});

it('the reset of a function leaves groups alone that nobody wants or gave up', () => {
  const machine = new TestMachine();
  const guest = new GuestVf(machine, machine.vf(0), 0x10_0000);
  const { pf } = machine.nic;
  const write = pf.write.bind(pf);
  let groups = 0;
  pf.write = (offset, size, value) => {
    const at = offset - pfRegisters.MTA.offset;
    if (at >= 0 && at < pfRegisters.MTA.count * 4) groups++;
    write(offset, size, value);
  };
  guest.negotiate();
  expect(groups).toBe(0);
  guest.request(3 | (2 << 16), 5 | (40 << 16));
  expect(groups).toBe(2);
  guest.negotiate();
  expect(groups).toBe(4);
  expect(machine.pfRead(pfRegisters.MTA, 0) | machine.pfRead(pfRegisters.MTA, 1)).toBe(0);
});
