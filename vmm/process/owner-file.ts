/**
 * Who has the guest, on disk (`--owner-file`): what a VMM that was killed in the midst of a migration knew last, for the
 * people who find it dead, and for the VMM that they start in its place, which must not start a second copy of the guest.
 * Written before it is acted on: before *commit* leaves, before a promise is given, before a guest that came runs.
 */
import { closeSync, constants, fdatasyncSync, openSync, readSync, writeSync } from 'node:fs';
import * as v from 'valibot';
import {
  type DestinationState,
  destinationOwnsGuest,
  type SourceState,
  sourceOwnsGuest,
} from '../../migration/states.js';
import { vmmErrors } from '../errors.js';
import { reasonOf } from '../sockets/listening.js';

/** One sector: a disk writes all of it or nothing, and has the room for it from the beginning. */
const ENTRY_BYTES = 512;

/** `unknown`: given to the other side, or promised to it, and not heard of since. */
const GUEST = ['here', 'elsewhere', 'unknown', 'none'] as const;

const entrySchema = v.strictObject({
  guest: v.picklist(GUEST),
  /** The other side of the last migration, and its id; empty before any. */
  otherSide: v.string(),
  migrationId: v.string(),
  since: v.string(),
});

export type OwnerEntry = v.InferOutput<typeof entrySchema>;

/** As the controller's record and its other side have it. */
export type MigrationAt = Pick<OwnerEntry, 'otherSide' | 'migrationId'> &
  (
    | { readonly role: 'source'; readonly state: SourceState }
    | { readonly role: 'destination'; readonly state: DestinationState }
  );

export class OwnerFile {
  readonly #path: string;
  readonly #fd: number;
  readonly #failed: (error: Error) => void;
  #entry: OwnerEntry;
  /** Before the migration that is under way. */
  #before: OwnerEntry;

  /**
   * Opens the file or makes it. `starts`: a guest is about to be started here. Throws `vmm/guest-elsewhere` if another VMM has it
   * or may have it, `vmm/owner-file` for a file that is no owner file or can't be written. `failed` hears of what could not
   * be written later.
   */
  constructor(path: string, starts: boolean, failed: (error: Error) => void) {
    this.#path = path;
    this.#failed = failed;
    try {
      this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    } catch (error) {
      throw vmmErrors.error('owner-file', { path, why: reasonOf(error) }, error);
    }
    try {
      this.#entry = this.#read() ?? entryOf('none');
      this.#before = this.#entry;
      const { guest, otherSide, migrationId, since } = this.#entry;
      const isAway = guest === 'elsewhere' || guest === 'unknown';
      if (starts && isAway)
        throw vmmErrors.error('guest-elsewhere', { path, guest, otherSide, migrationId, since });
      // A guest that was here ended with its VMM.
      if (starts) this.#write(entryOf('here'));
      else if (!isAway) this.#write(entryOf('none'));
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
  }

  /** Call it with each state of a migration, before anybody else learns of it. */
  moved({ role, state, otherSide, migrationId }: MigrationAt): void {
    if (state === 'setup') this.#before = this.#entry;
    const about = { otherSide, migrationId };
    if (role === 'source') {
      if (sourceOwnsGuest(state)) this.#to('here', about);
      else this.#to(state === 'completed' ? 'elsewhere' : 'unknown', about);
    } else if (destinationOwnsGuest(state)) this.#to('here', about);
    else if (state === 'prepared') this.#to('unknown', about);
    // It gave up before it heard the commit, and never will run the guest.
    else if (state === 'failed' && this.#entry.guest === 'unknown')
      this.#to(this.#before.guest, this.#before);
  }

  /** It runs here, also if that was decided by people. */
  runs(): void {
    this.#to('here', this.#entry);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #to(guest: OwnerEntry['guest'], about: Pick<OwnerEntry, 'otherSide' | 'migrationId'>): void {
    if (this.#entry.guest === guest) return;
    try {
      this.#write(entryOf(guest, about));
    } catch (error) {
      this.#failed(error as Error);
    }
  }

  #write(entry: OwnerEntry): void {
    this.#entry = entry;
    const text = JSON.stringify(entry);
    const bytes = Buffer.from(`${text.padEnd(ENTRY_BYTES - 1)}\n`);
    try {
      if (bytes.length !== ENTRY_BYTES) throw new Error(`${text} does not fit`);
      writeSync(this.#fd, bytes, 0, ENTRY_BYTES, 0);
      fdatasyncSync(this.#fd);
    } catch (error) {
      throw vmmErrors.error('owner-file', { path: this.#path, why: reasonOf(error) }, error);
    }
  }

  /** Undefined if the file is new. */
  #read(): OwnerEntry | undefined {
    const bytes = Buffer.alloc(ENTRY_BYTES + 1);
    const length = readSync(this.#fd, bytes, 0, bytes.length, 0);
    if (length === 0) return undefined;
    try {
      return v.parse(entrySchema, JSON.parse(bytes.toString('utf8', 0, length)));
    } catch (error) {
      throw vmmErrors.error('owner-file', { path: this.#path, why: 'no VMM wrote what is in it' }, error);
    }
  }
}

const entryOf = (
  guest: OwnerEntry['guest'],
  { otherSide, migrationId }: Pick<OwnerEntry, 'otherSide' | 'migrationId'> = {
    otherSide: '',
    migrationId: '',
  },
): OwnerEntry => ({
  guest,
  otherSide: otherSide.slice(0, 200),
  migrationId,
  since: new Date().toISOString(),
});
