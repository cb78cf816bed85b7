/** The slot of an assigned function that ACPI handles, as the host moves it: as `FunctionSlot`, without button and indicators. */
import type { AcpiPciHotplug } from '../../devices/acpi/pci-hotplug.js';
import type { Endpoint } from '../../devices/pci/topology.js';
import type { RootPort } from '../../devices/root-port/device.js';
import type { SlotState } from '../../migration/ports.js';
import type { HostSlot } from './slot.js';

export class AcpiSlot implements HostSlot {
  readonly #port: RootPort;
  readonly #device: Endpoint;
  readonly #hotplug: AcpiPciHotplug;
  readonly #bus: number;
  readonly #changed: () => void;
  /** A guest that ejects the device is to have it back: it may have seen a request that was taken back. */
  #back = false;

  /** `bus`: the number by which ACPI knows the bus behind `port`. */
  constructor(port: RootPort, device: Endpoint, hotplug: AcpiPciHotplug, bus: number, changed: () => void) {
    this.#port = port;
    this.#device = device;
    this.#hotplug = hotplug;
    this.#bus = bus;
    this.#changed = changed;
  }

  /** What a slot with indicators would show: on while the guest uses what is in it, by its own word. */
  state(): SlotState {
    const present = this.#port.occupant !== undefined;
    return {
      present,
      powered: present,
      link: this.#port.endpoint !== undefined,
      powerIndicator: present && this.#hotplug.isUsed(this.#bus) ? 'on' : 'off',
      attentionIndicator: 'off',
    };
  }

  requestEject(): void {
    this.#hotplug.requestEject(this.#bus);
  }

  /** The guest has ejected the device. */
  ejected(): void {
    this.remove();
    if (this.#back) this.insert();
    this.#back = false;
  }

  /** What the guest ejects is out. */
  takeOutWhenOff(): void {
    this.#back = false;
  }

  keep(): boolean {
    const out = this.#port.occupant === undefined;
    this.#hotplug.withdraw(this.#bus);
    this.#back = !out;
    this.insert();
    return out;
  }

  remove(): void {
    if (this.#port.eject() === undefined) return;
    this.#hotplug.removed(this.#bus);
    this.#changed();
  }

  insert(): void {
    if (this.#port.occupant !== undefined) return;
    this.#port.plug(this.#device, 'link');
    this.#hotplug.inserted(this.#bus);
    this.#changed();
  }

  /** Slot Control means nothing here. */
  follow(): void {}
}
