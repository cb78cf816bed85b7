/** An assigned device as the machine drives it: running and stopping with the vCPUs, and its migration by VFIO's protocol. */
import type { DeviceRecord } from '../../base/device-record.js';
import { VfioMigration } from '../../devices/vfio/migration.js';
import type { DataSession } from '../../devices/vfio/session.js';
import {
  PRE_COPY,
  PRE_COPY_P2P,
  RESUMING,
  RUNNING,
  STOP,
  STOP_COPY,
  stateName,
} from '../../devices/vfio/states.js';
import type { GuestFunction } from './guest-function.js';

const CHUNK_BYTES = 64 * 1024;
const NOTHING = new Uint8Array(0);
/** So often that the engine has compiled what runs then. */
const REHEARSALS = 15;

export class PassthroughDevice {
  readonly #fn: GuestFunction;
  readonly #migration: VfioMigration;
  /** The state came from another host, and has not run here. */
  #arrived = false;
  /** It was stopped, with its guest, before the migration stopped it. */
  #stoodStill = false;
  #rehearsing = false;

  constructor(fn: GuestFunction) {
    this.#fn = fn;
    this.#migration = new VfioMigration(fn.migratable);
  }

  /** VFIO's device state, by name. */
  get state(): string {
    return stateName(this.#migration.state);
  }

  /** To PRE_COPY; what its stream has to give until there is nothing new. Of a guest that stands still: nothing yet. */
  preCopy(): Uint8Array {
    if (this.#migration.state === STOP) return NOTHING;
    this.#to(PRE_COPY);
    return readAll(this.#migration.session!);
  }

  /** To PRE_COPY_P2P: no DMA from here on. */
  quiesce(): void {
    if (this.#migration.state !== STOP) this.#to(PRE_COPY_P2P);
  }

  /** To STOP_COPY; the rest of the stream. */
  stopCopy(): Uint8Array {
    this.#stoodStill = this.#migration.state === STOP;
    this.#to(STOP_COPY);
    return readAll(this.#migration.session!);
  }

  /** Back to what it did before the migration. */
  resume(): void {
    const { state } = this.#migration;
    const stands = state === STOP || (state === STOP_COPY && this.#stoodStill);
    this.#to(stands ? STOP : RUNNING);
  }

  /**
   * VFIO_DEVICE_RESET: as after power-on and running, also out of ERROR. What the guest had set up in configuration space and
   * interrupt table stays, as VFIO saves it before a reset and puts it back after it: it answers at its place.
   */
  reset(): void {
    const { assigned } = this.#fn;
    const configuration = assigned.save();
    this.#migration.reset();
    assigned.restore(configuration);
    this.#tell();
  }

  /** Takes a piece of the stream, in RESUMING. */
  write(piece: Uint8Array): void {
    this.#to(RESUMING);
    this.#migration.session!.write(piece);
  }

  /** The stream is whole: judged and taken over, in STOP. */
  load(): void {
    this.#to(STOP);
    this.#arrived = true;
  }

  save(): readonly DeviceRecord[] {
    return this.#fn.migratable.records();
  }

  /** Goes once through all of a move, on a device that nobody has used: the first time takes longer than a blackout may. */
  rehearse(): void {
    this.#rehearsing = true;
    for (let i = 0; i < REHEARSALS; i++) {
      const ahead = this.preCopy();
      this.quiesce();
      const rest = this.stopCopy();
      this.write(ahead);
      this.write(rest);
      this.load();
      this.save();
      this.start();
    }
    this.#rehearsing = false;
  }

  /** The vCPUs stop. A device that a migration has quiesced stays as it is, because its stream would be lost. */
  halt(): void {
    if (this.#migration.state === RUNNING) this.#to(STOP);
  }

  /** The vCPUs run. */
  start(): void {
    // A migration reads its stream while it runs: another state would end that, and the next piece would begin a new one.
    if (this.#migration.state !== PRE_COPY) this.#to(RUNNING);
    if (!this.#arrived) return;
    this.#arrived = false;
    this.arrived();
  }

  /** It goes on here with the state of another host's. */
  protected arrived(): void {
    this.#fn.announce();
  }

  /** Throws what the step failed with; the state is told of in either case. */
  #to(state: number): void {
    if (this.#migration.state === state) return;
    try {
      this.#migration.setState(state);
    } finally {
      this.#tell();
    }
  }

  #tell(): void {
    if (!this.#rehearsing) this.#fn.stateChanged(this.state);
  }
}

/** Everything up to the stream's end, or to what there is for now. */
function readAll(session: DataSession): Uint8Array {
  const pieces: Uint8Array[] = [];
  let total = 0;
  for (;;) {
    const piece = new Uint8Array(CHUNK_BYTES);
    const count = session.read(piece);
    if (typeof count !== 'number') break;
    pieces.push(piece.subarray(0, count));
    total += count;
  }
  const whole = new Uint8Array(total);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
