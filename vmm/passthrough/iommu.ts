/**
 * The host's VT-d unit with its driver: its tables in memory of their own, guest RAM mapped for the assigned functions
 * one to one, in one domain, and the dirty tracking of what they write there.
 */
import { AtomicBitmap } from '../../base/bitmap.js';
import { type RequesterId, requesterOf } from '../../base/dma.js';
import type { FaultPlan } from '../../base/fault.js';
import { hpa, MIB, PAGE_BYTES } from '../../base/units.js';
import { TranslatedBus } from '../../iommu/dma.js';
import { type FaultReport, VtdDriver } from '../../iommu/host/driver.js';
import { Hwpt } from '../../iommu/host/hwpt.js';
import { InterruptTable } from '../../iommu/host/interrupt-table.js';
import { Ioas } from '../../iommu/host/ioas.js';
import { TablePages } from '../../iommu/host/table-pages.js';
import { HostMemory, HostRegion } from '../../iommu/host-memory.js';
import type { InterruptSink } from '../../iommu/interrupt-sink.js';
import { VtdUnit } from '../../iommu/unit.js';
import type { DmaTracking } from '../../migration/ports.js';
import { simdLeafScanner } from '../kernels/leaf-scanner.js';
import type { GuestRam } from '../ram/guest-ram.js';
import { descriptorOffset } from '../threads/control-block.js';
import { HOST_MESSAGE_ADDRESS, VTD_FAULT_VECTOR } from './interrupts.js';
import type { IommuLeaves, IommuStage } from './records.js';

/** The host's physical address map, as VT-d sees it. */
const TABLES_BASE = 0x10_0000;
const CONTROL_BASE = 0x4000_0000;
const RAM_BASE = 0x1_0000_0000;

const WASM_PAGE_BYTES = 64 * 1024;
/** Page tables apart: root, context, PASID and interrupt tables, the queue, upper levels. */
const OTHER_TABLE_BYTES = 2 * MIB;
/** Guest memory that one page of leaf entries maps. */
const LEAF_TABLE_SPAN = 2 * MIB;
/** Faults of a device that are remembered; a guest can cause any number. */
const FAULTS_KEPT = 16;

/** Of one device. */
export interface IommuFaults {
  /** All that were read from the unit's records, which overflow when more come than the host reads. */
  readonly count: number;
  /** The last ones, oldest first. */
  readonly last: readonly FaultReport[];
}

export interface HostIommuOptions {
  readonly ram: GuestRam;
  /** The vCPUs' control blocks, which hold their posted-interrupt descriptors. */
  readonly control: SharedArrayBuffer;
  readonly vcpus: number;
  readonly interrupts: InterruptSink;
  readonly faults: FaultPlan;
  readonly leaves: IommuLeaves;
  readonly stage: IommuStage;
  /** Posted writes that may be on their way at any time; see `TranslatedBus`. */
  readonly writesInFlight: number;
}

export class HostIommu {
  readonly unit: VtdUnit;
  readonly bus: TranslatedBus;
  readonly interruptTable: InterruptTable;
  /** Host address of each vCPU's posted-interrupt descriptor. */
  readonly descriptors: readonly number[];
  readonly #driver: VtdDriver;
  readonly #hwpt: Hwpt;
  readonly #ram: GuestRam;
  /** What the unit has reported; nobody else's, unlike RAM's log. */
  readonly #dirtied: AtomicBitmap;
  #tracking: DmaTracking | undefined;
  /** By requester. */
  readonly #faults = new Map<RequesterId, { count: number; readonly last: FaultReport[] }>();

  constructor(options: HostIommuOptions) {
    const { ram, control, vcpus, interrupts, faults, leaves, stage, writesInFlight } = options;
    this.#ram = ram;
    this.#dirtied = new AtomicBitmap(ram.deviceLog.length);
    const tables = tableMemory(ram.u8.length);
    const region = new HostRegion(hpa(TABLES_BASE), tables.buffer as SharedArrayBuffer);
    const memory = new HostMemory([
      region,
      new HostRegion(hpa(CONTROL_BASE), control),
      new HostRegion(hpa(RAM_BASE), ram.u8.buffer),
    ]);
    this.descriptors = Array.from({ length: vcpus }, (_, i) => CONTROL_BASE + descriptorOffset(i));
    this.unit = new VtdUnit('iommu0', { memory, interrupts });
    this.bus = new TranslatedBus(this.unit, memory, writesInFlight);
    const { unit } = this;
    const port = {
      read: (offset: number, size: 4) => unit.read(offset, size),
      write: (offset: number, size: 4, value: number) => unit.write(offset, size, value),
    };
    // The scanner's masks have the first page.
    this.#driver = new VtdDriver(port, new TablePages(region, PAGE_BYTES, simdLeafScanner(tables, 0)));
    this.#driver.enableFaultEvent(HOST_MESSAGE_ADDRESS, VTD_FAULT_VECTOR);
    this.interruptTable = new InterruptTable(this.#driver);
    const ioas = new Ioas(this.#driver, { hugePages: leaves !== 'small' });
    this.#hwpt = new Hwpt(this.#driver, ioas, {
      dirtyTracking: true,
      stage,
      demote: leaves === 'demote',
      faults,
    });
    // The reserved range above is not the guest's to use, and no device reaches it.
    ioas.map(0, RAM_BASE, this.mappedBytes, { read: true, write: true });
  }

  /** What assigned functions reach, from address 0 on. */
  get mappedBytes(): number {
    return this.#ram.deviceLog.length * PAGE_BYTES;
  }

  /** Gives requests of `source` the guest's memory. */
  attach(source: RequesterId): void {
    this.#hwpt.attach(source);
  }

  /** From here on requests of `source` are blocked, and recorded. */
  detach(source: RequesterId): void {
    this.#hwpt.detach(source);
  }

  /** Starts or (with `undefined`) ends the tracking of device writes. */
  track(how: DmaTracking | undefined): void {
    this.#tracking = how;
    this.#hwpt.setDirtyTracking(how === 'dirty-bits');
  }

  /** Marks what was written since the last call in RAM's log of device writes. Its writes are visible then. */
  readDirty(): void {
    const log = this.#ram.deviceLog;
    if (this.#tracking === 'dirty-bits') {
      this.#hwpt.readDirty({ iova: 0, bytes: this.mappedBytes }, this.#dirtied);
      this.#dirtied.drainInto(log);
    } else if (this.#tracking === 'mapped-pages') {
      this.#hwpt.drain();
      log.setRange(0, log.length);
    }
  }

  /** The unit has recorded faults: the host takes note of them, so that there is room for more. */
  takeFaults(): void {
    for (const fault of this.#driver.takeFaults()) {
      const source = requesterOf(fault.source);
      const faults = this.#faults.get(source) ?? { count: 0, last: [] };
      this.#faults.set(source, faults);
      faults.count++;
      if (faults.last.length === FAULTS_KEPT) faults.last.shift();
      faults.last.push(fault);
    }
  }

  faultsOf(source: RequesterId): IommuFaults {
    const { count, last } = this.#faults.get(source) ?? { count: 0, last: [] };
    return { count, last: [...last] };
  }
}

function tableMemory(ramBytes: number): WebAssembly.Memory {
  const bytes = OTHER_TABLE_BYTES + Math.ceil(ramBytes / LEAF_TABLE_SPAN) * PAGE_BYTES;
  const pages = Math.ceil(bytes / WASM_PAGE_BYTES);
  return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
}
