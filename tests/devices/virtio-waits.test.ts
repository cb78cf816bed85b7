/** virtio-net with memory that is not there yet: it waits, goes on in order when that has come, and touches nothing before. */
import { beforeEach, describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { LateMemory, PAGE } from './late-memory.js';
import { MAC, SIZE, VirtioGuest } from './virtio-guest.js';

const AVAILABLE = 0x400;
/** Pages of their own for the parts of each queue, and for each buffer. */
const PLACES = { 0: 0x2_0000, 1: 0x2_8000, 2: 0x3_0000 } as const;

const incoming = (mark: number, length = 100): Uint8Array => {
  const bytes = new Uint8Array(length).fill(mark);
  bytes.set(MAC);
  return bytes;
};
const outgoing = (mark: number): Uint8Array => new Uint8Array(90).fill(mark);

let memory: LateMemory;
let guest: VirtioGuest;
const turn = (): void => {
  while (guest.net.run(64));
};
const receive = (frame: Uint8Array): void => {
  guest.net.receive(frame, 0, frame.length);
  turn();
};
const arrive = (address: number): void => {
  const { wakeups } = guest;
  memory.arrive(address);
  // Only who has waited for it is woken.
  if (guest.wakeups > wakeups) turn();
};
/** Marks of the frames that the driver was given, in the order of the used ring. */
const received = (): readonly number[] => {
  const { index, entries } = guest.used(0);
  return entries.slice(0, index).map(([head]) => guest.memory.bytes[guest.buffer(head) + 50]!);
};
const marks = (): readonly number[] => guest.sent.map((frame) => frame[50]!);

beforeEach(() => {
  memory = new LateMemory(0x4_0000);
  guest = new VirtioGuest({ memory });
  guest.start();
  guest.net.presence = memory;
  memory.arrived = (address, length) => guest.net.memoryArrived(address, length);
  return () => expect(memory.touched).toEqual([]);
});

describe('a frame that comes', () => {
  it('waits for the ring, then for its buffer, and is not overtaken', () => {
    for (let i = 0; i < 6; i += 2) guest.post(i);
    memory.withhold(guest.ring(0));
    memory.withhold(guest.buffer(0));
    receive(incoming(1));
    receive(incoming(2));
    arrive(guest.ring(0));
    expect(received()).toEqual([]);
    // A second look at the same changes nothing.
    turn();
    arrive(guest.buffer(0));
    receive(incoming(3));
    expect(received()).toEqual([1, 2, 3]);
    expect(guest.net.counts.received).toBe(3);
    expect(guest.vectors).toContain(1);
  });

  it('is lost when too many wait, and counted', () => {
    memory.withhold(guest.ring(0));
    guest.post(0);
    for (let i = 0; i < 1030; i++) receive(incoming(i & 0xff));
    expect(guest.net.drops.noDescriptor).toBe(6);
  });

  it('asks for no more of a buffer than it fills', () => {
    guest.descriptor(0, 0, guest.buffer(0), 0x1_0000, 2);
    guest.offer(0, 0);
    memory.withhold(guest.buffer(4));
    receive(incoming(1));
    expect(received()).toEqual([1]);
    expect(memory.asked.size).toBe(0);
  });

  it('is lost when the machine stands still, as what comes then, and when the driver starts over', () => {
    guest.post(0);
    memory.withhold(guest.ring(0));
    receive(incoming(1));
    guest.net.halt();
    expect(guest.net.drops.stopped).toBe(1);
    guest.net.resume();
    receive(incoming(2));
    guest.start();
    expect(guest.net.drops.stopped).toBe(2);
    guest.post(2);
    arrive(guest.ring(0));
    expect(received()).toEqual([]);
    receive(incoming(3));
    expect(received()).toEqual([3]);
  });
});

describe('a packet that goes', () => {
  it('waits for the ring, then for its buffer, and goes once', () => {
    memory.withhold(guest.ring(1));
    memory.withhold(guest.buffer(0));
    guest.send(outgoing(1), 0);
    guest.send(outgoing(2), 2);
    turn();
    expect(marks()).toEqual([]);
    arrive(guest.ring(1));
    expect(marks()).toEqual([]);
    expect([...memory.asked].sort()).toEqual([guest.ring(1) / PAGE, guest.buffer(0) / PAGE].sort());
    arrive(guest.buffer(0));
    expect(marks()).toEqual([1, 2]);
    turn();
    expect([marks(), guest.used(1).index]).toEqual([[1, 2], 2]);
  });

  it('goes when all memory is there for good', () => {
    memory.withhold(guest.ring(1));
    guest.send(outgoing(1));
    turn();
    memory.missing.clear();
    guest.net.presence = undefined;
    turn();
    expect(marks()).toEqual([1]);
  });
});

it('the parts of a queue may lie anywhere: each is waited for', () => {
  guest.start(undefined, PLACES);
  guest.net.presence = memory;
  const queue = PLACES[1];
  // Descriptor, available and used ring share no page with anything else.
  memory.view.setUint32(queue, guest.buffer(0), true);
  memory.view.setUint32(queue + 8, 12 + 90, true);
  memory.view.setUint16(queue + AVAILABLE + 2, 1, true);
  memory.bytes.set(outgoing(7), guest.buffer(0) + 12);
  memory.withhold(queue);
  guest.notify(1);
  turn();
  expect(marks()).toEqual([]);
  arrive(queue);
  expect(marks()).toEqual([7]);
});

it.each(Array.from({ length: 10 }, (_, i) => i))(
  'whatever is missing, nothing is lost, doubled or out of order (seed %i)',
  (seed) => {
    const random = seededRandom(seed).fork('virtio-waits');
    let came = 0;
    let sent = 0;
    const got: number[] = [];
    let taken = 0;
    let posted = 0;
    const take = (): void => {
      while (taken < guest.used(0).index) {
        const at = guest.ring(0) + 0x800 + 4 + (taken % SIZE) * 8;
        const head = memory.view.getUint32(at, true);
        got.push(memory.bytes[guest.buffer(head) + 50]!);
        taken++;
      }
    };
    for (let i = 0; i < 300; i++) {
      const step = random.below(5);
      if (step === 0) {
        memory.withhold(random.pick([guest.ring(0), guest.ring(1), guest.buffer(2 * random.below(4))]));
      } else if (step === 1 && memory.missing.size > 0) {
        arrive(random.pick([...memory.missing]) * PAGE);
      } else if (step === 2 && posted - came < 4 && posted - taken < 4) {
        guest.post(2 * (posted++ % 4));
      } else if (step === 3 && came < posted) {
        receive(incoming(came++ & 0xff));
      } else if (step === 4 && sent - guest.sent.length < 1) {
        guest.send(outgoing(sent & 0xff), 1 + 2 * (sent % 2));
        sent++;
        turn();
      }
      take();
    }
    for (const page of [...memory.missing]) arrive(page * PAGE);
    turn();
    take();
    expect(got).toEqual(Array.from({ length: came }, (_, i) => i & 0xff));
    expect(marks()).toEqual(Array.from({ length: sent }, (_, i) => i & 0xff));
  },
);
