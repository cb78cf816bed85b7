/** The device state stream: what is sent when, and what a reader makes of whatever arrives. */
import { describe, expect, it } from 'vitest';
import { crc32 } from '../../base/crc32.js';
import { FerryError } from '../../base/errors.js';
import { seededRandom } from '../../base/random.js';
import { VfioMigration } from '../../devices/vfio/migration.js';
import { PRE_COPY, PRE_COPY_P2P, RESUMING, RUNNING, STOP, STOP_COPY } from '../../devices/vfio/states.js';
import {
  chunkHeader,
  identityEntry,
  SECTION_BYTES_MAX,
  streamStart,
  viewOf,
} from '../../devices/vfio/stream.js';
import { ArtificialDevice, drain, feed, joined, wholeState } from './vfio-world.js';

const setUp = () => {
  const device = new ArtificialDevice();
  return { device, migration: new VfioMigration(device) };
};

/** Where each chunk starts, and its name. */
function chunksOf(stream: Uint8Array, at = streamStart.size): { name: string; at: number; end: number }[] {
  const chunks = [];
  while (at < stream.length) {
    const { name, length } = chunkHeader.read(viewOf(stream), at);
    const end = at + chunkHeader.size + length;
    chunks.push({ name, at, end });
    at = end;
  }
  return chunks;
}

/** Offers `stream` to a fresh device; returns the error, or undefined if it was taken. */
function offer(
  stream: Uint8Array,
  change: (device: ArtificialDevice) => void = () => {},
  pieceBytes?: number,
) {
  const { device, migration } = setUp();
  for (const [name, bytes] of Object.entries(device.contents))
    device.contents[name] = bytes.map((b) => b ^ 0xff);
  change(device);
  const before = structuredClone(device.contents);
  const session = migration.setState(RESUMING)!;
  let early = true;
  try {
    feed(session, stream, pieceBytes);
    early = false;
    migration.setState(STOP);
  } catch (error) {
    expect(device.contents, 'refused, so nothing has changed').toEqual(before);
    if (early) expect(() => migration.setState(STOP)).toThrowError(error as Error);
    expect(migration.state).toBe(0);
    return { error: error as FerryError, early, device };
  }
  return { error: undefined, early: false, device };
}

/** Makes the checksums of the chunk at `at`, and that of the whole stream, right again. */
function resealed(stream: Uint8Array, at: number): Uint8Array {
  const view = viewOf(stream);
  const { length } = chunkHeader.read(view, at);
  const payload = at + chunkHeader.size;
  view.setUint32(at + chunkHeader.offset.payloadCrc, crc32(stream, payload, payload + length), true);
  const crc = at + chunkHeader.offset.headerCrc;
  view.setUint32(crc, crc32(stream, at, crc), true);
  const end = chunksOf(stream).at(-1);
  if (end === undefined || end.name !== 'end' || end.at === at) return stream;
  view.setUint32(end.at + chunkHeader.size + 8, crc32(stream, 0, end.at), true);
  return resealed(stream, end.at);
}

describe('what is sent', () => {
  it('in STOP_COPY is everything, ended by an end, and as long as the size said', () => {
    const { device, migration } = setUp();
    migration.setState(STOP);
    const expected = migration.stopCopyBytes;
    const session = migration.setState(STOP_COPY)!;
    expect(migration.stopCopyBytes).toBe(expected);
    const { bytes, ended } = drain(session, 100);
    expect(ended).toBe(true);
    expect(bytes).toHaveLength(expected);
    expect(chunksOf(bytes).map(({ name }) => name)).toEqual([
      'identity',
      ...Object.keys(device.contents),
      'end',
    ]);
    expect(migration.stopCopyBytes).toBe(0);
    expect(session.read(new Uint8Array(8))).toBe('end');
  });

  it('in PRE_COPY is the identity and what changes seldom, up to a temporary end', () => {
    const { migration } = setUp();
    const session = migration.setState(PRE_COPY)!;
    const { initialBytes, dirtyBytes } = migration.precopyInfo;
    expect(dirtyBytes).toBe(0);
    const { bytes, ended } = drain(session, 70);
    expect(ended).toBe(false);
    expect(bytes).toHaveLength(initialBytes);
    expect(chunksOf(bytes).map(({ name }) => name)).toEqual(['identity', 'config', 'empty', 'table']);
    expect(migration.precopyInfo).toEqual({ initialBytes: 0, dirtyBytes: 0 });
    expect(session.read(new Uint8Array(8))).toBe('temporary-end');
  });

  it('after a temporary end is what has changed since, again and again', () => {
    const { device, migration } = setUp();
    const session = migration.setState(PRE_COPY)!;
    drain(session);
    for (let i = 0; i < 3; i++) {
      device.contents.table = new Uint8Array(50 + i).fill(i);
      device.contents.counters![0] = i;
      const { dirtyBytes, initialBytes } = migration.precopyInfo;
      expect(initialBytes).toBe(0);
      const { bytes, ended } = drain(session);
      expect(ended).toBe(false);
      expect(bytes).toHaveLength(dirtyBytes);
      expect(chunksOf(bytes, 0).map(({ name }) => name)).toEqual(['table']);
    }
  });

  it('after a device that changes without a pause still comes to a temporary end', () => {
    const { device, migration } = setUp();
    const session = migration.setState(PRE_COPY)!;
    const results: unknown[] = [];
    for (let i = 0; i < 9; i++) {
      device.contents.table![0] = i;
      results.push(session.read(new Uint8Array(4096)));
    }
    expect(results.filter((result) => result === 'temporary-end')).toHaveLength(4);
  });

  it('in STOP_COPY after PRE_COPY is only what has changed or was not sent, and the whole is the last state', () => {
    for (const way of [[STOP_COPY], [PRE_COPY_P2P, STOP_COPY]]) {
      const { device, migration } = setUp();
      const session = migration.setState(PRE_COPY)!;
      const first = drain(session).bytes;
      device.contents.config = Uint8Array.of(5, 5, 5);
      device.contents.counters![3] = 77;
      const expected = migration.stopCopyBytes;
      for (const state of way) expect(migration.setState(state)).toBeUndefined();
      const { bytes: rest, ended } = drain(session);
      expect(ended).toBe(true);
      expect(rest).toHaveLength(expected);
      expect(chunksOf(rest, 0).map(({ name }) => name)).toEqual(['config', 'counters', 'end']);
      const taken = offer(joined([first, rest]));
      expect(taken.error).toBeUndefined();
      expect(taken.device.contents).toEqual(device.contents);
    }
  });

  it('without reading anything in PRE_COPY is nevertheless complete', () => {
    const { device, migration } = setUp();
    const session = migration.setState(PRE_COPY)!;
    device.contents.table![1] = 200;
    migration.setState(STOP_COPY);
    const taken = offer(drain(session).bytes);
    expect(taken.error).toBeUndefined();
    expect(taken.device.contents).toEqual(device.contents);
  });

  it('starts anew after the device has run again', () => {
    const { device, migration } = setUp();
    const first = migration.setState(PRE_COPY)!;
    drain(first);
    migration.setState(RUNNING);
    expect(() => first.read(new Uint8Array(1))).toThrow(/the session is over/);
    device.contents.counters![0] = 1;
    expect(offer(wholeState(migration)).device.contents).toEqual(device.contents);
  });

  it('is asked for in the wrong state or direction: an error that says so', () => {
    const { migration } = setUp();
    for (const state of [RUNNING, STOP, STOP_COPY, RESUMING]) {
      migration.setState(state);
      expect(() => migration.precopyInfo).toThrow(/EINVAL/);
    }
    expect(() => migration.session!.read(new Uint8Array(1))).toThrow(/the state is being restored/);
    migration.reset();
    migration.setState(STOP_COPY);
    expect(() => migration.session!.write(new Uint8Array(1))).toThrow(/the state is being saved/);
  });
});

describe('a reader', () => {
  const { device, migration } = setUp();
  const stream = wholeState(migration);

  it('takes the stream in pieces of any size', () => {
    for (const pieceBytes of [1, 2, 3, 59, 60, 61, 100, stream.length]) {
      const taken = offer(stream, undefined, pieceBytes);
      expect(taken.error).toBeUndefined();
      expect(taken.device.contents).toEqual(device.contents);
    }
  });

  it('refuses it when any byte is another', () => {
    for (let at = 0; at < stream.length; at++) {
      const damaged = stream.slice();
      damaged[at]! ^= 1 << (at & 7);
      const { error } = offer(damaged);
      expect(error, `byte ${at}`).toBeInstanceOf(FerryError);
      expect(error!.code).toMatch(/devices\/migrationDamaged/);
    }
  });

  it('refuses it when it is cut anywhere, and says where', () => {
    const cuts = [0, 5, ...chunksOf(stream).flatMap(({ at, end }) => [at, at + 30, end - 1])];
    for (const cut of new Set(cuts)) {
      const { error, early } = offer(stream.slice(0, cut));
      expect(early).toBe(false);
      expect(error!.message).toContain(`the stream ends after ${cut} bytes`);
    }
    expect(offer(stream.slice(0, chunksOf(stream)[3]!.at + 70)).error!.message).toContain('table');
  });

  it('refuses it when a chunk is missing, doubled or moved, and when bytes follow the end', () => {
    const chunks = chunksOf(stream).map(({ at, end }) => stream.slice(at, end));
    const start = stream.slice(0, streamStart.size);
    const random = seededRandom(5);
    for (let i = 0; i < 30; i++) {
      const from = random.below(chunks.length);
      const moved = chunks.filter((_, j) => j !== from);
      if (random.chance(0.7)) moved.splice(random.below(moved.length + 1), 0, chunks[from]!);
      if (random.chance(0.3)) moved.push(chunks[random.below(chunks.length)]!);
      if (moved.length === chunks.length && moved.every((chunk, j) => chunk === chunks[j])) continue;
      expect(offer(joined([start, ...moved])).error?.code).toBe('devices/migrationDamaged');
    }
    expect(offer(joined([stream, Uint8Array.of(0)])).error!.message).toContain('bytes behind it');
    expect(offer(joined([start, ...chunks])).error, 'put together rightly it is taken').toBeUndefined();
  });

  it('refuses it when a chunk of another state of the same device is in the place of its own', () => {
    const other = setUp();
    other.device.contents.config = Uint8Array.of(1, 2, 3, 5);
    const foreign = wholeState(other.migration);
    expect(foreign).toHaveLength(stream.length);
    const { at, end } = chunksOf(stream)[1]!;
    const mixed = stream.slice();
    mixed.set(foreign.subarray(at, end), at);
    expect(offer(mixed).error!.message).toContain('wrong checksum of the whole stream');
  });

  it('refuses another device as soon as it knows, with each difference', () => {
    const identityEnd = chunksOf(stream)[0]!.end;
    const { error, early } = offer(stream.slice(0, identityEnd), (other) => {
      other.identity = { vendorId: 0x1af4, deviceId: 8, vectors: 3 };
    });
    expect(early).toBe(true);
    expect(error!.code).toBe('devices/migrationIncompatible');
    expect(error!.facts.differences).toBe(
      'deviceId is 0x7 there and 0x8 here; vectors is nothing there and 0x3 here; queues is 0x2 there and nothing here',
    );
    const sooner = offer(stream.slice(0, identityEnd - 1), (other) => {
      other.identity = { vendorId: 1 };
    });
    expect(sooner.early, 'a byte sooner it can’t know').toBe(false);
  });

  it('refuses another version of stream or section by name', () => {
    const newer = stream.slice();
    newer[streamStart.offset.version] = 2;
    viewOf(newer).setUint32(streamStart.offset.crc, crc32(newer, 0, streamStart.offset.crc), true);
    expect(offer(newer).error).toMatchObject({
      code: 'devices/migrationStreamVersion',
      facts: { version: 2 },
    });
    const old = offer(stream, (other) => {
      other.version = 3;
    });
    expect(old.error).toMatchObject({ code: 'devices/recordVersion', facts: { version: 1, supported: 3 } });
    expect(old.error!.message).toContain('config');
  });

  it('makes no room for what a header promises beyond bounds, however right its checksums are', () => {
    const section = chunksOf(stream)[1]!.at;
    const identity = chunksOf(stream)[0]!.at;
    const cases: [number, keyof typeof chunkHeader.offset, number, RegExp][] = [
      [section, 'length', SECTION_BYTES_MAX + 1, /config: 1048577 bytes, at most/],
      [section, 'length', 0xffff_ffff, /config: 4294967295 bytes/],
      [section, 'kind', 9, /unknown kind 9/],
      [section, 'kind', 1, /the identity comes first, and once/],
      [section, 'kind', 3, /end: 4 bytes/],
      [section, 'sequence', 2, /chunk 2 is in its place/],
      [section, 'magic', 1, /does not start as a chunk/],
      [section, 'name', 0x6161_6161, /aaaaig: this device has no such section/],
      [identity, 'length', identityEntry.size * 65, /identity: 2080 bytes/],
      [identity, 'length', 33, /identity: 33 bytes/],
      [identity, 'kind', 2, /the identity comes first, and once/],
    ];
    for (const [at, field, value, message] of cases) {
      const bad = stream.slice();
      const header = bad.subarray(at, at + chunkHeader.size);
      viewOf(header).setUint32(chunkHeader.offset[field], value, true);
      viewOf(header).setUint32(
        chunkHeader.offset.headerCrc,
        crc32(header, 0, chunkHeader.offset.headerCrc),
        true,
      );
      const { error, early } = offer(bad.subarray(0, at + chunkHeader.size));
      expect(error!.message, field).toMatch(message);
      expect(early).toBe(true);
    }
  });

  it('refuses what the device does not accept, and the device is as it was', () => {
    const bad = stream.slice();
    const at = chunksOf(stream)[1]!.at;
    bad[at + chunkHeader.size] = 0xad;
    expect(offer(resealed(bad, at)).error).toMatchObject({
      code: 'devices/recordRefused',
      facts: { difference: 'config: a bad byte' },
    });
    bad[at + chunkHeader.size] = 0xac;
    expect(offer(resealed(bad, at)).error, 'with a good byte it is accepted').toBeUndefined();
  });

  it('refuses an identity that gives a property twice', () => {
    const bad = stream.slice();
    const at = chunksOf(stream)[0]!.at;
    const payload = at + chunkHeader.size;
    bad.copyWithin(payload + identityEntry.size, payload, payload + identityEntry.size);
    expect(offer(resealed(bad, at)).error!.message).toContain('vendorId is given twice');
  });

  it('survives noise', () => {
    const random = seededRandom(31);
    for (let i = 0; i < 50; i++) {
      const noise = Uint8Array.from({ length: random.below(400) }, () => random.below(256));
      expect(offer(noise).error).toBeInstanceOf(FerryError);
      expect(offer(joined([stream.slice(0, random.below(stream.length)), noise])).error).toBeInstanceOf(
        FerryError,
      );
    }
  });
});
