/**
 * A physical function as a guest sees it: configuration space that a virtual machine monitor presents in place of the
 * real one, as VFIO's users do. Ids are filled in, BARs and Memory Space Enable exist although the VF's don't (9.3.4.1),
 * the MSI-X table is the guest's while the device's own is the host's. Registers of other BARs go straight through.
 */
import type { DeviceRecord, SaveableDevice } from '../../base/device-record.js';
import { iovaOf } from '../../base/dma.js';
import { RegisterFile, type RegisterTable } from '../../base/registers.js';
import type { Iova } from '../../base/units.js';
import { AerReporter } from './aer.js';
import { at, configLayout } from './capability.js';
import { aerCapability } from './extended-capabilities.js';
import { PciFunction, type ResetKind, type Upstream } from './function.js';
import { type MsixWindow, msixWindow } from './msix.js';
import { type PcieOptions, pcieCapability } from './pcie-capability.js';
import { type BarSpec, type Identity, type MsixPlace, msixCapability, type0Header } from './registers.js';
import { registerSection, SectionedState } from './state.js';
import type { Endpoint } from './topology.js';

/** The physical function behind it, as the host interface offers it. */
export interface AssignedBackend {
  /** Reads 1, 2 or 4 bytes of a BAR other than the one with the MSI-X table. */
  readBar(bar: number, offset: number, size: number): number;
  writeBar(bar: number, offset: number, size: number, value: number): void;
  setBusMaster(on: boolean): void;
  /**
   * Where the device's vector goes: the guest's message, or `undefined` for nowhere. A message in the interrupt range
   * is the guest's interrupt; one outside it is a memory write that only the guest is to suffer from.
   */
  setVector(vector: number, message: GuestMessage | undefined): void;
  /** Holds the vector's messages back; they become pending in the device. */
  maskVector(vector: number, masked: boolean): void;
  isPending(vector: number): boolean;
  /** Function-level reset. */
  reset(): void;
}

export interface GuestMessage {
  readonly address: Iova;
  readonly data: number;
}

export interface AssignedOptions {
  readonly name: string;
  readonly identity: Identity;
  readonly bars: readonly BarSpec[];
  readonly msix: MsixPlace;
  readonly link: Pick<PcieOptions, 'speed' | 'width'>;
  readonly backend: AssignedBackend;
}

export const ASSIGNED_VERSION = 1;

const assignedLayout = ({ name, identity, bars, msix, link }: AssignedOptions) =>
  configLayout(`${name}-config`, type0Header(identity, bars), {
    msix: at(0x70, msixCapability(msix)),
    pcie: at(0xa0, pcieCapability({ kind: 'endpoint', ...link })),
    aer: at(0x100, aerCapability('endpoint')),
  });

type WindowSpecs = MsixWindow extends RegisterTable<infer T> ? T : never;

export class AssignedFunction implements Endpoint, SaveableDevice {
  readonly name: string;
  readonly version = ASSIGNED_VERSION;
  readonly fn: PciFunction;
  /** Reports errors to the guest; for the hypervisor to use. */
  readonly aer: AerReporter;
  private readonly layout: ReturnType<typeof assignedLayout>;
  private readonly window: RegisterFile<WindowSpecs>;
  private readonly windowTable: MsixWindow;
  private readonly options: AssignedOptions;
  private readonly state: SectionedState;
  private gateIsOpen = true;

  constructor(options: AssignedOptions) {
    this.name = options.name;
    this.options = options;
    const layout = assignedLayout(options);
    this.layout = layout;
    const bar = options.bars.find(({ index }) => index === options.msix.bar)!;
    this.windowTable = msixWindow(`${options.name}-msix`, bar.bytes, options.msix);
    this.window = new RegisterFile(this.windowTable, {
      PENDING: { read: (_stored, word) => this.pendingWord(word) },
      CONTROL: { write: (_written, _before, vector) => this.routeVector(vector) },
      // An entry that is changed while unmasked takes effect as a whole when its data is written.
      DATA: { write: (_written, _before, vector) => this.routeVector(vector) },
    });
    this.fn = new PciFunction(layout, {
      name: options.name,
      bars: options.bars,
      readBar: (index, offset, size) => this.readBar(index, offset, size),
      writeBar: (index, offset, size, value) => this.writeBar(index, offset, size, value),
      reset: (kind) => this.resetBackend(kind),
      // With the ports above taken into account: the device itself sits behind the host's.
      masterChanged: (mastering) => options.backend.setBusMaster(mastering && this.gateIsOpen),
      hooks: {
        'msix.CONTROL': { write: () => this.routeAll() },
      },
    });
    this.aer = new AerReporter({ fn: this.fn, aer: layout.cap.aer, pcie: layout.cap.pcie });
    this.state = new SectionedState(options.name, ASSIGNED_VERSION, [
      registerSection('config', this.fn.config),
      registerSection('msix', this.window),
    ]);
  }

  /** As its guest sees it. */
  get identity(): Identity {
    return this.options.identity;
  }

  /** MSI-X vectors that its guest sees. */
  get vectors(): number {
    return this.options.msix.vectors;
  }

  functions(): readonly PciFunction[] {
    return [this.fn];
  }

  functionAt(relativeId: number): PciFunction | undefined {
    return relativeId === 0 ? this.fn : undefined;
  }

  attach(upstream: Upstream | undefined): void {
    this.fn.attach(upstream);
    this.fn.refresh();
  }

  /** Hot reset or loss of power: nothing of the guest's settings stays. */
  reset(): void {
    this.fn.reset('conventional');
  }

  /** Host: while it is closed the function masters no bus, whatever the guest's registers say; those stay as they are. */
  setGate(open: boolean): void {
    this.gateIsOpen = open;
    this.options.backend.setBusMaster(open && this.fn.mastering);
  }

  save(): DeviceRecord {
    return this.state.save();
  }

  /** Takes over what the guest had set, and wires the device's vectors as it asks. */
  restore(record: DeviceRecord): void {
    this.state.restore(record);
    this.fn.refresh();
    this.routeAll();
  }

  describe(record: DeviceRecord): readonly (readonly [string, string])[] {
    return this.state.describe(record);
  }

  private readBar(bar: number, offset: number, size: number): number {
    if (bar === this.options.msix.bar) return this.window.read(offset, size);
    return this.options.backend.readBar(bar, offset, size);
  }

  private writeBar(bar: number, offset: number, size: number, value: number): void {
    if (bar === this.options.msix.bar) this.window.write(offset, size, value);
    else this.options.backend.writeBar(bar, offset, size, value);
  }

  private routeAll(): void {
    for (let vector = 0; vector < this.options.msix.vectors; vector++) this.routeVector(vector);
  }

  /** Wires a vector to what its entry says. It stays wired while masked, so that messages become pending. */
  private routeVector(vector: number): void {
    const { window, options, fn } = this;
    const { CONTROL } = this.layout.cap.msix;
    const table = this.windowTable.reg;
    const enabled = fn.config.getField(CONTROL, CONTROL.fields.ENABLE) === 1;
    const masked =
      fn.config.getField(CONTROL, CONTROL.fields.FUNCTION_MASK) === 1 ||
      window.getField(table.CONTROL, table.CONTROL.fields.MASK, vector) === 1;
    const address = iovaOf(window.get(table.ADDRESS, vector), window.get(table.ADDRESS_UPPER, vector));
    options.backend.setVector(
      vector,
      enabled ? { address, data: window.get(table.DATA, vector) } : undefined,
    );
    options.backend.maskVector(vector, masked);
  }

  private pendingWord(word: number): number {
    const { vectors } = this.options.msix;
    let bits = 0;
    for (let vector = word * 32; vector < Math.min(vectors, word * 32 + 32); vector++) {
      if (this.options.backend.isPending(vector)) bits |= 1 << (vector & 31);
    }
    return bits >>> 0;
  }

  private resetBackend(_kind: ResetKind): void {
    this.window.reset('function');
    this.options.backend.reset();
    this.routeAll();
  }
}
