/**
 * The frame of a control message: a header that can be judged alone, then the payload.
 *
 *      0       4         6      7          8        12            16           20
 *      ┌───────┬─────────┬──────┬──────────┬────────┬─────────────┬────────────┬─────────┐
 *      │ magic │ version │ kind │ reserved │ length │ payload CRC │ header CRC │ payload │
 *      └───────┴─────────┴──────┴──────────┴────────┴─────────────┴────────────┴─────────┘
 *
 * Magic and version keep their place in every version to come: they alone decide what the rest means, so they are
 * judged first, and a peer of another version is recognised without understanding anything else it says.
 */

import { crc32 } from '../base/crc32.js';
import { type FerryError, invariant } from '../base/errors.js';
import { layout, u8, u16, u32 } from '../base/layout.js';
import { KIB, MIB } from '../base/units.js';
import { migrationErrors } from './errors.js';

/** `FRRY`, little-endian. */
export const CONTROL_MAGIC = 0x5952_5246;
export const CONTROL_VERSION = 4;

export const frameHeader = layout('control frame header', {
  magic: u32(),
  version: u16(),
  kind: u8(),
  reserved: u8(),
  lengthBytes: u32(),
  payloadCrc: u32(),
  headerCrc: u32(),
});

/** Every kind of message: its number on the wire, and the longest payload. A retired kind keeps its number. */
export const frameKinds = {
  hello: { number: 1, bytesMax: 64 * KIB },
  welcome: { number: 2, bytesMax: 1 * KIB },
  data: { number: 3, bytesMax: 4 * KIB },
  'round-end': { number: 4, bytesMax: 1 * KIB },
  'round-received': { number: 5, bytesMax: 1 * KIB },
  state: { number: 6, bytesMax: 16 * MIB },
  prepared: { number: 7, bytesMax: 4 * KIB },
  verify: { number: 8, bytesMax: 1 * KIB },
  'page-hashes': { number: 9, bytesMax: 256 * KIB },
  'read-back': { number: 10, bytesMax: 16 * MIB },
  commit: { number: 11, bytesMax: 1 * KIB },
  running: { number: 12, bytesMax: 4 * KIB },
  released: { number: 13, bytesMax: 1 * KIB },
  ping: { number: 14, bytesMax: 64 },
  pong: { number: 15, bytesMax: 64 },
  error: { number: 16, bytesMax: 64 * KIB },
  damaged: { number: 17, bytesMax: 1 * KIB },
  complete: { number: 19, bytesMax: 4 * KIB },
  'device-data': { number: 18, bytesMax: 1 * MIB + 4 * KIB },
  'devices-started': { number: 20, bytesMax: 16 * KIB },
  inquiry: { number: 21, bytesMax: 1 * KIB },
} as const;

export type FrameKind = keyof typeof frameKinds;

/** The longest frame of any kind, header included. */
export const frameBytesMax =
  frameHeader.size + Math.max(...Object.values(frameKinds).map(({ bytesMax }) => bytesMax));

const kindByNumber = new Map<number, FrameKind>(
  (Object.keys(frameKinds) as FrameKind[]).map((kind) => [frameKinds[kind].number, kind]),
);
invariant(kindByNumber.size === Object.keys(frameKinds).length, 'two kinds of frame share a number');

export interface Frame {
  readonly kind: FrameKind;
  /** A view into the frame's bytes. */
  readonly payload: Uint8Array;
}

/** Builds the whole frame; throws `migration/message-too-large` if the payload exceeds what its kind allows. */
export function encodeFrame(kind: FrameKind, payload: Uint8Array): Uint8Array {
  const { number, bytesMax } = frameKinds[kind];
  if (payload.length > bytesMax) {
    throw migrationErrors.error('message-too-large', { message: kind, bytes: payload.length, bytesMax });
  }
  const frame = new Uint8Array(frameHeader.size + payload.length);
  const view = new DataView(frame.buffer);
  frameHeader.write(view, 0, {
    magic: CONTROL_MAGIC,
    version: CONTROL_VERSION,
    kind: number,
    lengthBytes: payload.length,
    payloadCrc: crc32(payload),
  });
  view.setUint32(frameHeader.offset.headerCrc, crc32(frame, 0, frameHeader.offset.headerCrc), true);
  frame.set(payload, frameHeader.size);
  return frame;
}

/** Magic and version: as much of a header as every version shares. */
const OPENING_BYTES = frameHeader.offset.kind;

/** Judges magic and version, given `OPENING_BYTES` or more; says no more of them, because no more may have come. */
function judgeOpening(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(frameHeader.offset.magic, true) !== CONTROL_MAGIC) {
    throw migrationErrors.error('not-a-stream', {
      found: `begins with ${hexBytes(bytes.subarray(0, OPENING_BYTES), ' ')}`,
    });
  }
  const theirs = view.getUint16(frameHeader.offset.version, true);
  if (theirs !== CONTROL_VERSION)
    throw migrationErrors.error('peer-version', { ours: CONTROL_VERSION, theirs });
}

/**
 * Judges a header, given its first `frameHeader.size` bytes or more; returns its kind and the payload's length.
 * Throws `migration/not-a-stream`, `migration/peer-version` or `migration/malformed-message`.
 */
export function decodeHeader(bytes: Uint8Array): {
  kind: FrameKind;
  lengthBytes: number;
  payloadCrc: number;
} {
  invariant(bytes.length >= frameHeader.size, 'header not complete');
  judgeOpening(bytes);
  const header = frameHeader.read(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0);
  if (header.headerCrc !== crc32(bytes, 0, frameHeader.offset.headerCrc)) {
    throw malformed('?', 'header CRC', 'does not match the header');
  }
  const kind = kindByNumber.get(header.kind);
  if (kind === undefined) throw malformed(`#${header.kind}`, 'kind', 'unknown');
  if (header.reserved !== 0) throw malformed(kind, 'reserved', `${header.reserved}, must be 0`);
  const { bytesMax } = frameKinds[kind];
  if (header.lengthBytes > bytesMax) {
    throw malformed(kind, 'length', `${header.lengthBytes} bytes, at most ${bytesMax}`);
  }
  return { kind, lengthBytes: header.lengthBytes, payloadCrc: header.payloadCrc };
}

/** Judges one whole frame: header, length, checksum. Throws as `decodeHeader` does. */
export function decodeFrame(frame: Uint8Array): Frame {
  if (frame.length < frameHeader.size) {
    throw migrationErrors.error('not-a-stream', { found: `a message of ${frame.length} bytes` });
  }
  const { kind, lengthBytes, payloadCrc } = decodeHeader(frame);
  const payload = frame.subarray(frameHeader.size);
  if (payload.length !== lengthBytes) {
    throw malformed(kind, 'length', `${lengthBytes} bytes announced, ${payload.length} there`);
  }
  if (crc32(payload) !== payloadCrc) throw malformed(kind, 'payload CRC', 'does not match the payload');
  return { kind, payload };
}

export function malformed(message: string, field: string, problem: string): FerryError {
  return migrationErrors.error('malformed-message', { message, field, problem });
}

export function hexBytes(bytes: Uint8Array, separator = ''): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(separator);
}

/**
 * Cuts a byte stream into frames. Knows no socket: `push` takes what arrived, however it was cut. A frame's memory is
 * taken only once its header has been judged. After it threw, the stream has no meaning any more.
 */
export class FrameSplitter {
  readonly #header = new Uint8Array(frameHeader.size);
  #first: readonly FrameKind[] | undefined;
  #frame: Uint8Array | undefined;
  #filled = 0;

  /** `first`: kinds of which the first frame must be, which is judged before memory is taken for it. */
  constructor(first?: readonly FrameKind[]) {
    this.#first = first;
  }

  /**
   * Hands each frame that `chunk` completes to `take`, in memory of its own. Throws as `decodeHeader` does, after all
   * frames before the offending one were handed over.
   */
  push(chunk: Uint8Array, take: (frame: Uint8Array) => void): void {
    let at = 0;
    while (at < chunk.length) {
      const target = this.#frame ?? this.#header;
      const part = chunk.subarray(at, at + target.length - this.#filled);
      target.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      // Garbage and other versions may send less than a header and wait: judged as soon as it can be.
      if (this.#frame === undefined && this.#filled >= OPENING_BYTES) judgeOpening(this.#header);
      if (this.#frame === undefined && this.#filled === this.#header.length) {
        const { kind, lengthBytes } = decodeHeader(this.#header);
        if (this.#first !== undefined && !this.#first.includes(kind)) {
          const facts = { message: kind, phase: 'none', expected: this.#first.join(' or ') };
          throw migrationErrors.error('unexpected-message', facts);
        }
        this.#first = undefined;
        this.#frame = new Uint8Array(frameHeader.size + lengthBytes);
        this.#frame.set(this.#header);
      }
      if (this.#frame !== undefined && this.#filled === this.#frame.length) {
        const frame = this.#frame;
        this.#frame = undefined;
        this.#filled = 0;
        take(frame);
      }
    }
  }

  /** True between two frames: where a stream may end in good order. */
  get betweenFrames(): boolean {
    return this.#filled === 0;
  }
}
