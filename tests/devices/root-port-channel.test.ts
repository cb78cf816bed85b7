/** The channel of a root port: what the guest reads and writes there, and what its host asks, hears and keeps. */
import { describe, expect, it } from 'vitest';
import type { DeviceRecord } from '../../base/device-record.js';
import { seededRandom } from '../../base/random.js';
import { ecamOffset, RootComplex } from '../../devices/pci/topology.js';
import { WAITING_MAX } from '../../devices/root-port/channel.js';
import { RootPort, type RootPortObserver } from '../../devices/root-port/device.js';
import { TestMemory } from './machine.js';

const CHANNEL = 0x200;
const CONTROL = CHANNEL + 0x0c;
const STATUS = CHANNEL + 0x0e;
const HOST_SEQUENCE = CHANNEL + 0x10;
const HOST_REQUEST = CHANNEL + 0x14;
const HOST_ARGUMENT = CHANNEL + 0x18;
const GUEST_SEQUENCE = CHANNEL + 0x28;
const GUEST_ANSWER = CHANNEL + 0x2c;

/** A port with the guest's end of its channel. */
function setUp(observer: RootPortObserver = {}) {
  const memory = new TestMemory(0x1000);
  const complex = new RootComplex(memory, memory);
  const port = new RootPort('port0', { number: 7, surprise: false }, observer);
  complex.addPort(8, port);
  const read = (register: number, size: number) => complex.configRead(ecamOffset(0, 8, register), size);
  const write = (register: number, size: number, value: number) =>
    complex.configWrite(ecamOffset(0, 8, register), size, value);
  // Bus master, and MSI.
  write(0x04, 2, 6);
  write(0x64, 4, 0xfee0_3000);
  write(0x62, 2, 1);
  const interrupts = () => memory.messages.splice(0).length;
  /** What the guest has before it, and which number that has. */
  const asked = () => [read(HOST_SEQUENCE, 4), read(HOST_REQUEST, 4), read(HOST_ARGUMENT, 4)];
  const answer = (sequence = read(HOST_SEQUENCE, 4)) => write(GUEST_SEQUENCE, 4, sequence);
  return { port, channel: port.channel, read, write, interrupts, asked, answer };
}

describe('hypervisor channel', () => {
  it('carries requests to the guest, with an interrupt if it wants one', () => {
    const { channel, read, write, interrupts, answer } = setUp();
    channel.request(0x10, [1, 2]);
    expect(interrupts()).toBe(0);
    answer();
    write(STATUS, 2, 1);
    write(CONTROL, 2, 1);
    expect(interrupts(), 'nothing is before it').toBe(0);
    channel.request(0x11, [3]);
    expect(interrupts()).toBe(1);
    expect(read(HOST_SEQUENCE, 4)).toBe(2);
    expect(read(HOST_REQUEST, 4)).toBe(0x11);
    expect([0, 1, 2, 3].map((i) => read(HOST_ARGUMENT + i * 4, 4))).toEqual([3, 0, 0, 0]);
    write(HOST_SEQUENCE, 4, 99);
    expect(read(HOST_SEQUENCE, 4), 'the guest cannot write the host’s words').toBe(2);
    write(STATUS, 2, 1);
    expect(read(STATUS, 2)).toBe(0);
  });

  it('interrupts a guest that wants it only now for what it was asked before', () => {
    const { channel, write, interrupts } = setUp();
    channel.request(0x10);
    write(CONTROL, 2, 1);
    expect(interrupts()).toBe(1);
  });

  it('has what the guest says that it can do, wherever it moves, and numbers go on there', () => {
    const { port, channel, write, answer } = setUp();
    expect(channel.features).toEqual([]);
    write(CHANNEL + 0x40, 4, 7);
    write(CHANNEL + 0x4c, 4, 9);
    channel.request(0x10);
    answer();
    const next = setUp();
    next.port.restore(port.save());
    expect(next.channel.features).toEqual([7, 9]);
    next.channel.request(0x10);
    expect(next.read(HOST_SEQUENCE, 4)).toBe(2);
  });

  it('carries the guest’s words, and knows an answer from others', () => {
    const heard: unknown[] = [];
    const { channel, write, answer } = setUp({ guestMessage: (...args) => heard.push(args) });
    write(GUEST_ANSWER, 4, 5);
    write(CHANNEL + 0x30, 4, 0xdead_beef);
    expect(heard).toEqual([]);
    const args = [0xdead_beef, 0, 0, 0];
    answer(8);
    channel.request(0x10);
    for (const sequence of [2, 1, 1]) answer(sequence);
    expect(heard).toEqual([
      [8, 5, args, false],
      [2, 5, args, false],
      [1, 5, args, true],
      [1, 5, args, false],
    ]);
  });
});

describe('requests before the guest has answered', () => {
  it('come to it one after the other, each with its own interrupt', () => {
    const { channel, write, interrupts, asked, answer } = setUp();
    write(CONTROL, 2, 1);
    expect([0x10, 0x20, 0x30].map((word, i) => channel.request(word, [i]))).toEqual([1, 2, 3]);
    expect(interrupts()).toBe(1);
    for (const [i, word] of [0x10, 0x20, 0x30].entries()) {
      expect(asked()).toEqual([i + 1, word, i]);
      answer(77);
      expect(asked(), 'that was no answer').toEqual([i + 1, word, i]);
      answer();
      expect(interrupts()).toBe(i < 2 ? 1 : 0);
    }
    expect(asked(), 'nothing waits').toEqual([3, 0x30, 2]);
  });

  it('give way to later ones of their word, and come in the order of the last', () => {
    const { channel, asked, answer } = setUp();
    for (const [word, value] of [
      [0x10, 0],
      [0x20, 1],
      [0x30, 0],
      [0x20, 0],
      [0x10, 1],
    ] as const)
      channel.request(word, [value]);
    const seen = [];
    for (let i = 0; i < 5; i++) {
      seen.push(asked());
      answer();
    }
    expect(seen.slice(0, 4)).toEqual([
      [1, 0x10, 0],
      [3, 0x30, 0],
      [4, 0x20, 0],
      [5, 0x10, 1],
    ]);
    expect(seen[4]).toEqual(seen[3]);
  });

  it('are refused when very many wait, but for one in the place of another; and taken again after an answer', () => {
    const { channel, asked, answer } = setUp();
    for (let word = 0; word <= WAITING_MAX; word++) channel.request(word);
    expect(() => channel.request(100)).toThrow(/has not looked at 8 requests/);
    channel.request(3, [1]);
    answer();
    channel.request(100);
    const words = Array.from({ length: WAITING_MAX + 1 }, () => {
      const [, word] = asked();
      answer();
      return word;
    });
    expect(words).toEqual([1, 2, 4, 5, 6, 7, 8, 3, 100]);
  });

  it('end where the host wants the guest, however slow that is and wherever it moves', () => {
    const random = seededRandom(46);
    for (let run = 0; run < 20; run++) {
      let here = setUp();
      const wanted = new Map<number, number>();
      const is = new Map<number, number>();
      const serve = (): void => {
        const [, word, value] = here.asked();
        is.set(word!, value!);
        here.answer();
      };
      for (let i = 0; i < 100; i++) {
        const [word, value] = [1 + random.below(5), random.below(2)];
        wanted.set(word, value);
        here.channel.request(word, [value]);
        if (random.chance(0.3)) serve();
        if (random.chance(0.1)) {
          const there = setUp();
          there.port.restore(here.port.save());
          expect(there.port.save()).toEqual(here.port.save());
          here = there;
        }
      }
      for (let i = 0; i <= WAITING_MAX; i++) serve();
      expect(is).toEqual(wanted);
    }
  });

  it('are named in a description of what is saved', () => {
    const { port, channel } = setUp();
    for (const word of [0x10, 0x20]) channel.request(word, [9]);
    const lines = port.describe(port.save()).filter(([name]) => name.startsWith('requests.'));
    expect(lines).toEqual([
      ['requests.unanswered', 'true'],
      ['requests.waiting2', '0x20 0x9 0x0 0x0 0x0'],
    ]);
  });

  it('are refused, with the reason, when what was saved of them makes no sense', () => {
    const { port, channel } = setUp();
    for (const word of [0x10, 0x20, 0x30]) channel.request(word);
    const { state, ...record } = port.save();
    const at = state.length - 2 * 24 - 8;
    const changed = (offset: number, value: number): DeviceRecord => {
      const copy = state.slice();
      new DataView(copy.buffer).setUint32(at + offset, value, true);
      return { ...record, state: copy };
    };
    const here = setUp();
    const before = here.port.save();
    for (const [bad, reason] of [
      [changed(0, 2), /unanswered is 2/],
      [changed(0, 0), /2 requests wait for none/],
      [changed(4, 9), /9 requests wait, of 8 at most/],
      [changed(4, 1), /56 bytes where 32 belong/],
      [changed(8 + 4, 0x30), /waits twice/],
    ] as const) {
      expect(() => here.port.restore(bad)).toThrow(reason);
      expect(here.port.save()).toEqual(before);
    }
    here.port.restore({ ...record, state });
  });
});
