/** A unit with its driver, in one thread: what the host interface is tested on. */
import { requesterOf } from '../../base/dma.js';
import { hpa, iova } from '../../base/units.js';
import { TranslatedBus } from '../../iommu/dma.js';
import { VtdDriver } from '../../iommu/host/driver.js';
import { TablePages } from '../../iommu/host/table-pages.js';
import type { UnitPort } from '../../iommu/host/unit-port.js';
import { HostMemory, HostRegion } from '../../iommu/host-memory.js';
import type { VtdOptions } from '../../iommu/registers.js';
import { VtdUnit } from '../../iommu/unit.js';

export const TABLES_BASE = 0x10_0000;
export const RAM_BASE = 0x1_0000_0000;
export const DEVICE = requesterOf(0x0310);

export class HostWorld {
  readonly tables: HostRegion;
  readonly ram: HostRegion;
  readonly unit: VtdUnit;
  readonly driver: VtdDriver;
  readonly bus: TranslatedBus;
  readonly interrupts: (readonly (number | string | boolean)[])[] = [];
  /** Called after every register write of the driver: what a device might do in between. */
  betweenWrites = (): void => {};

  constructor(
    options: VtdOptions & { tableBytes?: number; ramBytes?: number; writesInFlight?: number } = {},
  ) {
    const { tableBytes = 4 << 20, ramBytes = 16 << 20, writesInFlight = 0, ...features } = options;
    this.tables = new HostRegion(hpa(TABLES_BASE), new SharedArrayBuffer(tableBytes));
    this.ram = new HostRegion(hpa(RAM_BASE), new SharedArrayBuffer(ramBytes));
    const memory = new HostMemory([this.tables, this.ram]);
    const { interrupts } = this;
    const sink = {
      message: (low: number, high: number, data: number) => interrupts.push(['message', low, high, data]),
      remapped: (...args: (number | boolean)[]) => interrupts.push(['remapped', ...args]),
      notify: (...args: number[]) => interrupts.push(['notify', ...args]),
    };
    this.unit = new VtdUnit('iommu0', { memory, interrupts: sink }, features);
    const port: UnitPort = {
      read: (offset, size) => this.unit.read(offset, size),
      write: (offset, size, value) => {
        this.unit.write(offset, size, value);
        this.betweenWrites();
      },
    };
    this.driver = new VtdDriver(port, new TablePages(this.tables));
    this.bus = new TranslatedBus(this.unit, memory, writesInFlight);
  }

  /** A device write of one byte. */
  poke(address: number, value = 1, source = DEVICE): void {
    this.bus.write(source, iova(address), new Uint8Array([value]), 0, 1);
  }

  /** A device read of one byte, or undefined if it was blocked. */
  peek(address: number, source = DEVICE): number | undefined {
    const byte = new Uint8Array(1);
    return this.bus.read(source, iova(address), byte, 0, 1) ? byte[0] : undefined;
  }
}
