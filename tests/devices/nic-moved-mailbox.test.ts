/** A VF that moves in the middle of a conversation with the physical function's driver goes on with it elsewhere. */
import { describe, expect, it } from 'vitest';
import { microseconds, milliseconds } from '../../base/units.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import type { TestMachine } from './machine.js';
import type { GuestVf } from './vf-guest.js';
import { hostWithGuest, move } from './vf-host.js';

const { REQ, ACK, VFU, PFSTS } = reg.MAILBOX.fields;
const PING = 0x100;
const CTS = 0x2000_0000;
const NACK = 0x4000_0000;
const RESET = 1;
const GET_QUEUES = 9;
const ANSWERED = (0x8000_0000 | CTS | GET_QUEUES) >>> 0;
const [ANSWER, PINGED, START_OVER] = ['answer', 'ping', 'ping to start over'];
const NAMES: Readonly<Record<number, string>> = {
  [ANSWERED]: ANSWER,
  [(PING | CTS) >>> 0]: PINGED,
  [PING]: START_OVER,
};

function ask(guest: GuestVf, keepsLock: boolean): void {
  guest.write(reg.MAILBOX, VFU.mask);
  guest.write(reg.MBMEM, GET_QUEUES);
  guest.write(reg.MAILBOX, REQ.mask | (keepsLock ? VFU.mask : 0));
}

/** Lets go of the mailbox and takes what comes, message by message. */
function messagesOf({ machine }: { machine: TestMachine }, guest: GuestVf): string[] {
  const messages: string[] = [];
  guest.write(reg.MAILBOX, 0);
  for (;;) {
    machine.time.advance(microseconds(5000));
    if (PFSTS.get(guest.read(reg.MAILBOX)) === 0) return messages;
    const word = guest.read(reg.MBMEM) >>> 0;
    messages.push(NAMES[word] ?? `0x${word.toString(16)}`);
    guest.write(reg.MAILBOX, ACK.mask);
  }
}

interface Moment {
  /** What has happened when the VF goes; the link of the host is up before. */
  readonly until: (machine: TestMachine, guest: GuestVf) => void;
  /** What the guest finds from then on, where the link is as it was. */
  readonly finds: readonly string[];
  /** And it then knows that its link is down. */
  readonly knowsDown?: boolean;
  /** It stood still when that happened: it hears of the link where it goes on, as it is there. */
  readonly missed?: boolean;
}

const moments: Record<string, Moment> = {
  'nothing is said': { until: () => {}, finds: [] },
  'a request is not read yet': {
    until(machine, guest) {
      machine.vf(0).stop();
      ask(guest, false);
    },
    finds: [ANSWER],
  },
  'an answer waits for the mailbox': { until: (_machine, guest) => ask(guest, true), finds: [ANSWER] },
  'an answer lies there unread': { until: (_machine, guest) => ask(guest, false), finds: [ANSWER] },
  'a ping waits behind an answer that is unread': {
    until(machine, guest) {
      ask(guest, false);
      machine.nic.setLink(false);
    },
    finds: [ANSWER, PINGED],
    knowsDown: true,
  },
  'a ping waits behind an answer that waits': {
    until(machine, guest) {
      ask(guest, true);
      machine.nic.setLink(false);
    },
    finds: [ANSWER, PINGED],
    knowsDown: true,
  },
  'a ping waits, and the answer before it was taken while the VF stood still': {
    until(machine, guest) {
      ask(guest, false);
      machine.nic.setLink(false);
      machine.vf(0).stop();
      guest.read(reg.MAILBOX);
      guest.write(reg.MAILBOX, ACK.mask);
    },
    finds: [PINGED],
    knowsDown: true,
  },
  'a ping waits for the mailbox': {
    until(machine, guest) {
      guest.write(reg.MAILBOX, VFU.mask);
      machine.nic.setLink(false);
    },
    finds: [PINGED],
    knowsDown: true,
  },
  'the link goes while the VF stands still': {
    until(machine) {
      machine.vf(0).stop();
      machine.nic.setLink(false);
    },
    finds: [PINGED],
    knowsDown: true,
    missed: true,
  },
  'the link goes and comes back while the VF stands still': {
    until(machine) {
      machine.vf(0).stop();
      machine.nic.setLink(false);
      machine.time.advance(microseconds(100));
      machine.nic.setLink(true);
    },
    finds: [],
  },
  'a ping lies there unread': {
    until: (machine) => machine.nic.setLink(false),
    finds: [PINGED],
    knowsDown: true,
  },
  'it is to start over, and was not told yet': {
    until(machine, guest) {
      ask(guest, false);
      machine.driver.setPolicy(0, { trusted: true });
    },
    finds: [ANSWER, START_OVER],
  },
};

/** The mailbox of `guest` with nothing in it. */
function quiet(link: boolean) {
  const { machine, guest } = hostWithGuest();
  guest.read(reg.MAILBOX);
  machine.nic.setLink(link);
  return { machine, guest };
}

describe.each(Object.entries(moments))(
  'when %s',
  (_name, { until, finds, knowsDown = false, missed = false }) => {
    it('the guest finds at the next host what it would have found', () => {
      const stays = quiet(true);
      until(stays.machine, stays.guest);
      stays.machine.vf(0).stop();
      stays.machine.time.advance(milliseconds(50));
      stays.machine.vf(0).start();
      expect(messagesOf(stays, stays.guest), 'where it stays').toEqual(finds);

      const source = quiet(true);
      until(source.machine, source.guest);
      const target = quiet(!knowsDown);
      const moved = move(source.machine, source.guest, target.machine);
      expect(messagesOf(target, moved), 'where it comes to').toEqual(finds);
      expect(moved.request(GET_QUEUES)[0]! >>> 0, 'and is heard').toBe(
        finds.includes(START_OVER) ? (NACK | GET_QUEUES) >>> 0 : ANSWERED,
      );
      target.machine.time.advance(milliseconds(5));
      expect(target.machine.time.waiting, 'nothing is left to be said').toBe(0);
    });

    it('a host whose link is another tells it, behind what is owed already', () => {
      const source = quiet(true);
      until(source.machine, source.guest);
      const target = quiet(knowsDown);
      const moved = move(source.machine, source.guest, target.machine);
      const found = messagesOf(target, moved);
      if (missed) {
        expect(found, 'what it never heard of is not so here').toEqual([]);
        return;
      }
      const ping = finds.includes(START_OVER) ? START_OVER : PINGED;
      expect(found.slice(0, finds.length)).toEqual(finds);
      expect(found.at(-1)).toBe(ping);
      expect(found.length, 'once is enough').toBeLessThanOrEqual(
        finds.filter((m) => m === ANSWER).length + 2,
      );
      expect(target.machine.driver.info(0).knownLink).toBe(knowsDown);
    });
  },
);

describe('a VF that is reset, and asks to be set up, while it stands still', () => {
  it('is answered when it goes on: the reset takes back only what was asked before it', () => {
    const { machine, guest } = quiet(true);
    const vf = machine.vf(0);
    ask(guest, false);
    vf.stop();
    guest.write(reg.CTRL, reg.CTRL.fields.RST.mask);
    guest.write(reg.MAILBOX, VFU.mask);
    guest.write(reg.MBMEM, RESET);
    guest.write(reg.MAILBOX, REQ.mask);
    machine.time.advance(milliseconds(5));
    vf.start();
    machine.time.advance(milliseconds(5));
    expect(guest.read(reg.MBMEM) >>> 0).toBe((0x8000_0000 | RESET) >>> 0);
    expect(machine.driver.info(0).clearToSend).toBe(true);
  });
});

describe('a trust that changes while the VF stands still', () => {
  it('has the VF start over where it goes on, and changes nothing of its state before', () => {
    const { machine, guest } = quiet(true);
    const vf = machine.vf(0);
    vf.stop();
    const before = vf.save();
    machine.driver.setPolicy(0, { trusted: true });
    machine.time.advance(milliseconds(5));
    expect(vf.save()).toEqual(before);
    vf.start();
    expect(messagesOf({ machine }, guest)).toEqual([START_OVER]);
    expect(machine.time.waiting, 'nothing is left to be said').toBe(0);
  });
});

describe('a ping that was given up', () => {
  it('is owed again at the next host', () => {
    const source = quiet(true);
    source.guest.write(reg.MAILBOX, VFU.mask);
    source.machine.nic.setLink(false);
    source.machine.time.advance(milliseconds(2000));
    expect(source.machine.time.waiting, 'the driver’s patience is at its end').toBe(0);
    const target = quiet(false);
    const moved = move(source.machine, source.guest, target.machine);
    expect(messagesOf(target, moved)).toEqual([PINGED]);
  });
});

describe('the patience of a driver with a VF', () => {
  it('begins anew where the VF comes to', () => {
    const target = quiet(true);
    target.guest.write(reg.MAILBOX, VFU.mask);
    target.machine.driver.pingAll();
    target.machine.time.advance(milliseconds(2000));
    const source = quiet(true);
    ask(source.guest, true);
    const moved = move(source.machine, source.guest, target.machine);
    expect(messagesOf(target, moved)).toEqual([ANSWER]);
  });
});
