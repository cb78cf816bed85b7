/**
 * A physical function as a guest sees it: configuration space that a virtual machine monitor presents in place of the
 * real one, as VFIO's users do. Ids are filled in, BARs and Memory Space Enable exist although the VF's don't (9.3.4.1),
 * the MSI-X table is the guest's while the device's own is the host's. Registers of other BARs go straight through.
 */
import type { DeviceRecord, SaveableDevice } from '../../base/device-record.js';
import type { Iova } from '../../base/units.js';
import { AerReporter } from './aer.js';
import { type AssignedVectors, MsiVectors, MsixVectors, type VectorsOwner } from './assigned-vectors.js';
import { at, configLayout } from './capability.js';
import { aerCapability } from './extended-capabilities.js';
import { PciFunction } from './function.js';
import { type PcieOptions, pcieCapability } from './pcie-capability.js';
import {
  type BarSpec,
  type Identity,
  type MsixPlace,
  messageSignalledInterrupts,
  msixCapability,
  type0Header,
} from './registers.js';
import { SingleFunction } from './single-function.js';
import { registerSection, SectionedState } from './state.js';

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
  /** Where its MSI-X table lies; the function has MSI with one message if absent. */
  readonly msix?: MsixPlace;
  readonly link: Pick<PcieOptions, 'speed' | 'width'>;
  readonly backend: AssignedBackend;
}

/** The host's interrupt remapping: turns a guest's message into the one that the device is to send. */
export interface MessageRouter {
  /** `undefined` for a message that leads nowhere: the vector is then masked in the device. */
  route(vector: number, message: GuestMessage | undefined): GuestMessage | undefined;
}

export const ASSIGNED_VERSION = 1;

const capabilities = (link: AssignedOptions['link']) => ({
  pcie: at(0xa0, pcieCapability({ kind: 'endpoint', ...link })),
  aer: at(0x100, aerCapability('endpoint')),
});

const layoutWithMsix = ({ name, identity, bars, link }: AssignedOptions, msix: MsixPlace) =>
  configLayout(`${name}-config`, type0Header(identity, bars), {
    msix: at(0x70, msixCapability(msix)),
    ...capabilities(link),
  });

const layoutWithMsi = ({ name, identity, bars, link }: AssignedOptions) =>
  configLayout(`${name}-config`, type0Header(identity, bars), {
    msi: at(0x50, messageSignalledInterrupts),
    ...capabilities(link),
  });

export class AssignedFunction extends SingleFunction implements SaveableDevice {
  readonly name: string;
  readonly version = ASSIGNED_VERSION;
  readonly fn: PciFunction;
  /** Reports errors to the guest; for the hypervisor to use. */
  readonly aer: AerReporter;
  /** As its guest sees it. */
  readonly identity: Identity;
  private readonly backend: AssignedBackend;
  private readonly interrupts: AssignedVectors;
  private readonly state: SectionedState;
  private gateIsOpen = true;

  constructor(options: AssignedOptions) {
    super();
    const { name, identity, bars, msix, backend } = options;
    this.name = name;
    this.identity = identity;
    this.backend = backend;
    const owner: VectorsOwner = { name, bars, backend, config: () => this.fn.config };
    const { layout, interrupts } = withInterrupts(options, msix, owner);
    this.interrupts = interrupts;
    this.fn = new PciFunction(layout, {
      name,
      bars,
      readBar: (bar, offset, size) =>
        bar === interrupts.bar ? interrupts.read(offset, size) : backend.readBar(bar, offset, size),
      writeBar: (bar, offset, size, value) => {
        if (bar === interrupts.bar) interrupts.write(offset, size, value);
        else backend.writeBar(bar, offset, size, value);
      },
      reset: () => this.resetBackend(),
      // With the ports above taken into account: the device itself sits behind the host's.
      masterChanged: (mastering) => backend.setBusMaster(mastering && this.gateIsOpen),
      hooks: interrupts.hooks,
    });
    this.aer = new AerReporter({ fn: this.fn, aer: layout.cap.aer, pcie: layout.cap.pcie });
    this.state = new SectionedState(name, ASSIGNED_VERSION, [
      registerSection('config', this.fn.config),
      ...interrupts.sections,
    ]);
  }

  /** Vectors that its guest sees. */
  get vectors(): number {
    return this.interrupts.count;
  }

  /** Host: while it is closed the function masters no bus, whatever the guest's registers say; those stay as they are. */
  setGate(open: boolean): void {
    this.gateIsOpen = open;
    this.backend.setBusMaster(open && this.fn.mastering);
  }

  save(): DeviceRecord {
    return this.state.save();
  }

  /** Takes over what the guest had set, and wires the device's vectors as it asks. */
  restore(record: DeviceRecord): void {
    this.state.restore(record);
    this.fn.refresh();
    this.interrupts.routeAll();
  }

  describe(record: DeviceRecord): readonly (readonly [string, string])[] {
    return this.state.describe(record);
  }

  private resetBackend(): void {
    this.interrupts.reset();
    this.backend.reset();
    this.interrupts.routeAll();
  }
}

function withInterrupts(options: AssignedOptions, msix: MsixPlace | undefined, owner: VectorsOwner) {
  if (msix === undefined) {
    const layout = layoutWithMsi(options);
    return { layout, interrupts: new MsiVectors(owner, layout.cap.msi) };
  }
  const layout = layoutWithMsix(options, msix);
  return { layout, interrupts: new MsixVectors(owner, msix, layout.cap.msix) };
}
