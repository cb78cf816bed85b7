/**
 * The device state stream: a start, then chunks. The first chunk is the device's identity, the last one the end; the
 * chunks between are sections, of which a later one of the same name replaces an earlier one.
 *
 * Every header has a checksum of its own and is judged before its length is believed; every payload has one; the end
 * has one over the whole stream, so that no chunk can be lost, doubled or moved. What a chunk may hold is bounded, and
 * only sections that the device has are taken, so that no stream can make its reader keep more than `SECTION_BYTES_MAX`
 * for each of them.
 */
import { crc32 } from '../../base/crc32.js';
import { ascii, layout, u32, u64 } from '../../base/layout.js';

/** `vfst` and `vfch`. */
export const STREAM_MAGIC = 0x7473_6676;
export const CHUNK_MAGIC = 0x6863_6676;
export const STREAM_VERSION = 1;

export const streamStart = /* @__PURE__ */ layout('device_stream_start', {
  magic: u32(),
  version: u32(),
  crc: u32(),
});

export const CHUNK_IDENTITY = 1;
export const CHUNK_SECTION = 2;
export const CHUNK_END = 3;

export const chunkHeader = /* @__PURE__ */ layout('device_stream_chunk', {
  magic: u32(),
  /** Counts from 0. */
  sequence: u32(),
  kind: u32(),
  /** Version of the section's content; 0 for other kinds. */
  version: u32(),
  length: u32(),
  name: ascii(32),
  payloadCrc: u32(),
  headerCrc: u32(),
});

/** One property that source and destination must share. */
export const identityEntry = /* @__PURE__ */ layout('device_identity_entry', {
  name: ascii(24),
  value: u64(),
});

export const endPayload = /* @__PURE__ */ layout('device_stream_end', {
  /** Bytes of the stream before the end chunk. */
  bytes: u64(),
  crc: u32(),
});

export const IDENTITY_ENTRIES_MAX = 64;
export const SECTION_BYTES_MAX = 1 << 20;

/** Properties by name, plain numbers: ids, sizes, counts, versions of interfaces. */
export type DeviceIdentity = Readonly<Record<string, number>>;

export interface MigrationSection {
  readonly name: string;
  readonly version: number;
  readonly bytes: Uint8Array;
}

export const viewOf = (data: Uint8Array): DataView =>
  new DataView(data.buffer, data.byteOffset, data.byteLength);

export function encodeIdentity(identity: DeviceIdentity): Uint8Array {
  const entries = Object.entries(identity);
  const encoded = new Uint8Array(entries.length * identityEntry.size);
  const view = viewOf(encoded);
  entries.forEach(([name, value], i) => {
    identityEntry.write(view, i * identityEntry.size, { name, value });
  });
  return encoded;
}

/** Every property in which `theirs` differs from `ours`, in words; empty if they are the same device. */
export function identityDifferences(ours: DeviceIdentity, theirs: ReadonlyMap<string, number>): string {
  const said = (value: number | undefined): string =>
    value === undefined ? 'nothing' : `0x${value.toString(16)}`;
  return [...new Set([...Object.keys(ours), ...theirs.keys()])]
    .filter((name) => ours[name] !== theirs.get(name))
    .map((name) => `${name} is ${said(theirs.get(name))} there and ${said(ours[name])} here`)
    .join('; ');
}

/** Bytes that a payload takes in the stream. */
export const chunkBytes = (payloadBytes: number): number => chunkHeader.size + payloadBytes;
export const END_BYTES = /* @__PURE__ */ chunkBytes(endPayload.size);

/** Makes the pieces of one stream, in their order. */
export class StreamWriter {
  private sequence = 0;
  private bytesDone = 0;
  private crc = 0;

  start(): Uint8Array {
    const start = streamStart.encode({ magic: STREAM_MAGIC, version: STREAM_VERSION });
    viewOf(start).setUint32(streamStart.offset.crc, crc32(start, 0, streamStart.offset.crc), true);
    return this.counted(start);
  }

  identity(identity: DeviceIdentity): Uint8Array {
    return this.chunk(CHUNK_IDENTITY, 'identity', 0, encodeIdentity(identity));
  }

  section({ name, version, bytes: content }: MigrationSection): Uint8Array {
    return this.chunk(CHUNK_SECTION, name, version, content);
  }

  end(): Uint8Array {
    return this.chunk(CHUNK_END, 'end', 0, endPayload.encode({ bytes: this.bytesDone, crc: this.crc }));
  }

  private chunk(kind: number, name: string, version: number, payload: Uint8Array): Uint8Array {
    const chunk = new Uint8Array(chunkBytes(payload.length));
    const view = viewOf(chunk);
    chunkHeader.write(view, 0, {
      magic: CHUNK_MAGIC,
      sequence: this.sequence++,
      kind,
      version,
      length: payload.length,
      name,
      payloadCrc: crc32(payload),
    });
    view.setUint32(chunkHeader.offset.headerCrc, crc32(chunk, 0, chunkHeader.offset.headerCrc), true);
    chunk.set(payload, chunkHeader.size);
    return this.counted(chunk);
  }

  private counted(piece: Uint8Array): Uint8Array {
    this.crc = crc32(piece, 0, piece.length, this.crc);
    this.bytesDone += piece.length;
    return piece;
  }
}
