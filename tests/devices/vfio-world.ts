/** A device made up for tests of the VFIO interface, and the far side of a transfer. */
import { deviceErrors } from '../../devices/errors.js';
import type { DeviceSection, MigratableDevice } from '../../devices/vfio/migratable.js';
import type { VfioMigration } from '../../devices/vfio/migration.js';
import type { DataSession } from '../../devices/vfio/session.js';
import type { Activity } from '../../devices/vfio/states.js';
import type { DeviceIdentity, MigrationSection } from '../../devices/vfio/stream.js';

export class ArtificialDevice implements MigratableDevice {
  readonly name = 'artificial0';
  identity: DeviceIdentity = { vendorId: 0x1af4, deviceId: 7, queues: 2 };
  activity: Activity = 'running';
  readonly log: string[] = [];
  /** Contents by section; `counters` changes all the time. */
  readonly contents: Record<string, Uint8Array> = {
    config: Uint8Array.of(1, 2, 3, 4),
    empty: new Uint8Array(0),
    table: new Uint8Array(300).fill(7),
    counters: new Uint8Array(40).fill(9),
  };
  version = 1;
  /** The next call of this name fails. */
  failing: 'setActivity' | 'save' | 'restore' | undefined;

  setActivity(activity: Activity): void {
    this.fail('setActivity');
    if (activity !== this.activity) this.log.push(activity);
    this.activity = activity;
  }

  save(): readonly DeviceSection[] {
    this.fail('save');
    return Object.entries(this.contents).map(([name, bytes]) => ({
      name,
      version: this.version,
      bytes: bytes.slice(),
      early: name !== 'counters',
    }));
  }

  restore(sections: readonly MigrationSection[]): void {
    this.fail('restore');
    if (sections.some(({ name, bytes }) => name === 'config' && bytes[0] === 0xad)) {
      throw deviceErrors.error('recordRefused', { device: this.name, difference: 'config: a bad byte' });
    }
    for (const { name, bytes } of sections) this.contents[name] = bytes.slice();
    this.log.push('restored');
  }

  reset(): void {
    this.log.push('reset');
  }

  private fail(call: NonNullable<ArtificialDevice['failing']>): void {
    if (this.failing !== call) return;
    this.failing = undefined;
    throw deviceErrors.error('recordRefused', { device: this.name, difference: `${call} fails` });
  }
}

/** Reads until the end, temporary or not, `pieceBytes` at a time. */
export function drain(session: DataSession, pieceBytes = 4096): { bytes: Uint8Array; ended: boolean } {
  const pieces: Uint8Array[] = [];
  for (;;) {
    const piece = new Uint8Array(pieceBytes);
    const result = session.read(piece);
    if (typeof result === 'string') return { bytes: joined(pieces), ended: result === 'end' };
    pieces.push(piece.subarray(0, result));
  }
}

export function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

/** Writes `stream` cut into pieces of `pieceBytes`. */
export function feed(session: DataSession, stream: Uint8Array, pieceBytes = stream.length): void {
  for (let at = 0; at < stream.length; at += pieceBytes) session.write(stream.subarray(at, at + pieceBytes));
}

/** The complete state of a device in one piece; it is left in STOP. */
export function wholeState(migration: VfioMigration): Uint8Array {
  migration.setState(1);
  const { bytes } = drain(migration.setState(3)!);
  migration.setState(1);
  return bytes;
}
