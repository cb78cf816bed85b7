/** One virtual function: its PCI function, MSI-X and error reporting around the pool that does the work. */
import type { DeviceRecord, SaveableDevice } from '../../base/device-record.js';
import { AerReporter, type ErrorRegisters } from '../pci/aer.js';
import type { BarDecoder } from '../pci/function.js';
import { PciFunction } from '../pci/function.js';
import { Msix } from '../pci/msix.js';
import { SectionedState } from '../pci/state.js';
import { VF_MSIX_BAR, VF_REGISTER_BAR, vfLayout, vfMsixWindow } from './functions.js';
import type { Pool } from './pool.js';
import { physicalSections, VF_VERSION, type VfStateHost, vfSections } from './state.js';

export interface VfOptions {
  readonly name: string;
  readonly pool: Pool;
  readonly decoder: BarDecoder;
  /** Error controls of the physical function, which govern this one's. */
  readonly governor: ErrorRegisters;
  /** What the NIC keeps of this VF outside its pool. */
  readonly host: VfStateHost;
  /** Mastering was allowed: queues may go on. */
  masterChanged(): void;
}

export class VirtualFunction implements SaveableDevice {
  readonly name: string;
  readonly version = VF_VERSION;
  readonly fn: PciFunction;
  readonly msix: Msix;
  readonly aer: AerReporter;
  readonly pool: Pool;
  /** What the physical function and its driver keep for it, apart from the rest. */
  readonly physicalPart: SectionedState;
  private readonly host: VfStateHost;
  private readonly state: SectionedState;

  constructor(options: VfOptions) {
    const { name, pool } = options;
    this.name = name;
    this.pool = pool;
    this.host = options.host;
    this.fn = new PciFunction(vfLayout, {
      name,
      bars: [],
      decoder: options.decoder,
      readBar: (bar, offset, size) => this.readBar(bar, offset, size),
      writeBar: (bar, offset, size, value) => this.writeBar(bar, offset, size, value),
      reset: () => {
        this.msix.reset();
        pool.functionReset();
      },
      masterChanged: (mastering) => {
        if (!mastering) return;
        this.msix.releaseAll();
        options.masterChanged();
      },
      hooks: { 'msix.CONTROL': { write: () => this.msix.releaseAll() } },
    });
    this.msix = new Msix(vfMsixWindow, {
      config: this.fn.config,
      capability: vfLayout.cap.msix,
      message: (address, data) => !pool.stopped && this.fn.message(address, data),
      sent: (vector) => pool.interrupts.sent(vector),
    });
    this.aer = new AerReporter(
      { fn: this.fn, aer: vfLayout.cap.aer, pcie: vfLayout.cap.pcie },
      options.governor,
    );
    pool.trigger = (vector) => this.msix.trigger(vector);
    this.physicalPart = new SectionedState(name, VF_VERSION, physicalSections(options.host));
    this.state = new SectionedState(name, VF_VERSION, vfSections(this, options.host));
  }

  /** No DMA and no interrupts from here on, and nothing changes from inside; registers still answer. */
  stop(): void {
    this.pool.quiesced = true;
    this.pool.stopped = true;
    this.pool.interrupts.stop();
  }

  /** No DMA; interrupts, mailbox and time go on. From running, or from stopped. */
  quiesce(): void {
    this.pool.quiesced = true;
    this.leaveStop();
  }

  /** Goes on where `stop` or `quiesce` left it: rings, pending interrupts, throttling, requests to the driver. */
  start(): void {
    this.pool.quiesced = false;
    this.leaveStop();
    this.fn.behaviour.masterChanged?.(this.fn.mastering);
  }

  save(): DeviceRecord {
    return this.state.save();
  }

  restore(record: DeviceRecord): void {
    this.state.restore(record);
  }

  /** What stands in the way of what another host's driver knew, before all of the record is there. */
  judgeDriver(state: Uint8Array): string | undefined {
    return this.host.driver?.judge(this.host.index, state);
  }

  describe(record: DeviceRecord): readonly (readonly [string, string])[] {
    return this.state.describe(record);
  }

  private leaveStop(): void {
    if (!this.pool.stopped) return;
    this.pool.stopped = false;
    this.msix.releaseAll();
    this.pool.interrupts.start();
    this.host.attend();
  }

  private readBar(bar: number, offset: number, size: number): number {
    if (bar === VF_REGISTER_BAR) return this.pool.read(offset, size);
    return bar === VF_MSIX_BAR ? this.msix.window.read(offset, size) : 0xffff_ffff;
  }

  private writeBar(bar: number, offset: number, size: number, value: number): void {
    if (bar === VF_REGISTER_BAR) this.pool.writeByDriver(offset, size, value);
    else if (bar === VF_MSIX_BAR) this.msix.window.write(offset, size, value);
  }
}
