/** Memory that only messages reach: asked for ahead, answered late, in any order, wrongly or never. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { AskedMemory } from '../../vmm/vfio-user/asked-memory.js';
import { COMMAND, dmaUnmap } from '../../vmm/vfio-user/protocol.js';
import { GuestFile, TestDriver } from './vfio-user-client.js';
import { LateClient } from './vfio-user-late-client.js';
import { LocalVf } from './vfio-user-local.js';

const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56] as const;
const PEER = [2, 0, 0, 0, 0, 9] as const;
const { DMA_READ, DMA_WRITE } = COMMAND;
/** Slots of the driver's rings, one of which stays free. */
const ENTRIES = 8;

const frame = (mark: number, to: readonly number[], from: readonly number[], length = 100): Uint8Array => {
  const bytes = new Uint8Array(length).fill(mark);
  bytes.set(to, 0);
  bytes.set(from, 6);
  bytes.set([0x88, 0xb5], 12);
  return bytes;
};
const incoming = (mark: number): Uint8Array => frame(mark, MAC, PEER);
const outgoing = (mark: number): Uint8Array => frame(mark, PEER, MAC);
const marks = (frames: readonly Uint8Array[]): readonly number[] => frames.map((one) => one[50]!);

let folder: string;
let memory: GuestFile;
let vf: LocalVf;
let client: LateClient;
let driver: TestDriver;

/** Answers what waits, one after the other, until nothing does; returns how often all that waited was answered at once. */
const answerAll = (): number => {
  let rounds = 0;
  for (; client.pending.length > 0; rounds++) {
    for (const one of [...client.pending]) one.answer();
    vf.run();
  }
  return rounds;
};
const attach = async (): Promise<void> => {
  client = new LateClient(memory);
  vf.attach(client);
  vf.map(memory.bytes);
  vf.call(COMMAND.RESET);
  driver = new TestDriver(vf, memory);
  await driver.open();
};
/** Frames that the driver finds in the buffers of its ring from `first` on. */
const received = (first: number, count: number): readonly number[] =>
  marks(Array.from({ length: count }, (_, i) => driver.received((first + i) % ENTRIES, 100)));

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vfio-user-messages-'));
  memory = new GuestFile(join(folder, 'memory'));
  vf = new LocalVf();
  await attach();
});
afterEach(() => {
  memory.close();
  rmSync(folder, { recursive: true });
});

describe('a packet that goes', () => {
  it('is read when the answers are there, and not before', () => {
    driver.send(outgoing(1));
    expect(vf.sent).toEqual([]);
    expect(client.waiting(DMA_READ).map(({ count }) => count)).toEqual([16]);
    client.pending[0]!.answer();
    vf.run();
    expect(client.waiting(DMA_READ).map(({ count }) => count)).toEqual([100]);
    answerAll();
    expect(vf.sent).toEqual([outgoing(1)]);
    expect(vf.memory.blocked).toBe(0);
  });

  it('does not wait for those before it: what a ring holds is asked for together', () => {
    for (let i = 1; i < ENTRIES; i++) driver.queue(outgoing(i));
    driver.ring();
    // Descriptors, buffers, and the writes that complete them.
    expect(answerAll()).toBe(3);
    expect(marks(vf.sent)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(client.asked.filter(({ command }) => command === DMA_READ).length).toBe(1 + (ENTRIES - 1));
  });

  it('is as it is now, though the ring has been round: nothing that was read is used again', () => {
    for (let i = 0; i < 5 * ENTRIES; i++) {
      driver.send(outgoing(i));
      answerAll();
    }
    expect(marks(vf.sent)).toEqual(Array.from({ length: 5 * ENTRIES }, (_, i) => i));
  });

  it('and that the driver took back by a reset is not sent, nor what was asked for it', async () => {
    driver.send(outgoing(1));
    const descriptor = client.pending[0]!;
    descriptor.carryOut();
    driver = new TestDriver(vf, memory);
    await driver.open();
    // The same place has another packet; the answer for the first one is still on its way, with another length.
    const next = frame(2, PEER, MAC, 70);
    driver.send(next);
    descriptor.answer();
    vf.run();
    answerAll();
    expect(vf.sent).toEqual([next]);
  });

  it('was read and then taken back: what is sent from the same place is what stands there then', async () => {
    driver.send(outgoing(1));
    client.pending[0]!.answer();
    vf.run();
    const buffer = client.pending[0]!;
    // Its buffer is there, but the function does not get as far as to look at it.
    driver.disable();
    buffer.answer();
    vf.run();
    driver = new TestDriver(vf, memory);
    await driver.open();
    driver.send(outgoing(2));
    answerAll();
    expect(marks(vf.sent)).toEqual([2]);
  });

  it('whose memory the client refuses is none, and the next one goes', () => {
    driver.send(outgoing(1));
    client.pending[0]!.answer();
    vf.run();
    client.pending[0]!.answer(true);
    vf.run();
    answerAll();
    expect(vf.sent).toEqual([]);
    expect(vf.served.vf.pool.drops.malformed).toBe(1);
    expect(vf.memory.blocked).toBe(1);
    driver.send(outgoing(2));
    answerAll();
    expect(marks(vf.sent)).toEqual([2]);
  });

  it('whose ring the client refuses waits for the next doorbell, and is asked for again then', () => {
    driver.send(outgoing(1));
    client.pending[0]!.answer(true);
    vf.run();
    answerAll();
    expect(vf.sent).toEqual([]);
    driver.send(outgoing(2));
    answerAll();
    expect(marks(vf.sent)).toEqual([1, 2]);
  });
});

describe('a frame that comes', () => {
  it('is written when its descriptor is there; the next ones find theirs', () => {
    vf.receive(incoming(1));
    expect(client.pending.map(({ command }) => command)).toEqual([DMA_READ, DMA_READ]);
    answerAll();
    expect(received(0, 1)).toEqual([1]);
    client.asked.length = 0;
    for (let i = 2; i < 5; i++) vf.receive(incoming(i));
    expect(client.asked.some(({ command }) => command === DMA_READ)).toBe(false);
    answerAll();
    expect(received(0, 4)).toEqual([1, 2, 3, 4]);
  });

  it('is lost if the client lets nobody read its ring, and the next one finds it if it does then', () => {
    vf.receive(incoming(1));
    for (const one of [...client.pending]) one.answer(true);
    vf.run();
    expect(vf.served.vf.pool.drops.noDescriptor).toBe(1);
    vf.receive(incoming(2));
    answerAll();
    expect(received(0, 1)).toEqual([2]);
  });

  it('writes what comes later behind what came before, as the client hears it', () => {
    vf.receive(incoming(1));
    for (const one of [...client.pending]) one.answer();
    vf.run();
    const writes = client.waiting(DMA_WRITE).map(({ count }) => count);
    // The frame, three words of its descriptor, and the last, by which it is done.
    expect(writes).toEqual([100, 12, 4]);
  });
});

it.each(Array.from({ length: 12 }, (_, i) => i))(
  'answers in any order, some of them errors of nothing that counts: nothing is lost, doubled or late (seed %i)',
  (seed) => {
    const random = seededRandom(seed).fork('late');
    const sent: number[] = [];
    let came = 0;
    let taken = 0;
    const got: number[] = [];
    const take = (): void => {
      for (; taken < came && driver.isReceived(taken % ENTRIES); taken++) {
        got.push(...received(taken, 1));
        driver.giveBack();
      }
    };
    for (let i = 0; i < 300; i++) {
      const step = random.below(4);
      if (step === 0 && came - taken < ENTRIES - 1) {
        vf.receive(incoming(came & 0xff));
        came++;
      } else if (step === 1 && sent.length - vf.sent.length < 3) {
        sent.push(i & 0xff);
        driver.send(outgoing(i & 0xff));
      } else if (client.pending.length > 0) {
        random.pick(client.pending).answer();
        vf.run();
        take();
      }
    }
    for (; client.pending.length > 0; take()) answerAll();
    expect(got).toEqual(Array.from({ length: came }, (_, i) => i & 0xff));
    expect(marks(vf.sent)).toEqual(sent);
    expect(vf.memory.blocked).toBe(0);
  },
);

describe('a client that never answers', () => {
  it('is asked a bounded number of things', () => {
    for (let i = 1; i < ENTRIES; i++) driver.send(outgoing(i));
    for (let i = 0; i < 6000; i++) vf.receive(incoming(i & 0xff));
    expect(client.waitedMax).toBeLessThan(64);
    // What the packet buffer has no room for is lost and counted.
    expect(vf.served.vf.pool.drops.noDescriptor).toBeGreaterThan(0);
  });

  it('that has answered so far is not written to without end', () => {
    vf.receive(incoming(0));
    answerAll();
    for (let i = 1; i < 20_000; i++) {
      vf.receive(incoming(i & 0xff));
      for (const one of client.waiting(DMA_READ)) one.answer();
      vf.run();
      driver.tail((vf.served.vf.pool.words[reg.RDH.word]! + ENTRIES - 1) % ENTRIES);
    }
    const bytes = client.waiting(DMA_WRITE).reduce((sum, { count }) => sum + count, 0);
    expect(bytes).toBeLessThan(257 * 1024);
    answerAll();
    expect(client.pending).toEqual([]);
  });

  it('leaves nothing behind: the next one is served, and what the last was asked for is forgotten', async () => {
    for (let i = 1; i < 4; i++) driver.send(outgoing(i));
    vf.receive(incoming(9));
    const first = client;
    let written = false;
    first.leaves();
    vf.leave();
    vf.memory.whenWritten(() => {
      written = true;
    });
    expect(written).toBe(true);
    memory.write(0, new Uint8Array(memory.bytes));
    await attach();
    driver.send(outgoing(5));
    vf.receive(incoming(6));
    answerAll();
    expect(marks(vf.sent)).toEqual([5]);
    expect(received(0, 1)).toEqual([6]);
    for (const one of [...first.pending]) one.answer();
    expect(marks(vf.sent)).toEqual([5]);
  });
});

it('what is to come behind a write comes when that is answered, whatever the order of answers', () => {
  const order: string[] = [];
  vf.receive(incoming(1));
  for (const one of client.waiting(DMA_READ)) one.answer();
  vf.run();
  vf.memory.whenWritten(() => order.push('first'));
  vf.receive(incoming(2));
  vf.memory.whenWritten(() => order.push('second'));
  const writes = client.waiting(DMA_WRITE);
  expect(writes.length).toBe(6);
  for (const one of writes.slice(1)) one.answer();
  expect(order).toEqual([]);
  writes[0]!.answer();
  expect(order).toEqual(['first', 'second']);
  vf.memory.whenWritten(() => order.push('at once'));
  expect(order.at(-1)).toBe('at once');
});

it('memory that is mapped away while it is asked for is blocked, and its answer does no harm', () => {
  driver.send(outgoing(1));
  vf.call(COMMAND.DMA_UNMAP, dmaUnmap.encode({ argsz: dmaUnmap.size, address: 0, size: memory.bytes }));
  vf.run();
  answerAll();
  expect(vf.sent).toEqual([]);
  vf.map(memory.bytes);
  driver.send(outgoing(2));
  answerAll();
  expect(marks(vf.sent)).toEqual([1, 2]);
});

it('a function whose memory is all by descriptor asks nobody', () => {
  vf.call(COMMAND.DMA_UNMAP, dmaUnmap.encode({ argsz: dmaUnmap.size, address: 0, size: memory.bytes }));
  vf.map(memory.bytes, memory.fd);
  driver.send(outgoing(3));
  vf.receive(incoming(4));
  expect(marks(vf.sent)).toEqual([3]);
  expect(received(0, 1)).toEqual([4]);
  expect(client.asked).toEqual([]);
});

describe('copies of memory', () => {
  it.each(Array.from({ length: 10 }, (_, i) => i))('are what a map of bytes would be (seed %i)', (seed) => {
    const random = seededRandom(seed).fork('copies');
    const copies = new AskedMemory();
    const BYTES = 200;
    /** What is known of each byte: nothing, asked for, refused, or its value. */
    const model = new Array<number | 'asked' | 'refused' | undefined>(BYTES).fill(undefined);
    const open: { answer: ReturnType<AskedMemory['add']>; at: (number | undefined)[] }[] = [];
    const gap = { address: 0, end: 0 };
    for (let i = 0; i < 2000; i++) {
      const from = random.below(BYTES);
      const to = from + 1 + random.below(BYTES - from);
      const step = random.below(4);
      if (step === 0) {
        while (copies.findGap(from, to, gap)) {
          expect(model.slice(gap.address, gap.end).every((one) => one === undefined)).toBe(true);
          const answer = copies.add(gap.address, gap.end - gap.address);
          open.push({ answer, at: Array.from({ length: answer.length }, (_, k) => answer.address + k) });
          model.fill('asked', gap.address, gap.end);
        }
      } else if (step === 1 && open.length > 0) {
        const { answer, at } = open.splice(random.below(open.length), 1)[0]!;
        answer.failed = random.chance(0.2);
        if (!answer.failed)
          answer.bytes = Uint8Array.from({ length: answer.length }, () => random.below(256));
        at.forEach((place, k) => {
          if (place !== undefined) model[place] = answer.failed ? 'refused' : answer.bytes![k]!;
        });
      } else if (step === 2) {
        copies.drop(from, to);
        model.fill(undefined, from, to);
        for (const { at } of open)
          at.forEach((place, k) => {
            if (place !== undefined && place >= from && place < to) at[k] = undefined;
          });
      } else {
        const target = new Uint8Array(to - from);
        const known = model.slice(from, to);
        const there = known.every((one) => typeof one === 'number');
        expect(copies.read(from, to - from, target, 0)).toBe(there);
        if (there) expect([...target]).toEqual(known);
        expect(copies.findGap(from, to, gap)).toBe(known.includes(undefined));
      }
    }
    copies.drop(0, BYTES);
    expect([copies.bytes, copies.count]).toEqual([0, 0]);
  });
});
