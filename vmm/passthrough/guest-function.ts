/**
 * One virtual function of the host's NIC as the guest has it: in a port of its own, with its own interrupts, and with an
 * account of the frames that left it for nowhere.
 */
import type { Scheduler } from '../../base/clock.js';
import type { RequesterId } from '../../base/dma.js';
import { Announcer } from '../../devices/ethernet/announcer.js';
import { assignVf } from '../../devices/nic82599/assigned.js';
import type { FunctionOffer } from '../../devices/nic82599/offer.js';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import type { VirtualFunction } from '../../devices/nic82599/vf.js';
import type { AssignedFunction } from '../../devices/pci/assigned-function.js';
import type { RootComplex } from '../../devices/pci/topology.js';
import { RootPort, type RootPortObserver } from '../../devices/root-port/device.js';
import { channelText, FunctionChannel } from './channel.js';
import type { DeviceEvent } from './events.js';
import { HostFunction } from './host-function.js';
import { GuestInterrupts } from './interrupts.js';
import type { HostIommu } from './iommu.js';
import { assignedName, rootPortName, type SlotKind } from './records.js';
import { FunctionSlot, slotStateOf } from './slot.js';

/** Ports follow each other from device 1 of bus 0, as QEMU's root ports often do. */
export const FIRST_PORT_DEVFN = 8;
const DEVFN_STEP = 8;

/** Takes a frame of `length` bytes at `bytes[at]`, as `FrameSink` does; false if there is no room for it. */
export type FrameOutlet = (bytes: Uint8Array, at: number, length: number) => boolean;

/** What of a function leaves its thread. */
export interface FunctionPorts {
  readonly scheduler: Scheduler;
  /** The cable. */
  readonly send: FrameOutlet;
  event(event: DeviceEvent): void;
  /** The station address that its frames carry; undefined until it has one. */
  address(): MacAddress | undefined;
}

export class GuestFunction {
  readonly index: number;
  /** What its requests carry. */
  readonly source: RequesterId;
  readonly vf: VirtualFunction;
  readonly assigned: AssignedFunction;
  /** Queue pairs that its driver may use. */
  readonly queues: number;
  readonly port: RootPort;
  readonly slot: FunctionSlot;
  readonly channel: FunctionChannel;
  readonly host: HostFunction;
  readonly #announcer: Announcer;
  readonly #address: () => MacAddress | undefined;
  readonly #out: FrameOutlet;
  #refused = 0;

  /** Puts function number `index` into a new port of `guest`. */
  constructor(
    index: number,
    source: RequesterId,
    vf: VirtualFunction,
    guest: RootComplex,
    iommu: HostIommu,
    { scheduler, send, event, address }: FunctionPorts,
    offer: FunctionOffer,
    slot: SlotKind,
  ) {
    this.index = index;
    this.source = source;
    this.vf = vf;
    this.#out = send;
    this.#address = address;
    const { interruptTable, descriptors } = iommu;
    const router = new GuestInterrupts(interruptTable, source, offer.vectors, descriptors);
    const device = assignedName(index);
    this.assigned = assignVf(device, vf, router, offer);
    this.queues = offer.queues;
    const slotChanged = (): void => event({ kind: 'slot', device, state: slotStateOf(this.port) });
    this.port = addPort(guest, rootPortName(index), index, slot, {
      slotControl: () => {
        this.slot.follow();
        slotChanged();
      },
      linkChanged: slotChanged,
      guestMessage: (sequence, answer, args) =>
        event({ kind: 'guest-message', device, message: { sequence, word: channelText(answer), args } }),
    });
    this.port.populate(this.assigned);
    this.#announcer = new Announcer(scheduler, (bytes, at, length) => this.send(bytes, at, length));
    this.slot = new FunctionSlot(this.port, this.assigned, slotChanged);
    this.channel = new FunctionChannel(this.port);
    this.host = new HostFunction(this, iommu);
  }

  /** Tells the network that its station is here, if it has one. */
  announce(): void {
    const address = this.#address();
    if (address !== undefined) this.#announcer.announce(Uint8Array.from(address));
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

/** A port with a slot, number `index` on bus 0. */
export function addPort(
  complex: RootComplex,
  name: string,
  index: number,
  slot: SlotKind = 'ordinary',
  observer?: RootPortObserver,
): RootPort {
  const quick = slot === 'quick';
  const port = new RootPort(name, { number: index + 1, surprise: true, quick }, observer);
  complex.addPort(FIRST_PORT_DEVFN + index * DEVFN_STEP, port);
  return port;
}
