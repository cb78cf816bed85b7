/**
 * One virtual function of the host's NIC as the guest has it: with its own interrupts, and with an account of the frames that
 * left it for nowhere.
 */
import type { Scheduler } from '../../base/clock.js';
import { type AnnounceRhythm, Announcer } from '../../devices/ethernet/announcer.js';
import { assignVf } from '../../devices/nic82599/assigned.js';
import type { FunctionOffer } from '../../devices/nic82599/offer.js';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import type { VirtualFunction } from '../../devices/nic82599/vf.js';
import { AssignedVf } from '../../devices/vfio/assigned-vf.js';
import { PRE_COPY, RUNNING, stateName } from '../../devices/vfio/states.js';
import { type FunctionPlace, GuestFunction } from './guest-function.js';
import { GuestInterrupts } from './interrupts.js';
import { assignedName } from './records.js';
import { FunctionReplay } from './replay.js';

/** Takes a frame of `length` bytes at `bytes[at]`, as `FrameSink` does; false if there is no room for it. */
export type FrameOutlet = (bytes: Uint8Array, at: number, length: number) => boolean;

export interface StationPorts {
  readonly scheduler: Scheduler;
  /** The cable. */
  readonly send: FrameOutlet;
  /** The station address that its frames carry; undefined until it has one. */
  address(): MacAddress | undefined;
  /** It goes on here with what it was elsewhere: its physical function's driver tells it of what differs. */
  arrived(): void;
  /** Asked before each step between states of VFIO: what the hardware fails with, by a fault on purpose. */
  failure(): Error | undefined;
}

/** VFIO's states in which a device does all that it can. */
const AT_WORK: ReadonlySet<string> = new Set([RUNNING, PRE_COPY].map(stateName));

export class GuestVf extends GuestFunction {
  readonly index: number;
  readonly vf: VirtualFunction;
  readonly replay: FunctionReplay;
  readonly #announcer: Announcer;
  readonly #address: () => MacAddress | undefined;
  readonly #out: FrameOutlet;
  #refused = 0;

  /** Function number `index`, as far as it is offered. */
  constructor(
    index: number,
    vf: VirtualFunction,
    offer: FunctionOffer,
    { scheduler, send, address, arrived, failure }: StationPorts,
    place: FunctionPlace,
  ) {
    const assigned = assignVf(
      assignedName(index),
      vf,
      new GuestInterrupts(place.iommu, place.source, offer.vectors),
      offer,
    );
    super(assigned, new AssignedVf(vf, assigned, offer.queues, failure), place);
    this.index = index;
    this.vf = vf;
    this.replay = new FunctionReplay(vf, assigned, arrived);
    this.#out = send;
    this.#address = address;
    this.#announcer = new Announcer(scheduler, (bytes, at, length) => this.send(bytes, at, length));
  }

  /** At its own rhythm, or at another. Not while it stands still, or may be elsewhere. */
  override announce(rhythm?: AnnounceRhythm): void {
    const address = this.#address();
    if (address !== undefined) this.#announcer.announce(Uint8Array.from(address), rhythm);
  }

  /** Where it does not run the network is told nothing: its guest may be at another place already. */
  override stateChanged(state: string): void {
    if (!AT_WORK.has(state)) this.#announcer.stop();
    super.stateChanged(state);
  }

  override aboutToReset(): void {
    this.#announcer.stop();
    this.replay.remember();
  }

  /** Sends a frame, or counts it. */
  send(bytes: Uint8Array, at: number, length: number): void {
    if (!this.#out(bytes, at, length)) this.#refused++;
  }

  /** Frames that the cable had no room for. */
  get refusedByCable(): number {
    return this.#refused;
  }
}
