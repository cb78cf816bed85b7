/** Takes a device state stream apart as it arrives, in pieces of any size. Nothing of it reaches the device here. */
import { crc32 } from '../../base/crc32.js';
import type { FerryError } from '../../base/errors.js';
import { deviceErrors } from '../errors.js';
import {
  CHUNK_END,
  CHUNK_IDENTITY,
  CHUNK_MAGIC,
  CHUNK_SECTION,
  chunkHeader,
  type DeviceIdentity,
  endPayload,
  IDENTITY_ENTRIES_MAX,
  identityDifferences,
  identityEntry,
  type MigrationSection,
  SECTION_BYTES_MAX,
  STREAM_MAGIC,
  STREAM_VERSION,
  streamStart,
  viewOf,
} from './stream.js';

type ChunkHeader = ReturnType<typeof chunkHeader.read>;

export interface StreamReaderOptions {
  /** The device that is to take the state, for messages. */
  readonly device: string;
  readonly identity: DeviceIdentity;
  /** Sections that the device has, in the order in which it wants them, with the version that it reads. */
  readonly sections: readonly Pick<MigrationSection, 'name' | 'version'>[];
  /** See `MigratableDevice.judge`. */
  readonly judge?: (section: MigrationSection) => string | undefined;
}

export class StreamReader {
  private readonly options: StreamReaderOptions;
  private readonly versions: ReadonlyMap<string, number>;
  private readonly contents = new Map<string, Uint8Array>();
  private readonly headerBytes = new Uint8Array(chunkHeader.size);
  /** What is being collected: the start, a chunk's header, or the payload that `header` announced. */
  private part: Uint8Array;
  private filled = 0;
  private header: ChunkHeader | undefined;
  private started = false;
  private ended = false;
  private sequence = 0;
  /** Bytes that have arrived, and of them those that the end accounts for. */
  private bytesArrived = 0;
  private bytesDone = 0;
  private crc = 0;
  private failure: FerryError | undefined;

  constructor(options: StreamReaderOptions) {
    this.options = options;
    this.versions = new Map(options.sections.map(({ name, version }) => [name, version]));
    this.part = new Uint8Array(streamStart.size);
  }

  /** Takes the next bytes; throws a FerryError as soon as what has arrived can't be right, and from then on always. */
  write(bytes: Uint8Array): void {
    if (this.failure !== undefined) throw this.failure;
    try {
      for (let at = 0; at < bytes.length; ) {
        if (this.ended) throw this.damaged('end', 'there are bytes behind it');
        const count = Math.min(this.part.length - this.filled, bytes.length - at);
        this.part.set(bytes.subarray(at, at + count), this.filled);
        this.filled += count;
        this.bytesArrived += count;
        at += count;
        // An empty payload is complete as soon as its header is.
        while (!this.ended && this.filled === this.part.length) this.take();
      }
    } catch (error) {
      this.failure = error as FerryError;
      throw error;
    }
  }

  /** All sections, in the device's order; throws a FerryError unless the stream is complete. */
  finish(): readonly MigrationSection[] {
    if (this.failure !== undefined) throw this.failure;
    if (!this.ended) {
      const where = this.header?.name ?? (this.started ? `chunk ${this.sequence}` : 'start');
      throw this.damaged(where, `the stream ends after ${this.bytesArrived} bytes`);
    }
    return this.options.sections.map(({ name, version }) => {
      const bytes = this.contents.get(name);
      if (bytes === undefined) throw this.damaged(name, 'it is missing');
      return { name, version, bytes };
    });
  }

  private take(): void {
    const { part, header } = this;
    if (!this.started) this.takeStart(part);
    else if (header === undefined) this.takeHeader(part);
    else this.takePayload(header, part);
  }

  private takeStart(part: Uint8Array): void {
    const start = streamStart.read(viewOf(part), 0);
    if (start.magic !== STREAM_MAGIC) throw this.damaged('start', 'this is no device state stream');
    if (start.crc !== crc32(part, 0, streamStart.offset.crc)) throw this.damaged('start', 'wrong checksum');
    if (start.version !== STREAM_VERSION) {
      throw deviceErrors.error('migrationStreamVersion', {
        device: this.options.device,
        version: start.version,
        supported: STREAM_VERSION,
      });
    }
    this.started = true;
    this.count(part);
    this.collect(this.headerBytes);
  }

  private takeHeader(part: Uint8Array): void {
    const header = chunkHeader.read(viewOf(part), 0);
    const here = `chunk ${this.sequence}`;
    if (header.headerCrc !== crc32(part, 0, chunkHeader.offset.headerCrc)) {
      throw this.damaged(here, 'wrong checksum of its header');
    }
    if (header.magic !== CHUNK_MAGIC) throw this.damaged(here, 'it does not start as a chunk');
    if (header.sequence !== this.sequence) {
      throw this.damaged(here, `chunk ${header.sequence} is in its place`);
    }
    if ((header.kind === CHUNK_IDENTITY) !== (this.sequence === 0)) {
      throw this.damaged(here, 'the identity comes first, and once');
    }
    this.judgeLength(header);
    this.header = header;
    if (header.kind !== CHUNK_END) this.count(part);
    this.collect(new Uint8Array(header.length));
  }

  /** Judges what a header announces before there is room made for it. */
  private judgeLength({ kind, name, version, length }: ChunkHeader): void {
    if (kind === CHUNK_IDENTITY) {
      if (length % identityEntry.size !== 0 || length > IDENTITY_ENTRIES_MAX * identityEntry.size) {
        throw this.damaged('identity', `${length} bytes`);
      }
    } else if (kind === CHUNK_END) {
      if (length !== endPayload.size) throw this.damaged('end', `${length} bytes`);
    } else if (kind === CHUNK_SECTION) {
      const supported = this.versions.get(name);
      if (supported === undefined) throw this.damaged(name, 'this device has no such section');
      if (version !== supported) {
        throw deviceErrors.error('recordVersion', {
          device: `${this.options.device} (${name})`,
          version,
          supported,
        });
      }
      if (length > SECTION_BYTES_MAX)
        throw this.damaged(name, `${length} bytes, at most ${SECTION_BYTES_MAX}`);
    } else {
      throw this.damaged(`chunk ${this.sequence}`, `unknown kind ${kind}`);
    }
  }

  private takePayload(header: ChunkHeader, payload: Uint8Array): void {
    if (header.payloadCrc !== crc32(payload)) throw this.damaged(header.name, 'wrong checksum');
    if (header.kind === CHUNK_IDENTITY) this.judgeIdentity(payload);
    else if (header.kind === CHUNK_SECTION) this.takeSection(header, payload);
    else this.judgeEnd(payload);
    if (header.kind === CHUNK_END) return;
    this.count(payload);
    this.sequence++;
    this.header = undefined;
    this.collect(this.headerBytes);
  }

  private takeSection({ name, version }: ChunkHeader, bytes: Uint8Array): void {
    const { device, judge } = this.options;
    const difference = judge?.({ name, version, bytes });
    if (difference !== undefined) {
      throw deviceErrors.error('migrationIncompatible', { device, differences: `${name}: ${difference}` });
    }
    this.contents.set(name, bytes);
  }

  private judgeIdentity(payload: Uint8Array): void {
    const theirs = new Map<string, number>();
    for (let at = 0; at < payload.length; at += identityEntry.size) {
      const { name, value } = identityEntry.read(viewOf(payload), at);
      if (theirs.has(name)) throw this.damaged('identity', `${name} is given twice`);
      theirs.set(name, value);
    }
    const differences = identityDifferences(this.options.identity, theirs);
    if (differences === '') return;
    throw deviceErrors.error('migrationIncompatible', { device: this.options.device, differences });
  }

  private judgeEnd(payload: Uint8Array): void {
    const end = endPayload.read(viewOf(payload), 0);
    if (end.bytes !== this.bytesDone) {
      throw this.damaged('end', `${end.bytes} bytes were sent, ${this.bytesDone} have arrived`);
    }
    if (end.crc !== this.crc) throw this.damaged('end', 'wrong checksum of the whole stream');
    this.ended = true;
  }

  private collect(part: Uint8Array): void {
    this.part = part;
    this.filled = 0;
  }

  private count(part: Uint8Array): void {
    this.crc = crc32(part, 0, part.length, this.crc);
    this.bytesDone += part.length;
  }

  private damaged(section: string, problem: string): FerryError {
    return deviceErrors.error('migrationDamaged', { device: this.options.device, section, problem });
  }
}
