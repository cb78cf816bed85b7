/** Migration and DMA logging over vfio-user: the messages as libvfio-user has them, and a function that moves by them. */
import { mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { PRE_COPY, PRE_COPY_P2P, RESUMING, RUNNING, STOP, STOP_COPY } from '../../devices/vfio/states.js';
import { COMMAND, EBUSY, EINVAL, ENOTTY } from '../../vmm/vfio-user/protocol.js';
import { GuestFile, type Reply, TestDriver } from './vfio-user-client.js';
import { LocalVf } from './vfio-user-local.js';

const GET = 0x1_0000;
const SET = 0x2_0000;
const PROBE = 0x4_0000;
const MIGRATION = 1;
const STATE = 2;
const START = 6;
const STOP_LOGGING = 7;
const REPORT = 8;
/** A piece of the state that is shorter than the whole. */
const PIECE = 512;

const u32 = (...values: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);
const bytes = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(Buffer.concat(parts));
const wordsOf = ({ payload }: Reply): readonly number[] => [
  ...new Uint32Array(payload.buffer, 0, payload.length >>> 2),
];

const folder = mkdtempSync(join(tmpdir(), 'vfio-user-migration-'));
afterAll(() => rmSync(folder, { recursive: true }));

let memory: GuestFile;
let vf: LocalVf;

/** Of its own: a map keeps the descriptor. */
const again = ({ fd }: GuestFile): number => openSync(`/proc/self/fd/${fd}`, 'r+');
const attach = (device: LocalVf): void => {
  device.attach();
  expect(device.map(memory.bytes, again(memory)).errno).toBe(0);
};
const feature = (
  device: LocalVf,
  flags: number,
  data: Uint8Array = new Uint8Array(0),
  argsz = 8 + data.length,
): Reply => device.call(COMMAND.DEVICE_FEATURE, bytes(u32(argsz, flags), data));
const setState = (device: LocalVf, state: number): number =>
  feature(device, SET | STATE, u32(state, 0)).errno;
const stateOf = (device: LocalVf): number => wordsOf(feature(device, GET | STATE, undefined, 16))[2]!;
const read = (device: LocalVf, size: number): Reply =>
  device.call(COMMAND.MIG_DATA_READ, u32(8 + size, size));
const writeState = (device: LocalVf, data: Uint8Array): number =>
  device.call(COMMAND.MIG_DATA_WRITE, bytes(u32(8 + data.length, data.length), data)).errno;
/** All data that there is now. */
const drain = (device: LocalVf): Uint8Array => {
  const pieces: Uint8Array[] = [];
  for (;;) {
    const { payload, errno } = read(device, PIECE);
    expect([errno, payload.length]).toEqual([0, 8 + PIECE]);
    const [argsz, size] = new Uint32Array(payload.buffer, 0, 2);
    expect(argsz).toBe(8 + size!);
    pieces.push(payload.subarray(8, 8 + size!));
    if (size! < PIECE) return bytes(...pieces);
  }
};
const frameOf = (mark: number): Uint8Array =>
  Uint8Array.from({ length: 100 }, (_, i) =>
    i < 6 ? [0x52, 0x54, 0, 0x12, 0x34, 0x56][i]! : i < 14 ? 2 : mark,
  );
/** The same from it to another. */
const addressed = (mark: number): Uint8Array => {
  const frame = frameOf(mark);
  frame.set(frame.subarray(0, 6), 6);
  frame.set([2, 0, 0, 0, 0, 9]);
  return frame;
};
const logAll = (device: LocalVf): Reply => feature(device, SET | START, u32(4096, 0, 0, 0));
/** Pages of guest memory that the log names. */
const report = (device: LocalVf): readonly number[] => {
  const pages = memory.bytes / 4096;
  const request = u32(0, 0, memory.bytes, 0, 4096, 0);
  const { errno, payload } = feature(device, GET | REPORT, request, 8 + 24 + pages / 8);
  expect([errno, payload.length]).toEqual([0, 8 + 24 + pages / 8]);
  expect(payload.subarray(8, 32)).toEqual(request);
  const found: number[] = [];
  for (let page = 0; page < pages; page++) {
    if ((payload[32 + (page >>> 3)]! & (1 << (page & 7))) !== 0) found.push(page);
  }
  return found;
};

beforeEach(() => {
  memory = new GuestFile(join(folder, 'memory'));
  vf = new LocalVf();
  attach(vf);
  return () => memory.close();
});

describe('the messages', () => {
  it('are those of libvfio-user, byte for byte', () => {
    const flags = feature(vf, GET | MIGRATION, undefined, 16);
    expect([flags.errno, wordsOf(flags)]).toEqual([0, [16, GET | MIGRATION, 7, 0]]);
    const running = feature(vf, GET | STATE, undefined, 16);
    expect(wordsOf(running)).toEqual([16, GET | STATE, RUNNING, 0xffff_ffff]);
    const stopped = feature(vf, SET | STATE, u32(STOP, 0));
    expect(wordsOf(stopped)).toEqual([16, SET | STATE, STOP, 0xffff_ffff]);
    // A probe comes back as it went, whichever methods it names.
    const probe = feature(vf, PROBE | GET | SET | STATE, u32(5));
    expect(wordsOf(probe)).toEqual([12, PROBE | GET | SET | STATE, 5]);
    // The log's page size is written over the hint; what follows stays.
    const started = feature(vf, SET | START, u32(0x1_0000, 0, 1, 0, 0x4000, 0, 0x8000, 0));
    expect(wordsOf(started)).toEqual([40, SET | START, 4096, 0, 1, 0, 0x4000, 0, 0x8000, 0]);
    // Its sample client stops with what it started with.
    const ended = feature(vf, SET | STOP_LOGGING, u32(4096, 0, 0, 0));
    expect([ended.errno, wordsOf(ended)]).toEqual([0, [24, SET | STOP_LOGGING, 4096, 0, 0, 0]]);
  });

  const wrong: readonly [what: string, errno: number, ask: () => Reply][] = [
    ['a feature that there is not', ENOTTY, () => feature(vf, GET | 4, undefined, 100)],
    ['a method that the feature does not have', EINVAL, () => feature(vf, SET | MIGRATION)],
    ['no method', EINVAL, () => feature(vf, MIGRATION)],
    ['no room for the answer', EINVAL, () => feature(vf, GET | MIGRATION, undefined, 15)],
    ['less room than the request takes', EINVAL, () => feature(vf, SET | STATE, u32(STOP, 0), 15)],
    ['a request that is cut', EINVAL, () => vf.call(COMMAND.DEVICE_FEATURE, u32(16))],
    ['a state that is cut', EINVAL, () => feature(vf, SET | STATE, u32(STOP))],
    ['a state that there is not', EINVAL, () => feature(vf, SET | STATE, u32(8, 0))],
    ['the state of an error', EINVAL, () => feature(vf, SET | STATE, u32(0, 0))],
    ['reading without a session', EINVAL, () => read(vf, 16)],
    ['writing without a session', EINVAL, () => vf.call(COMMAND.MIG_DATA_WRITE, u32(8, 0))],
    ['a report without a log', EINVAL, () => feature(vf, GET | REPORT, u32(0, 0, 4096, 0, 4096, 0), 100)],
    ['more ranges than there are', EINVAL, () => feature(vf, SET | START, u32(4096, 0, 1, 0))],
  ];
  it.each(wrong)('%s is refused, and the device goes on', (_what, errno, ask) => {
    expect(ask().errno).toBe(errno);
    expect(stateOf(vf)).toBe(RUNNING);
    expect(vf.reasons).toEqual([]);
  });

  it('of a state want one that has data in that direction, room, and a bounded size', () => {
    setState(vf, STOP_COPY);
    expect(vf.call(COMMAND.MIG_DATA_WRITE, u32(8, 0)).errno).toBe(EINVAL);
    expect(vf.call(COMMAND.MIG_DATA_READ, u32(8 + 15, 16)).errno).toBe(EINVAL);
    expect(vf.call(COMMAND.MIG_DATA_READ, u32(0xffff_ffff, 0x10_0001)).errno).toBe(EINVAL);
    expect(drain(vf).length).toBeGreaterThan(1000);
    setState(vf, RESUMING);
    expect(read(vf, 16).errno).toBe(EINVAL);
    expect(vf.call(COMMAND.MIG_DATA_WRITE, u32(8 + 16, 16)).errno).toBe(EINVAL);
  });
});

describe('the log', () => {
  it('names exactly the pages that the device has written since it was last asked', async () => {
    vf.call(COMMAND.RESET);
    const driver = new TestDriver(vf, memory);
    await driver.open();
    vf.receive(frameOf(1));
    expect(logAll(vf).errno).toBe(0);
    expect(report(vf)).toEqual([]);
    // Its ring, and the second of the buffers, which are half a page long.
    vf.receive(frameOf(2));
    expect(report(vf)).toEqual([1, 16]);
    expect(report(vf)).toEqual([]);
    vf.receive(frameOf(3));
    driver.send(addressed(4));
    expect(report(vf)).toEqual([1, 2, 17]);
    expect(logAll(vf).errno).toBe(EBUSY);
    feature(vf, SET | STOP_LOGGING);
    vf.receive(frameOf(5));
    expect(logAll(vf).errno).toBe(0);
    expect(report(vf)).toEqual([]);
  });

  it('keeps what it does not tell for want of room', async () => {
    vf.call(COMMAND.RESET);
    await new TestDriver(vf, memory).open();
    logAll(vf);
    vf.receive(frameOf(1));
    const short = feature(vf, GET | REPORT, u32(0, 0, memory.bytes, 0, 4096, 0), 8 + 24 + 8);
    expect(short.errno).toBe(EINVAL);
    expect(report(vf)).toEqual([1, 16]);
  });

  it('ends with its client', () => {
    logAll(vf);
    vf.leave();
    attach(vf);
    expect(logAll(vf).errno).toBe(0);
  });
});

describe('a function', () => {
  let target: LocalVf;
  let driver: TestDriver;
  beforeEach(async () => {
    target = new LocalVf();
    vf.call(COMMAND.RESET);
    driver = new TestDriver(vf, memory);
    await driver.open();
    vf.receive(frameOf(1));
    driver.send(addressed(2));
  });
  const attachTarget = (): void => {
    attach(target);
    expect(setState(target, RESUMING)).toBe(0);
  };

  it('moves to a second one, which goes on in the middle of its rings', async () => {
    expect(setState(vf, PRE_COPY)).toBe(0);
    const early = drain(vf);
    vf.receive(frameOf(3));
    driver.send(addressed(4));
    // Nothing leaves it, and nothing gets through it, while it still has its registers written.
    expect(setState(vf, PRE_COPY_P2P)).toBe(0);
    driver.send(addressed(5));
    vf.receive(frameOf(6));
    expect(setState(vf, STOP_COPY)).toBe(0);
    const late = drain(vf);
    expect(late.length).toBeLessThan(early.length);
    expect(vf.sent.length).toBe(2);
    expect(driver.received(2, 100)).toEqual(new Uint8Array(100));

    attachTarget();
    const whole = bytes(early, late);
    for (let at = 0; at < whole.length; at += PIECE) {
      expect(writeState(target, whole.subarray(at, at + PIECE))).toBe(0);
    }
    expect(setState(target, RUNNING)).toBe(0);
    driver.movesTo(target);
    target.run();
    // What its driver had asked for when it stood still is sent here.
    expect(target.sent).toEqual([addressed(5)]);
    target.receive(frameOf(7));
    expect(driver.received(2, 100)).toEqual(frameOf(7));
    expect(driver.received(1, 100)).toEqual(frameOf(3));
    driver.send(addressed(8));
    expect(target.sent.at(-1)).toEqual(addressed(8));
  });

  it('hears of a link that is not what it was where it came from', async () => {
    const heard = async (): Promise<number> => {
      const up = reg.MAILBOX.fields.PFSTS.get(await driver.get(reg.MAILBOX));
      expect(setState(vf, STOP_COPY)).toBe(0);
      const state = drain(vf);
      attachTarget();
      expect([writeState(target, state), setState(target, RUNNING)]).toEqual([0, 0]);
      driver.movesTo(target);
      return reg.MAILBOX.fields.PFSTS.get(await driver.get(reg.MAILBOX)) - up;
    };
    expect(await heard()).toBe(0);
    setState(vf, RUNNING);
    target = new LocalVf();
    target.served.nic.setLink(false);
    driver.movesTo(vf);
    expect(await heard()).toBe(1);
  });

  it('is nothing to the guest where its state did not arrive', () => {
    attach(target);
    driver.movesTo(target);
    target.receive(frameOf(7));
    driver.send(addressed(8));
    expect(target.sent).toEqual([]);
    expect(driver.received(1, 100)).toEqual(new Uint8Array(100));
  });

  it('that gets a damaged state says why, is in ERROR, and a reset leads out', () => {
    setState(vf, STOP_COPY);
    const state = drain(vf);
    attachTarget();
    state[state.length - 100]! ^= 1;
    writeState(target, state);
    expect(setState(target, STOP)).toBe(EINVAL);
    expect(stateOf(target)).toBe(0);
    expect(target.reasons[0]).toContain('damaged');
    // However often it is tried, once is enough.
    expect(target.reasons.length).toBe(1);
    target.call(COMMAND.RESET);
    expect(stateOf(target)).toBe(RUNNING);
  });

  it('that stands still stays so for the next client, until that resets it', () => {
    setState(vf, STOP);
    vf.leave();
    attach(vf);
    expect(stateOf(vf)).toBe(STOP);
    vf.call(COMMAND.RESET);
    expect(stateOf(vf)).toBe(RUNNING);
  });
});
