/**
 * A physical function as a guest sees it: configuration space that a virtual machine monitor presents in place of the
 * real one, as VFIO's users do. Ids are filled in, BARs and Memory Space Enable exist although the VF's don't (9.3.4.1),
 * the MSI-X table is the guest's while the device's own is the host's. Registers of other BARs go straight through.
 */
import type { DeviceRecord, SaveableDevice } from '../../base/device-record.js';
import { memoized } from '../../base/memo.js';
import { AerReporter } from './aer.js';
import type { AssignedBackend } from './assigned-backend.js';
import {
  type AssignedVectors,
  type HostVectors,
  MsiVectors,
  MsixVectors,
  type VectorsOwner,
} from './assigned-vectors.js';
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
import { decodeSections, encodeSections, registerSection, SectionedState } from './state.js';

export interface AssignedOptions {
  readonly name: string;
  readonly identity: Identity;
  readonly bars: readonly BarSpec[];
  /** Where its MSI-X table lies; the function has MSI with one message if absent. */
  readonly msix?: MsixPlace;
  readonly link: Pick<PcieOptions, 'speed' | 'width'>;
  readonly backend: AssignedBackend;
  /** With MSI-X: the host's word of where vectors go, in place of the guest's table; see `rewire`. */
  readonly hostVectors?: HostVectors | undefined;
}

export const ASSIGNED_VERSION = 1;
const CONFIG_SECTION = 'config';

const capabilities = (link: AssignedOptions['link']) => ({
  pcie: at(0xa0, pcieCapability({ kind: 'endpoint', ...link })),
  aer: at(0x100, aerCapability('endpoint')),
});

type LayoutOptions = Pick<AssignedOptions, 'name' | 'identity' | 'bars' | 'link'>;

const layoutWithMsix = /* @__PURE__ */ memoized(
  ({ name, identity, bars, link, msix }: LayoutOptions & { readonly msix: MsixPlace }) =>
    configLayout(`${name}-config`, type0Header(identity, bars), {
      msix: at(0x70, msixCapability(msix)),
      ...capabilities(link),
    }),
);

const layoutWithMsi = /* @__PURE__ */ memoized(({ name, identity, bars, link }: LayoutOptions) =>
  configLayout(`${name}-config`, type0Header(identity, bars), {
    msi: at(0x50, messageSignalledInterrupts),
    ...capabilities(link),
  }),
);

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
    const { name, identity, bars, msix, backend, hostVectors } = options;
    this.name = name;
    this.identity = identity;
    this.backend = backend;
    const owner: VectorsOwner = { name, bars, backend, hostVectors, config: () => this.fn.config };
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
      registerSection(CONFIG_SECTION, this.fn.config),
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

  /** Host: what `hostVectors` says has changed. */
  rewire(): void {
    this.interrupts.routeAll();
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

  /** Takes over what the guest had set of a device that may be of another revision: that stays this one's. */
  adopt(record: DeviceRecord): void {
    const { config, layout } = this.fn;
    const { sections, problem } = decodeSections(record.state);
    const parts = sections.map(([name, bytes]) => ({
      name,
      bytes: name === CONFIG_SECTION ? config.withOwn(bytes, layout.header.REVISION) : bytes,
    }));
    // One that is cut off is refused as it is.
    this.restore(problem === undefined ? { ...record, state: encodeSections(parts) } : record);
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
  const { name, identity, bars, link } = options;
  if (msix === undefined) {
    const layout = layoutWithMsi({ name, identity, bars, link });
    return { layout, interrupts: new MsiVectors(owner, layout.cap.msi) };
  }
  const layout = layoutWithMsix({ name, identity, bars, link, msix });
  return { layout, interrupts: new MsixVectors(owner, msix, layout.cap.msix) };
}
