/**
 * The data sessions of a migratable device: what VFIO hands out as `data_fd`. A saving session lives from PRE_COPY or
 * STOP_COPY on, a resuming one in RESUMING; each ends when the device leaves its states, and then refuses everything.
 */
import { deviceErrors } from '../errors.js';
import type { DeviceSection, MigratableDevice } from './migratable.js';
import {
  chunkBytes,
  END_BYTES,
  encodeIdentity,
  type MigrationSection,
  StreamWriter,
  streamStart,
} from './stream.js';
import { StreamReader } from './stream-reader.js';

/**
 * Number of bytes read; or `temporary-end`: nothing to read now, but there may be when asked again (ENOMSG); or `end`:
 * the stream is complete.
 */
export type ReadResult = number | 'temporary-end' | 'end';

export interface DataSession {
  /** Fills `target` from its start with the next bytes of the state. Throws a FerryError when nothing is being saved. */
  read(target: Uint8Array): ReadResult;
  /** Takes the next bytes of a state, cut anywhere. Throws a FerryError as soon as they can't be right. */
  write(bytes: Uint8Array): void;
}

export interface PrecopyInfo {
  /** Bytes left of what is sent first: without them, the rest is of little use. */
  readonly initialBytes: number;
  /** Bytes that have changed since they were sent. */
  readonly dirtyBytes: number;
}

const refused = (device: MigratableDevice, request: string, problem: string, ended: boolean) =>
  deviceErrors.error('vfioRefused', {
    device: device.name,
    request,
    problem,
    errno: ended ? 'ENODEV' : 'EINVAL',
  });

export class SavingSession implements DataSession {
  private readonly device: MigratableDevice;
  private readonly writer = new StreamWriter();
  /** Pieces not read yet; of the first one `offset` bytes are gone. */
  private queue: Uint8Array[] = [];
  private offset = 0;
  private unread = 0;
  private initialUnread = 0;
  /** Contents as they were last put into the queue. */
  private readonly sent = new Map<string, Uint8Array>();
  /** The reader has been told of a temporary end, and what changed since may be looked for. */
  private restful = false;
  private finished = false;
  private closed = false;

  /** Starts with what can be sent while the device runs, if `precopy`; else with the complete state. */
  constructor(device: MigratableDevice, precopy: boolean) {
    this.device = device;
    this.put(this.writer.start());
    this.put(this.writer.identity(device.identity));
    if (precopy) this.putChanged(device.save(), true);
    else this.finish();
    this.initialUnread = this.unread;
  }

  read(target: Uint8Array): ReadResult {
    if (this.closed) throw refused(this.device, 'read', 'the session is over', true);
    if (target.length === 0) return 0;
    if (this.unread === 0 && !this.finished && this.restful) {
      this.restful = false;
      this.putChanged(this.device.save(), true);
    }
    if (this.unread === 0) {
      if (this.finished) return 'end';
      this.restful = true;
      return 'temporary-end';
    }
    return this.take(target);
  }

  write(): void {
    throw refused(this.device, 'write', 'the state is being saved', this.closed);
  }

  /** The device is stopped: what has changed since it was sent follows, then the end. */
  finish(): void {
    this.putChanged(this.device.save(), false);
    this.put(this.writer.end());
    this.finished = true;
  }

  close(): void {
    this.closed = true;
    this.queue = [];
    this.unread = 0;
  }

  get precopyInfo(): PrecopyInfo {
    const changed = this.changed(this.device.save(), true);
    return {
      initialBytes: this.initialUnread,
      dirtyBytes: this.unread - this.initialUnread + chunkSum(changed),
    };
  }

  /** Bytes that are still to be read if the device stops now. */
  get stopCopyBytes(): number {
    if (this.finished) return this.unread;
    return this.unread + chunkSum(this.changed(this.device.save(), false)) + END_BYTES;
  }

  private take(target: Uint8Array): number {
    let done = 0;
    while (done < target.length && this.queue.length > 0) {
      const piece = this.queue[0]!;
      const count = Math.min(target.length - done, piece.length - this.offset);
      target.set(piece.subarray(this.offset, this.offset + count), done);
      done += count;
      this.offset += count;
      if (this.offset < piece.length) break;
      this.queue.shift();
      this.offset = 0;
    }
    this.unread -= done;
    this.initialUnread = Math.max(0, this.initialUnread - done);
    return done;
  }

  private changed(sections: readonly DeviceSection[], earlyOnly: boolean): readonly DeviceSection[] {
    return sections.filter(
      ({ name, bytes, early }) => (early || !earlyOnly) && !sameBytes(this.sent.get(name), bytes),
    );
  }

  private putChanged(sections: readonly DeviceSection[], earlyOnly: boolean): void {
    for (const section of this.changed(sections, earlyOnly)) {
      this.sent.set(section.name, section.bytes);
      this.put(this.writer.section(section));
    }
  }

  private put(piece: Uint8Array): void {
    this.queue.push(piece);
    this.unread += piece.length;
  }
}

export class ResumingSession implements DataSession {
  private readonly device: MigratableDevice;
  private readonly reader: StreamReader;
  private closed = false;

  constructor(device: MigratableDevice) {
    this.device = device;
    this.reader = new StreamReader({
      device: device.name,
      identity: device.identity,
      sections: device.save().map(({ name, version }) => ({ name, version })),
      judge: (section) => device.judge?.(section),
    });
  }

  read(): ReadResult {
    throw refused(this.device, 'read', 'the state is being restored', this.closed);
  }

  write(bytes: Uint8Array): void {
    if (this.closed) throw refused(this.device, 'write', 'the session is over', true);
    this.reader.write(bytes);
  }

  /** Everything was written: judges all of it, then the device takes it over, or nothing of it. */
  finish(): void {
    this.device.restore(this.reader.finish());
  }

  close(): void {
    this.closed = true;
  }
}

/** Bytes of the stream that a device would send if it stopped now and nothing had been sent. */
export function wholeStreamBytes(device: MigratableDevice): number {
  const identity = chunkBytes(encodeIdentity(device.identity).length);
  return streamStart.size + identity + chunkSum(device.save()) + END_BYTES;
}

const chunkSum = (sections: readonly MigrationSection[]): number =>
  sections.reduce((sum, { bytes }) => sum + chunkBytes(bytes.length), 0);

function sameBytes(before: Uint8Array | undefined, after: Uint8Array): boolean {
  if (before === undefined || before.length !== after.length) return false;
  for (let i = 0; i < after.length; i++) if (before[i] !== after[i]) return false;
  return true;
}
