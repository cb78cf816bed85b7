/** A root port: a type 1 bridge on bus 0 with a hot-plug slot, root error reporting and the hypervisor channel. */
import type { DeviceRecord, SaveableDevice } from '../../base/device-record.js';
import type { DmaPort, MsiPort, RequesterId } from '../../base/dma.js';
import { AerReporter } from '../pci/aer.js';
import { type ErrorSeverity, PciFunction, type Upstream } from '../pci/function.js';
import { Msi } from '../pci/msi.js';
import { INDICATOR_ON } from '../pci/pcie-capability.js';
import { WINDOW_SHIFT } from '../pci/registers.js';
import { SectionedState } from '../pci/state.js';
import type { Endpoint, Fabric, MemoryWindow, RootPortLike } from '../pci/topology.js';
import { HypervisorChannel } from './channel.js';
import { type RootPortLayout, rootPortLayout, type SlotOptions } from './registers.js';
import { forwardsErrors, recordError } from './root-errors.js';
import { Slot, type SlotState } from './slot.js';
import { ROOT_PORT_VERSION, rootPortSections } from './state.js';

/** What the hypervisor hears from a root port. */
export interface RootPortObserver {
  /** Software wrote Slot Control. Released means that the device may be taken out. */
  slotControl?(state: SlotState): void;
  /** The link to the device came up or went down, whoever did that. */
  linkChanged?(up: boolean): void;
  /** The guest handed over words on the hypervisor channel; `answers`: to the request that was before it. */
  guestMessage?(sequence: number, answer: number, args: readonly number[], answers: boolean): void;
}

export class RootPort implements RootPortLike, SaveableDevice {
  readonly name: string;
  readonly version = ROOT_PORT_VERSION;
  readonly fn: PciFunction;
  readonly aer: AerReporter;
  /** Whether a person, or the hypervisor in a person's place, can ask software to turn the slot off or on. */
  readonly hasButton: boolean;
  readonly channel: HypervisorChannel;
  private readonly layout: RootPortLayout;
  private readonly msi: Msi;
  private readonly slot: Slot;
  private readonly observer: RootPortObserver;
  private readonly state: SectionedState;
  /** What was taken out and may come back. */
  private takenOut: Endpoint | undefined;
  private fabric: Fabric | undefined;
  private readonly below: Upstream;
  private secondaryBusNow = 0;

  constructor(name: string, slotOptions: SlotOptions, observer: RootPortObserver = {}) {
    this.name = name;
    this.observer = observer;
    const layout = rootPortLayout(slotOptions);
    this.layout = layout;
    const handles = !slotOptions.quick && !slotOptions.byFirmware;
    this.hasButton = handles;
    this.slot = new Slot(() => ({
      layout,
      config: this.fn.config,
      powerController: handles,
      interrupt: () => this.msi.trigger(),
      linkChanged: (up) => this.linkChanged(up),
      controlWritten: (state) => this.observer.slotControl?.(state),
    }));
    const windowChanged = { write: () => this.fabric?.decodeChanged() };
    const busChanged = { write: () => this.busNumbersChanged() };
    const release = { write: () => this.msi.release() };
    this.fn = new PciFunction(layout, {
      name,
      bars: [],
      readBar: () => 0xffff_ffff,
      writeBar: () => {},
      reset: () => {
        this.busNumbersChanged();
        this.slot.refresh();
      },
      masterChanged: (mastering) => {
        if (mastering) this.msi.release();
        this.wayUpChanged();
      },
      hooks: {
        ...this.slot.hooks,
        SECONDARY_BUS: busChanged,
        MEMORY_BASE: windowChanged,
        MEMORY_LIMIT: windowChanged,
        PREFETCHABLE_BASE: windowChanged,
        PREFETCHABLE_LIMIT: windowChanged,
        PREFETCHABLE_BASE_UPPER: windowChanged,
        PREFETCHABLE_LIMIT_UPPER: windowChanged,
        'msi.CONTROL': release,
        'msi.MASK': release,
        'channel.CONTROL': { write: () => this.channel.controlWritten() },
        'channel.GUEST_SEQUENCE': { write: (sequence) => this.channel.answered(sequence) },
      },
    });
    this.msi = new Msi({
      config: this.fn.config,
      capability: layout.cap.msi,
      message: (address, data) => this.fn.message(address, data),
    });
    this.channel = new HypervisorChannel({
      name,
      config: this.fn.config,
      registers: layout.cap.channel,
      interrupt: () => this.msi.trigger(),
      heard: (...words) => this.observer.guestMessage?.(...words),
    });
    this.aer = new AerReporter({ fn: this.fn, aer: layout.cap.aer, pcie: layout.cap.pcie });
    this.below = new PortUpstream(
      this,
      this.slot,
      (severity, source) => this.errorMessage(severity, source),
      () => this.fabric?.decodeChanged(),
    );
    this.state = new SectionedState(
      name,
      ROOT_PORT_VERSION,
      rootPortSections(
        this.fn.config,
        layout,
        this.channel.section,
        (present) => this.occupy(present),
        () => this.refresh(),
      ),
    );
  }

  /** The device behind the port while its link is up. */
  get endpoint(): Endpoint | undefined {
    return this.slot.isLinkUp ? this.slot.endpoint : undefined;
  }

  /** The device in the slot, powered or not. */
  get occupant(): Endpoint | undefined {
    return this.slot.endpoint;
  }

  get slotState(): SlotState {
    return this.slot.state;
  }

  /** Read on every request from below, and so kept beside its register. */
  get secondaryBus(): number {
    return this.secondaryBusNow;
  }

  get subordinateBus(): number {
    return this.fn.config.get(this.layout.header.SUBORDINATE_BUS);
  }

  get ariForwarding(): boolean {
    const { DEVICE_CONTROL_2 } = this.layout.cap.pcie;
    return this.fn.config.getField(DEVICE_CONTROL_2, DEVICE_CONTROL_2.fields.ARI_FORWARDING) === 1;
  }

  /** Source Validation, both redirects and Upstream Forwarding are on: nothing below reaches anything but the root. */
  get isolates(): boolean {
    const { CAPABILITIES, CONTROL } = this.layout.cap.acs;
    return this.fn.config.get(CONTROL) === this.fn.config.get(CAPABILITIES);
  }

  connect(fabric: Fabric): void {
    this.fabric = fabric;
  }

  windows(): readonly MemoryWindow[] {
    if (!this.fn.decoding) return [];
    const { config } = this.fn;
    const header = this.layout.header;
    const address = (base: number, upper: number): number =>
      upper * 2 ** 32 + (base >>> 4) * 2 ** WINDOW_SHIFT;
    const found: MemoryWindow[] = [];
    const add = (base: number, limit: number): void => {
      const end = limit + 2 ** WINDOW_SHIFT;
      if (base < end) found.push({ base, bytes: end - base });
    };
    add(address(config.get(header.MEMORY_BASE), 0), address(config.get(header.MEMORY_LIMIT), 0));
    add(
      address(config.get(header.PREFETCHABLE_BASE), config.get(header.PREFETCHABLE_BASE_UPPER)),
      address(config.get(header.PREFETCHABLE_LIMIT), config.get(header.PREFETCHABLE_LIMIT_UPPER)),
    );
    return found;
  }

  masterAbort(): void {
    const { SECONDARY_STATUS } = this.layout.header;
    this.fn.config.setField(SECONDARY_STATUS, SECONDARY_STATUS.fields.RECEIVED_MASTER_ABORT, 1);
  }

  /** Hypervisor: a device that is in the slot when the machine starts. */
  populate(device: Endpoint): void {
    this.slot.populate(device, INDICATOR_ON);
  }

  /** Hypervisor: hot-adds a device. */
  plug(device: Endpoint, announce: 'button' | 'link'): void {
    this.slot.insert(device, announce);
    this.takenOut = undefined;
  }

  /** Hypervisor: asks software to let go of the device, as a user would. */
  requestUnplug(): void {
    this.slot.pressAttentionButton();
  }

  /** Hypervisor: takes back a request that software has not seen yet. False if there is none. */
  withdrawRequest(): boolean {
    return this.slot.withdrawAttentionButton();
  }

  /** Hypervisor: takes the device out, asked for or not. */
  eject(): Endpoint | undefined {
    const removed = this.slot.remove();
    this.takenOut = removed ?? this.takenOut;
    return removed;
  }

  /** Hypervisor: cuts the device off without a word to software, or lets it answer again. */
  sever(on: boolean): void {
    this.slot.sever(on);
  }

  /**
   * Hypervisor: an error message from below in the name of `source`, as if it had come up the link. False if software has not
   * enabled the interrupt for it, and so hears nothing.
   */
  receiveError(severity: ErrorSeverity, source: RequesterId): boolean {
    const { ROOT_COMMAND } = this.layout.cap.aer;
    const { FATAL, NONFATAL, CORRECTABLE } = ROOT_COMMAND.fields;
    const field = severity === 'fatal' ? FATAL : severity === 'nonfatal' ? NONFATAL : CORRECTABLE;
    if (this.fn.config.getField(ROOT_COMMAND, field) === 0) return false;
    this.errorMessage(severity, source);
    return true;
  }

  save(): DeviceRecord {
    return this.state.save();
  }

  restore(record: DeviceRecord): void {
    this.state.restore(record);
  }

  describe(record: DeviceRecord): readonly (readonly [string, string])[] {
    return this.state.describe(record);
  }

  /** The slot is to be as a record has it: a device that came with this machine is put in or taken out. False if there is none. */
  private occupy(present: boolean): boolean {
    const here = this.slot.endpoint;
    if (present === (here !== undefined)) return true;
    if (present && this.takenOut === undefined) return false;
    this.slot.place(present ? this.takenOut : undefined);
    this.takenOut = here;
    return true;
  }

  /** After configuration space changed without hooks. */
  private refresh(): void {
    this.busNumbersChanged();
    this.slot.refresh();
    this.fn.refresh();
  }

  private busNumbersChanged(): void {
    this.secondaryBusNow = this.fn.config.get(this.layout.header.SECONDARY_BUS);
    this.fabric?.decodeChanged();
  }

  /** What the port does not forward, nothing behind it may send. */
  private wayUpChanged(): void {
    for (const fn of this.slot.endpoint?.functions() ?? []) fn.refresh();
  }

  private linkChanged(up: boolean): void {
    this.slot.endpoint?.attach(up ? this.below : undefined);
    this.fabric?.decodeChanged();
    this.observer.linkChanged?.(up);
  }

  private errorMessage(severity: ErrorSeverity, source: RequesterId): void {
    if (!forwardsErrors(this.fn.config, this.layout, severity)) return;
    if (recordError(this.fn.config, this.layout, severity, source)) this.msi.trigger();
  }
}

/** The way up, as functions below the port see it. A class, so that all ports' look alike to the engine. */
class PortUpstream implements Upstream {
  private readonly port: RootPort;
  private readonly slot: Slot;
  private readonly report: Upstream['errorMessage'];
  private readonly decode: () => void;

  constructor(port: RootPort, slot: Slot, report: Upstream['errorMessage'], decode: () => void) {
    this.port = port;
    this.slot = slot;
    this.report = report;
    this.decode = decode;
  }

  get open(): boolean {
    return this.slot.isLinkUp && this.port.fn.mastering;
  }

  get bus(): number {
    return this.port.secondaryBus;
  }

  get dma(): DmaPort {
    return this.port.fn.upstream.dma;
  }

  get msi(): MsiPort {
    return this.port.fn.upstream.msi;
  }

  decodeChanged(): void {
    this.decode();
  }

  errorMessage(severity: ErrorSeverity, source: RequesterId): void {
    this.report(severity, source);
  }
}
