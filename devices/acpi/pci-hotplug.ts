/**
 * Hot-plug of PCI slots by way of ACPI: the host's requests wait in a register block, an event tells the guest to look, and the
 * guest's write to EJECT takes a device out. No button, no indicator, no delay. Each bus has one slot.
 */
import { ACPI_PCI_HOTPLUG_BASE, ACPI_PCI_HOTPLUG_BYTES } from '../../base/abi/platform.js';
import type { DeviceRecord } from '../../base/device-record.js';
import type { MachineDevice, MmioRegion } from '../../base/mmio.js';
import { describeRegisters } from '../../base/register-dump.js';
import { RegisterFile } from '../../base/registers.js';
import { deviceErrors } from '../errors.js';
import { acpiHotplugRegisters, NOTIFY_DEVICE_CHECK, OST_SUCCESS } from './registers.js';

const { reg } = acpiHotplugRegisters;
type Buses = typeof reg.BUSES_UP;

export const ACPI_HOTPLUG_VERSION = 1;
/** A bit of a register for each. */
export const ACPI_BUSES_MAX = 32;

export interface AcpiHotplugPorts {
  /** Posts `vector` to vCPU `target`. */
  interrupt(target: number, vector: number): void;
  /** The guest ejects the device on that bus. */
  ejected(bus: number): void;
  /** The guest has said what it makes of a slot. */
  changed(bus: number): void;
}

export class AcpiPciHotplug implements MachineDevice {
  readonly name: string;
  readonly version = ACPI_HOTPLUG_VERSION;
  readonly regions: readonly MmioRegion[];
  readonly #registers: RegisterFile<unknown>;
  readonly #ports: AcpiHotplugPorts;
  readonly #buses: number;

  /** For that many buses, each with a device in its slot, which the guest finds when it boots. */
  constructor(name: string, buses: number, ports: AcpiHotplugPorts) {
    this.name = name;
    this.#ports = ports;
    this.#buses = buses;
    this.#registers = new RegisterFile(acpiHotplugRegisters, {
      UP: { read: () => this.#readUp() },
      DOWN: { read: () => this.#selected(reg.BUSES_DOWN) },
      REMOVABLE: { read: () => (this.#bus === undefined ? 0 : 1) },
      EJECT: { write: (slots) => this.#eject(slots) },
      OST_STATUS: { write: (status) => this.#report(status) },
      GPE0_ENABLE: { write: () => this.#interrupt() },
    });
    for (let bus = 0; bus < buses; bus++) this.#set(reg.BUSES_USED, bus, true);
    const handler = {
      read: (offset: number, width: number) => this.#registers.read(offset, width),
      write: (offset: number, width: number, value: number) => this.#registers.write(offset, width, value),
    };
    const region = { base: ACPI_PCI_HOTPLUG_BASE, bytes: ACPI_PCI_HOTPLUG_BYTES, handler };
    this.regions = [{ name, ...region }];
  }

  /** Whether the guest has said that it uses the device on the bus, and has not ejected it since. */
  isUsed(bus: number): boolean {
    return this.#has(reg.BUSES_USED, bus);
  }

  /** Asks the guest to eject the device on the bus. */
  requestEject(bus: number): void {
    this.#set(reg.BUSES_DOWN, bus, true);
    this.#event();
  }

  /** Takes that back. A guest that has read it ejects all the same. */
  withdraw(bus: number): void {
    this.#set(reg.BUSES_DOWN, bus, false);
  }

  /** A device was put in. */
  inserted(bus: number): void {
    this.#set(reg.BUSES_UP, bus, true);
    this.#event();
  }

  /** The device is gone, ejected by the guest or not. */
  removed(bus: number): void {
    for (const of of [reg.BUSES_UP, reg.BUSES_DOWN, reg.BUSES_USED]) this.#set(of, bus, false);
  }

  save(): DeviceRecord {
    return { name: this.name, version: this.version, state: this.#registers.save() };
  }

  restore({ version, state }: DeviceRecord): void {
    if (version !== this.version) {
      throw deviceErrors.error('recordVersion', { device: this.name, version, supported: this.version });
    }
    const difference = this.#registers.restore(state);
    if (difference !== undefined) {
      throw deviceErrors.error('recordRefused', { device: this.name, difference });
    }
  }

  describe({ state }: DeviceRecord): readonly (readonly [string, string])[] {
    return describeRegisters(acpiHotplugRegisters, state);
  }

  /** The one that the windows show; undefined if there is no such bus. */
  get #bus(): number | undefined {
    const bus = this.#registers.get(reg.SELECT);
    return bus < this.#buses ? bus : undefined;
  }

  #has(buses: Buses, bus: number): boolean {
    return ((this.#registers.get(buses) >>> bus) & 1) === 1;
  }

  #set(buses: Buses, bus: number, on: boolean): void {
    const before = this.#registers.get(buses);
    const bit = 1 << bus;
    this.#registers.set(buses, (on ? before | bit : before & ~bit) >>> 0);
  }

  /** As the windows show it: the bus has but slot 0. */
  #selected(buses: Buses): number {
    return this.#bus !== undefined && this.#has(buses, this.#bus) ? 1 : 0;
  }

  #readUp(): number {
    const up = this.#selected(reg.BUSES_UP);
    if (this.#bus !== undefined) this.#set(reg.BUSES_UP, this.#bus, false);
    return up;
  }

  #eject(slots: number): void {
    const bus = this.#bus;
    if (bus === undefined || (slots & 1) === 0) return;
    this.removed(bus);
    this.#ports.ejected(bus);
  }

  #report(status: number): void {
    const bus = this.#bus;
    if (bus === undefined || this.#registers.get(reg.OST_EVENT) !== NOTIFY_DEVICE_CHECK) return;
    this.#set(reg.BUSES_USED, bus, status === OST_SUCCESS);
    this.#ports.changed(bus);
  }

  #event(): void {
    this.#registers.setField(reg.GPE0_STATUS, reg.GPE0_STATUS.fields.PCI_HOTPLUG, 1);
    this.#interrupt();
  }

  /** If the event is there and wanted. */
  #interrupt(): void {
    const { GPE0_STATUS, GPE0_ENABLE, SCI } = reg;
    const status = this.#registers.getField(GPE0_STATUS, GPE0_STATUS.fields.PCI_HOTPLUG);
    const enable = this.#registers.getField(GPE0_ENABLE, GPE0_ENABLE.fields.PCI_HOTPLUG);
    const vector = this.#registers.getField(SCI, SCI.fields.VECTOR);
    if (status + enable < 2 || vector === 0) return;
    this.#ports.interrupt(this.#registers.getField(SCI, SCI.fields.TARGET), vector);
  }
}
