import { Packr } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import { FerryError } from '../../base/errors.js';
import { seededRandom } from '../../base/random.js';
import { allSamples, sampleMessages } from '../../lab/fuzz/sample-messages.js';
import {
  CONTROL_VERSION,
  decodeFrame,
  encodeFrame,
  type FrameKind,
  FrameSplitter,
  frameHeader,
  frameKinds,
} from '../../migration/frame.js';
import { judgeShape } from '../../migration/message-shape.js';
import { decodeMessage, encodeMessage } from '../../migration/messages.js';

const packr = new Packr({ useRecords: false });

function errorOf(action: () => unknown): FerryError {
  try {
    action();
  } catch (error) {
    if (error instanceof FerryError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

/** The frame of a body that our own encoder would never write. */
function frameOf(kind: FrameKind, body: unknown): Uint8Array {
  return encodeFrame(kind, packr.pack(body));
}

describe('a control message', () => {
  it('of every kind survives encoding and decoding', () => {
    expect(allSamples.map(({ kind }) => kind).sort()).toEqual(Object.keys(frameKinds).sort());
    for (const message of allSamples) expect(decodeMessage(encodeMessage(message))).toEqual(message);
  });

  it('of every kind is refused, naming the field, if any field is missing, of another type, or too many', () => {
    for (const message of allSamples) {
      const { kind, ...body } = message;
      for (const field of Object.keys(body)) {
        const { [field as keyof typeof body]: _, ...without } = body;
        const missing = errorOf(() => decodeMessage(frameOf(kind, without)));
        expect(missing.code).toBe('migration/malformed-message');
        expect(missing.facts).toMatchObject({ message: kind, field });
        const wrong = errorOf(() => decodeMessage(frameOf(kind, { ...body, [field]: [[null]] })));
        expect(String(wrong.facts.field)).toMatch(new RegExp(`^${field}`));
      }
      const extra = errorOf(() => decodeMessage(frameOf(kind, { ...body, surprise: 1 })));
      expect(extra.facts).toMatchObject({ message: kind, field: 'surprise' });
    }
  });

  const { hello, state, complete, data, commit, error } = sampleMessages;
  const vcpu = state.machine.vcpus[0]!;
  const withVcpu = (change: object) => ({
    ...state,
    machine: { ...state.machine, vcpus: [{ ...vcpu, ...change }] },
  });
  const outOfRange: readonly (readonly [string, FrameKind, object])[] = [
    [
      'description.migratedPages',
      'hello',
      { ...hello, description: { ...hello.description, migratedPages: 2 ** 30 } },
    ],
    ['description.ramBytes', 'hello', { ...hello, description: { ...hello.description, ramBytes: 4097 } }],
    ['description.ramBytes', 'hello', { ...hello, description: { ...hello.description, ramBytes: -4096 } }],
    ['description.ramBytes', 'hello', { ...hello, description: { ...hello.description, ramBytes: 2 ** 60 } }],
    ['description.imageGpa', 'hello', { ...hello, description: { ...hello.description, imageGpa: 2 ** 40 } }],
    ['description.vcpus', 'hello', { ...hello, description: { ...hello.description, vcpus: 0 } }],
    [
      'description.devices.1.name',
      'hello',
      {
        ...hello,
        description: {
          ...hello.description,
          devices: [hello.description.devices[0], { name: '', version: 1 }],
        },
      },
    ],
    ['verify', 'hello', { ...hello, verify: 'sometimes' }],
    ['channels', 'hello', { ...hello, channels: 17 }],
    ['migrationId', 'hello', { ...hello, migrationId: 'XYZ' }],
    ['endpoint.ports.0', 'data', { ...data, endpoint: { ...data.endpoint, ports: [65536] } }],
    ['endpoint.ports', 'data', { ...data, endpoint: { ...data.endpoint, ports: [] } }],
    ['round', 'complete', { ...complete, round: 0 }],
    ['pages', 'complete', { ...complete, pages: 1.5 }],
    ['bytes', 'complete', { ...complete, bytes: Number.NaN }],
    ['root', 'complete', { ...complete, root: new Uint8Array(31) }],
    ['machine.vcpus.0.registers', 'state', withVcpu({ registers: new Uint8Array(7) })],
    ['machine.vcpus.0.pir', 'state', withVcpu({ pir: new Uint8Array(33) })],
    ['machine.vcpus.0.unwind', 'state', withVcpu({ unwind: new Uint8Array(256 * 1024 + 1) })],
    ['machine.vcpus.0.run', 'state', withVcpu({ run: 'flying' })],
    ['machine.vcpus.0.timerDeadlineNs', 'state', withVcpu({ timerDeadlineNs: -2 })],
    ['machine.vcpus', 'state', withVcpu({ index: 1 })],
    [
      'machine.clockNs',
      'state',
      { ...state, machine: { ...state.machine, clockNs: Number.POSITIVE_INFINITY } },
    ],
    ['migrationId', 'commit', { ...commit, migrationId: 7 }],
    ['exitStatus', 'error', { ...error, exitStatus: 0 }],
    ['facts.list', 'error', { ...error, facts: { list: [] } }],
  ];

  it.each(outOfRange)('with %s out of range in %s is refused, naming it', (field, kind, message) => {
    const { kind: _, ...body } = message as { kind: string };
    expect(errorOf(() => decodeMessage(frameOf(kind, body))).facts).toMatchObject({ message: kind, field });
  });

  it('whose payload is no map of fields is refused', () => {
    for (const body of [null, 5, 'text', [1], new Uint8Array(3)]) {
      expect(errorOf(() => decodeMessage(frameOf('welcome', body))).facts).toMatchObject({
        field: 'payload',
      });
    }
  });

  it('that would be longer than its kind allows is not sent', () => {
    const unwind = new Uint8Array(256 * 1024);
    const vcpus = Array.from({ length: 80 }, (_, index) => ({ ...vcpu, index, unwind }));
    const message = { ...state, machine: { ...state.machine, vcpus } };
    expect(errorOf(() => encodeMessage(message)).code).toBe('migration/message-too-large');
  });
});

describe('the shape of a payload', () => {
  const bytes = (...values: number[]) => Uint8Array.from(values);

  it('is accepted for everything that we send', () => {
    for (const message of allSamples)
      expect(judgeShape(decodeFrame(encodeMessage(message)).payload)).toBeUndefined();
  });

  it.each([
    ['an empty payload', bytes(), /middle/],
    ['bytes after the end', bytes(0x80, 0x01), /after the end/],
    [
      'an array that claims four thousand million elements',
      bytes(0xdd, 0xff, 0xff, 0xff, 0xff),
      /container of 4294967295/,
    ],
    ['a map that claims more than there is', bytes(0xdf, 0, 0, 0, 9, 1, 1), /container of 9/],
    ['text longer than the payload', bytes(0xdb, 0xff, 0xff, 0xff, 0xff), /4294967295 bytes/],
    ['a value cut off', bytes(0xcb, 1, 2), /0 bytes|bytes at 1, 2 are left/],
    ['a length cut off', bytes(0xc5, 1), /middle/],
    ['an extension type', bytes(0xd4, 0x72, 0x40), /type byte 0xd4/],
    ['a record definition of the decoder', bytes(0xc7, 1, 0x72, 1), /type byte 0xc7/],
    ['nesting without end', new Uint8Array(100_000).fill(0x91), /within each other/],
  ])('is refused for %s', (_, payload, words) => {
    expect(judgeShape(payload)).toMatch(words);
  });
});

describe('a frame', () => {
  it('with any single bit changed is refused with a typed error', () => {
    const frame = encodeMessage(sampleMessages.commit);
    const codes = new Set<string>();
    for (let bit = 0; bit < frame.length * 8; bit++) {
      const garbled = frame.slice();
      garbled[bit >>> 3]! ^= 1 << (bit & 7);
      codes.add(errorOf(() => decodeMessage(garbled)).code);
    }
    expect([...codes].sort()).toEqual([
      'migration/malformed-message',
      'migration/not-a-stream',
      'migration/peer-version',
    ]);
  });

  it('of another version is told apart before anything else of it is looked at, naming both versions', () => {
    const frame = encodeMessage(sampleMessages.hello).fill(0xff, 8);
    new DataView(frame.buffer).setUint16(frameHeader.offset.version, 9, true);
    const error = errorOf(() => decodeMessage(frame));
    expect(error.code).toBe('migration/peer-version');
    expect(error.facts).toEqual({ ours: CONTROL_VERSION, theirs: 9 });
  });

  it('announcing more than its kind allows is refused before memory is taken for it', () => {
    const frame = encodeMessage(sampleMessages.ping).slice(0, frameHeader.size);
    const view = new DataView(frame.buffer);
    view.setUint32(frameHeader.offset.lengthBytes, 0x7fff_ffff, true);
    const splitter = new FrameSplitter();
    // The header's checksum is right: the peer means it.
    const header = { ...frameHeader.read(view, 0) };
    frameHeader.write(view, 0, header);
    view.setUint32(frameHeader.offset.headerCrc, crcOf(frame), true);
    const error = errorOf(() => splitter.push(frame, () => undefined));
    expect(error.facts).toMatchObject({ message: 'ping', field: 'length' });
  });

  it('made of random bytes never gets past the checks, and never gets out as an untyped error', () => {
    const random = seededRandom(7);
    for (let i = 0; i < 2000; i++) {
      const frame = new Uint8Array(random.below(64));
      random.fill(frame);
      errorOf(() => decodeMessage(frame));
      // With a header in order, random payloads reach the decoder and the fields.
      const payload = new Uint8Array(random.below(40));
      random.fill(payload);
      const kind = random.pick(Object.keys(frameKinds) as FrameKind[]);
      errorOf(() => decodeMessage(encodeFrame(kind, payload)));
    }
  });
});

describe('the splitter', () => {
  const stream = Uint8Array.from(allSamples.flatMap((message) => [...encodeMessage(message)]));

  it('finds the same frames wherever the stream is cut', () => {
    for (const size of [1, 2, 3, 7, 19, 20, 21, 64, 1000, stream.length]) {
      const splitter = new FrameSplitter();
      const messages: unknown[] = [];
      for (let at = 0; at < stream.length; at += size) {
        splitter.push(stream.subarray(at, at + size), (frame) => messages.push(decodeMessage(frame)));
      }
      expect(messages).toEqual(allSamples);
      expect(splitter.betweenFrames).toBe(true);
    }
  });

  it('knows at every byte whether the stream could end there', () => {
    const ends = new Set([0]);
    allSamples.reduce((at, message) => {
      const end = at + encodeMessage(message).length;
      ends.add(end);
      return end;
    }, 0);
    for (let cut = 0; cut <= Math.min(stream.length, 1500); cut++) {
      const splitter = new FrameSplitter();
      splitter.push(stream.subarray(0, cut), () => undefined);
      expect(splitter.betweenFrames).toBe(ends.has(cut));
    }
  });

  it('refuses garbage as soon as it is seen, not when a whole header has come', () => {
    for (const garbage of ['GET / HTTP/1.1', 'hello\n', '{"execute"']) {
      const splitter = new FrameSplitter();
      const bytes = new TextEncoder().encode(garbage);
      const error = errorOf(() => splitter.push(bytes, () => undefined));
      expect(error.code).toBe('migration/not-a-stream');
    }
  });

  it('hands out the frames before a damaged one', () => {
    const frames: Uint8Array[] = [];
    const splitter = new FrameSplitter();
    const bytes = Uint8Array.from([...encodeMessage(sampleMessages.error), ...new Uint8Array(40)]);
    expect(errorOf(() => splitter.push(bytes, (frame) => frames.push(frame))).code).toBe(
      'migration/not-a-stream',
    );
    expect(frames.length).toBe(1);
  });
});

/** CRC-32 the slow way, as a second opinion on the table-driven one. */
function crcOf(frame: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of frame.subarray(0, frameHeader.offset.headerCrc)) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb8_8320 : crc >>> 1;
  }
  return ~crc >>> 0;
}
