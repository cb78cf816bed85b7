/** A function of the host's as its guest has it: in a port of its own, with a slot, and with what the host keeps hold of. */
import type { RequesterId } from '../../base/dma.js';
import type { AcpiPciHotplug } from '../../devices/acpi/pci-hotplug.js';
import type { AssignedFunction } from '../../devices/pci/assigned-function.js';
import type { RootComplex } from '../../devices/pci/topology.js';
import { RootPort, type RootPortObserver } from '../../devices/root-port/device.js';
import type { AssignedHardware } from '../../devices/vfio/assigned-hardware.js';
import { AcpiSlot } from './acpi-slot.js';
import { channelText, FunctionChannel } from './channel.js';
import type { DeviceEvent } from './events.js';
import { HostFunction } from './host-function.js';
import type { HostIommu } from './iommu.js';
import type { SlotKind } from './records.js';
import { FunctionSlot, type HostSlot } from './slot.js';

/** Ports follow each other from device 1 of bus 0, as QEMU's root ports often do. */
const FIRST_PORT_DEVFN = 8;
const DEVFN_STEP = 8;
export const portDevfn = (index: number): number => FIRST_PORT_DEVFN + index * DEVFN_STEP;

/** Where a function is put, and what of it leaves its thread. */
export interface FunctionPlace {
  /** Number of its port among all, and the port's name. */
  readonly port: number;
  readonly portName: string;
  readonly slot: SlotKind;
  /** What its requests carry. */
  readonly source: RequesterId;
  readonly guest: RootComplex;
  readonly iommu: HostIommu;
  /** What handles its slot, where that is not the port itself. */
  readonly hotplug: AcpiPciHotplug | undefined;
  event(event: DeviceEvent): void;
}

export class GuestFunction {
  readonly source: RequesterId;
  /** Number of its port among all. */
  readonly portIndex: number;
  readonly assigned: AssignedFunction;
  /** It and the hardware behind it, as a migration has them. */
  readonly migratable: AssignedHardware;
  readonly port: RootPort;
  readonly slot: HostSlot;
  readonly channel: FunctionChannel;
  readonly host: HostFunction;
  readonly #slotChanged: () => void;
  readonly #event: FunctionPlace['event'];

  /** Puts `assigned` into a new port of the guest's root complex. */
  constructor(assigned: AssignedFunction, migratable: AssignedHardware, place: FunctionPlace) {
    const { source, guest, iommu, event } = place;
    this.source = source;
    this.portIndex = place.port;
    this.#event = event;
    this.assigned = assigned;
    this.migratable = migratable;
    const device = assigned.name;
    const slotChanged = (): void => event({ kind: 'slot', device, state: this.slot.state() });
    this.#slotChanged = slotChanged;
    this.port = addPort(guest, place.portName, place.port, place.slot, {
      slotControl: () => {
        this.slot.follow();
        slotChanged();
      },
      linkChanged: slotChanged,
      guestMessage: (sequence, answer, args, answers) => {
        const message = { sequence, word: channelText(answer), args };
        event({ kind: 'guest-message', device, message, answers });
      },
    });
    this.slot =
      place.hotplug === undefined
        ? new FunctionSlot(this.port, assigned, slotChanged)
        : new AcpiSlot(this.port, assigned, place.hotplug, place.port, slotChanged);
    this.port.populate(assigned);
    this.channel = new FunctionChannel(this.port);
    this.host = new HostFunction(this, iommu);
  }

  /** What firmware has heard of the slot. */
  firmwareHeard(what: 'ejected' | 'changed'): void {
    if (!(this.slot instanceof AcpiSlot)) return;
    if (what === 'ejected') this.slot.ejected();
    else this.#slotChanged();
  }

  /** Its state by VFIO's protocol is another now. */
  stateChanged(state: string): void {
    this.#event({ kind: 'vfio-state', device: this.assigned.name, state });
  }

  /** Tells the network that its station is here, if it is one. */
  announce(): void {}

  /** It is about to be isolated, and reset: what its kind is to be read out for is to be read now. */
  aboutToReset(): void {}
}

/** A port with a slot, number `index` on bus 0. */
export function addPort(
  complex: RootComplex,
  name: string,
  index: number,
  slot: SlotKind = 'ordinary',
  observer?: RootPortObserver,
): RootPort {
  const kind = { quick: slot === 'quick', byFirmware: slot === 'acpi' };
  const port = new RootPort(name, { number: index + 1, surprise: true, ...kind }, observer);
  complex.addPort(portDevfn(index), port);
  return port;
}
