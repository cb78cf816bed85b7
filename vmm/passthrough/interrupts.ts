/**
 * Where interrupts of assigned hardware go. A message of the virtual function is remapped by its requester id and posted
 * to the vCPU that the guest named, without the host's help; one of the physical function or of VT-d itself is the
 * host's own.
 */
import { iovaOf, type RequesterId } from '../../base/dma.js';
import type { GuestMessage, MessageRouter } from '../../devices/pci/assigned-backend.js';
import type { InterruptTable, InterruptTarget } from '../../iommu/host/interrupt-table.js';
import type { InterruptSink } from '../../iommu/interrupt-sink.js';

/** The interrupt range, and where a message names its destination (Intel SDM vol. 3, 11.11.1). */
const INTERRUPT_RANGE = 0xfee;
const RANGE_SHIFT = 20;
const DESTINATION_SHIFT = 12;

/** The host's own processor, beside those of the guest. */
const HOST_APIC = 0xff;
export const PHYSICAL_FUNCTION_VECTOR = 0x40;
export const VTD_FAULT_VECTOR = 0x41;

export const isInterrupt = (address: number): boolean =>
  Math.floor(address / 2 ** RANGE_SHIFT) === INTERRUPT_RANGE;
export const destinationOf = (address: number): number => (address >>> DESTINATION_SHIFT) & 0xff;

/** The address that a message to the host's processor is written to. */
export const HOST_MESSAGE_ADDRESS = INTERRUPT_RANGE * 2 ** RANGE_SHIFT + HOST_APIC * 2 ** DESTINATION_SHIFT;

export interface InterruptPorts {
  /** The vCPU's posted-interrupt descriptor holds a request that it has not been told of. */
  kick(vcpu: number): void;
  /** An interrupt of the host itself. */
  host(vector: number): void;
}

/** What VT-d hands on. */
export function interruptSink({ kick, host }: InterruptPorts): InterruptSink {
  return {
    // Interrupt remapping is on, so what comes as a plain message is an event of the unit.
    message: (_low, _high, data) => host(data & 0xff),
    remapped: (_destination, vector) => host(vector),
    notify: (destination) => kick(destination),
  };
}

/** The physical function's message: an entry of the remapping table, whose interrupt is the host's. */
export function hostMessage(table: InterruptTable, source: RequesterId): GuestMessage {
  const index = table.allocate(source, {
    kind: 'remapped',
    destination: HOST_APIC,
    vector: PHYSICAL_FUNCTION_VECTOR,
  });
  return messageOf(table, index);
}

/** What it needs of the host's IOMMU. */
interface RemappingUnit {
  readonly interruptTable: InterruptTable;
  /** Host address of each vCPU's posted-interrupt descriptor. */
  readonly descriptors: readonly number[];
}

/**
 * Routes the vectors of one assigned function. Each has an entry of its own from the start, in their order, so that the
 * function's own table says the same on every host, whatever the guest set up first.
 */
export class GuestInterrupts implements MessageRouter {
  readonly #table: InterruptTable;
  readonly #source: RequesterId;
  readonly #descriptors: readonly number[];
  /** By vector: the entry, and what it was last asked to do. */
  readonly #routes: { readonly index: number; address: number; data: number }[];

  /** Of the function whose requests carry `source`. */
  constructor({ interruptTable, descriptors }: RemappingUnit, source: RequesterId, vectors: number) {
    this.#table = interruptTable;
    this.#source = source;
    this.#descriptors = descriptors;
    this.#routes = Array.from({ length: vectors }, () => ({
      index: interruptTable.reserve(),
      address: -1,
      data: 0,
    }));
  }

  route(vector: number, message: GuestMessage | undefined): GuestMessage | undefined {
    if (message === undefined) return undefined;
    const { address, data } = message;
    // A write elsewhere is the guest's own affair: it goes through the virtual function's translation.
    if (!isInterrupt(address)) return message;
    const descriptor = this.#descriptors[destinationOf(address)];
    if (descriptor === undefined) return undefined;
    const route = this.#routes[vector]!;
    if (route.address !== address || route.data !== data) {
      const target: InterruptTarget = { kind: 'posted', descriptor, vector: data & 0xff };
      this.#table.retarget(route.index, this.#source, target);
      route.address = address;
      route.data = data;
    }
    return messageOf(this.#table, route.index);
  }
}

function messageOf(table: InterruptTable, index: number): GuestMessage {
  const { address, data } = table.message(index);
  return { address: iovaOf(address, 0), data };
}
