/**
 * An assigned device as the machine drives it: running and stopping with the vCPUs, its migration by VFIO's protocol,
 * and the announcement of its new place.
 */
import type { DeviceRecord } from '../../base/device-record.js';
import { formatMac } from '../../devices/ethernet/addresses.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { AssignedVf } from '../../devices/vfio/assigned-vf.js';
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
import type { PassthroughHost } from './host.js';
import type { PassthroughReport } from './report.js';

const CHUNK_BYTES = 64 * 1024;
const NOTHING = new Uint8Array(0);
/** So often that the engine has compiled what runs then. */
const REHEARSALS = 15;

export class PassthroughDevice {
  readonly #host: PassthroughHost;
  readonly #fn: GuestFunction;
  readonly #migration: VfioMigration;
  /** The state came from another host, and the network has not been told. */
  #arrived = false;
  /** It was stopped, with its guest, before the migration stopped it. */
  #stoodStill = false;

  constructor(host: PassthroughHost, fn: GuestFunction) {
    this.#host = host;
    this.#fn = fn;
    this.#migration = new VfioMigration(new AssignedVf(fn.vf, fn.assigned, fn.queues));
  }

  /** To PRE_COPY; what its stream has to give until there is nothing new. Of a guest that stands still: nothing yet. */
  preCopy(): Uint8Array {
    if (this.#migration.state === STOP) return NOTHING;
    this.#migration.setState(PRE_COPY);
    return readAll(this.#migration.session!);
  }

  /** To PRE_COPY_P2P: no DMA from here on. */
  quiesce(): void {
    if (this.#migration.state !== STOP) this.#migration.setState(PRE_COPY_P2P);
  }

  /** To STOP_COPY; the rest of the stream. */
  stopCopy(): Uint8Array {
    this.#stoodStill = this.#migration.state === STOP;
    this.#migration.setState(STOP_COPY);
    return readAll(this.#migration.session!);
  }

  /** Back to what it did before the migration. */
  resume(): void {
    const { state } = this.#migration;
    const stands = state === STOP || (state === STOP_COPY && this.#stoodStill);
    this.#migration.setState(stands ? STOP : RUNNING);
  }

  /** VFIO_DEVICE_RESET: as after power-on and running, also out of ERROR. */
  reset(): void {
    this.#migration.reset();
  }

  /** Takes a piece of the stream, in RESUMING. */
  write(piece: Uint8Array): void {
    this.#migration.setState(RESUMING);
    this.#migration.session!.write(piece);
  }

  /** The stream is whole: judged and taken over, in STOP. */
  load(): void {
    this.#migration.setState(STOP);
    this.#arrived = true;
    if (this.#host.faults.strikes('nic/ring-index-off-by-one') !== undefined) this.#skipDescriptor();
  }

  /** Named by their part in it, because the host may use another of its functions than the other host did. */
  save(): readonly DeviceRecord[] {
    const { vf, assigned } = this.#fn;
    return [{ ...vf.save(), name: `${assigned.name}-function` }, assigned.save()];
  }

  /** Goes once through all of a move, on a device that nobody has used: the first time takes longer than a blackout may. */
  rehearse(): void {
    for (let i = 0; i < REHEARSALS; i++) {
      const ahead = this.preCopy();
      this.quiesce();
      const rest = this.stopCopy();
      this.write(ahead);
      this.write(rest);
      this.#migration.setState(STOP);
      this.#migration.setState(RUNNING);
    }
  }

  /** The vCPUs stop. A device that a migration has quiesced stays as it is, because its stream would be lost. */
  halt(): void {
    if (this.#migration.state === RUNNING) this.#migration.setState(STOP);
  }

  /** The vCPUs run. */
  start(): void {
    this.#migration.setState(RUNNING);
    if (!this.#arrived) return;
    this.#arrived = false;
    this.#host.arrived(this.#fn.index);
    this.#fn.announce();
  }

  report(): PassthroughReport {
    const { iommu, link } = this.#host;
    const { vf, index, source, refusedByCable } = this.#fn;
    const address = this.#host.addressOf(index);
    const { registers } = vf.pool;
    return {
      name: this.#migration.device.name,
      mac: address === undefined ? '' : formatMac(Uint8Array.from(address), 0),
      state: stateName(this.#migration.state),
      link,
      counters: {
        'frames-received': registers.get(reg.GPRC),
        'frames-sent': registers.get(reg.GPTC),
        'multicast-received': registers.get(reg.MPRC),
        'octets-received': registers.get(reg.GORC_LSB) + registers.get(reg.GORC_MSB) * 2 ** 32,
        'octets-sent': registers.get(reg.GOTC_LSB) + registers.get(reg.GOTC_MSB) * 2 ** 32,
      },
      drops: { ...vf.pool.drops, cable: refusedByCable },
      faults: iommu.faultsOf(source),
    };
  }

  /** The defect of the fault site: the receive head one too far, as if a descriptor had been used. */
  #skipDescriptor(): void {
    const { registers } = this.#fn.vf.pool;
    const count = registers.get(reg.RDLEN) / DESCRIPTOR_BYTES;
    if (count > 0) registers.set(reg.RDH, (registers.get(reg.RDH) + 1) % count);
  }
}

const DESCRIPTOR_BYTES = 16;

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
