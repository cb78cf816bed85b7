/**
 * One PCI Express function: configuration space, BAR decode, bus mastering, resets. A device builds its functions from
 * this by giving a declared layout and what is its own: the handlers of its BARs and its reset.
 */
import type { DmaPort, MsiPort, RequesterId } from '../../base/dma.js';
import { requesterOf } from '../../base/dma.js';
import { RegisterFile, type RegisterHooks, type RegisterTable } from '../../base/registers.js';
import type { Iova } from '../../base/units.js';
import type { Capability, Registers } from './capability.js';
import type { PcieRegisters } from './pcie-capability.js';
import {
  BAR_FLAGS_MEMORY,
  BAR_OFFSET,
  type BarSpec,
  POWER_D0,
  POWER_D3HOT,
  type powerManagement,
  type type0Header,
} from './registers.js';

/** `function`: FLR, or D3hot to D0; sticky registers stay. `conventional`: hot reset or power; nothing stays. */
export type ResetKind = 'function' | 'conventional';

export type ErrorSeverity = 'correctable' | 'nonfatal' | 'fatal';

/** What lies between a function and memory: the link, the port above, the root complex. */
export interface Upstream {
  /** Requests pass: the link is up and every bridge above may forward them. */
  readonly open: boolean;
  /** Bus number below the port. */
  readonly bus: number;
  readonly dma: DmaPort;
  readonly msi: MsiPort;
  /** What memory addresses the function answers has changed. */
  decodeChanged(): void;
  /** An error message on its way to the root. */
  errorMessage(severity: ErrorSeverity, source: RequesterId): void;
}

/** Where the function answers memory requests. */
export interface BarDecoder {
  readonly bars: readonly BarSpec[];
  /** First address of a BAR's region, or -1 while it is not decoded. */
  base(bar: BarSpec): number;
  /** Bytes of a BAR's region. */
  size(bar: BarSpec): number;
}

type CommonHeader = Omit<ReturnType<typeof type0Header>, 'SUBSYSTEM_VENDOR_ID' | 'SUBSYSTEM_ID'>;
type PmRegisters = ReturnType<typeof powerManagement> extends Capability<infer T> ? T : never;

/** The layouts a function can be built from: the common header; FLR and power states if it has those capabilities. */
export interface FunctionLayout {
  readonly name: string;
  readonly table: RegisterTable;
  readonly header: Registers<CommonHeader>;
  readonly cap: {
    readonly pcie?: Registers<PcieRegisters>;
    readonly pm?: Registers<PmRegisters>;
  };
}

export interface FunctionBehaviour {
  readonly name: string;
  readonly bars: readonly BarSpec[];
  /** Reads 1, 2 or 4 bytes at `offset` into BAR `bar`; unsigned. */
  readBar(bar: number, offset: number, size: number): number;
  writeBar(bar: number, offset: number, size: number, value: number): void;
  /** The function's own part of a reset; configuration space is done already. */
  reset(kind: ResetKind): void;
  /**
   * Whether the function may master the bus may have changed, by its own registers or the way up. If it may, what was
   * held back can go.
   */
  masterChanged?(mastering: boolean): void;
  /** Other decoders than the header's BARs. */
  readonly decoder?: BarDecoder;
  /** Hooks by register name, beside those of the function itself. */
  readonly hooks?: Readonly<Record<string, RegisterHooks>>;
}

const NOWHERE: Upstream = {
  open: false,
  bus: 0,
  dma: { read: () => false, write: () => {}, writeDescriptor: () => {} },
  msi: { send: () => {} },
  decodeChanged: () => {},
  errorMessage: () => {},
};

export class PciFunction {
  readonly name: string;
  readonly layout: FunctionLayout;
  readonly config: RegisterFile;
  readonly decoder: BarDecoder;
  readonly behaviour: FunctionBehaviour;
  /** Routing id relative to device 0, function 0 of the bus below the port; a VF's may reach into the next bus. */
  relativeId = 0;
  private upstreamNow: Upstream = NOWHERE;
  private masterEnabled = false;

  constructor(layout: FunctionLayout, behaviour: FunctionBehaviour) {
    this.name = behaviour.name;
    this.layout = layout;
    this.behaviour = behaviour;
    const hooks: Record<string, RegisterHooks> = { ...behaviour.hooks };
    const commandHook = hooks.COMMAND?.write;
    hooks.COMMAND = {
      write: (written, before, index, half) => {
        this.refresh();
        commandHook?.(written, before, index, half);
      },
    };
    for (const bar of behaviour.bars) {
      hooks[`BAR${bar.index}`] = { write: () => this.upstreamNow.decodeChanged() };
      if (bar.kind === 'memory64') {
        hooks[`BAR${bar.index + 1}`] = { write: () => this.upstreamNow.decodeChanged() };
      }
    }
    if (layout.cap.pcie !== undefined) {
      hooks['pcie.DEVICE_CONTROL'] = { write: (written) => this.deviceControlWritten(written) };
    }
    if (layout.cap.pm !== undefined) {
      hooks['pm.CONTROL'] = { write: (_written, before) => this.powerControlWritten(before) };
    }
    this.config = new RegisterFile(layout.table, hooks);
    this.decoder = behaviour.decoder ?? headerDecoder(this);
    this.refresh();
  }

  /** Requester id on the bus as it is numbered now. */
  get routingId(): RequesterId {
    return requesterOf((this.upstreamNow.bus << 8) + this.relativeId);
  }

  get upstream(): Upstream {
    return this.upstreamNow;
  }

  /** Connects to the fabric, or with `undefined` disconnects: requests then go nowhere. */
  attach(upstream: Upstream | undefined): void {
    this.upstreamNow = upstream ?? NOWHERE;
  }

  /** Reads 1, 2 or 4 bytes of configuration space. */
  configRead(offset: number, size: number): number {
    return this.config.read(offset, size);
  }

  configWrite(offset: number, size: number, value: number): void {
    this.config.write(offset, size, value >>> 0);
  }

  /** Requests may leave: Bus Master Enable, D0, and an open way up. */
  get mastering(): boolean {
    return this.masterEnabled && this.upstreamNow.open;
  }

  /** Memory read; see `DmaPort.read`. A read that is not answered is logged as a received master abort. */
  dmaRead(address: Iova, target: Uint8Array, at: number, length: number): boolean {
    if (!this.mastering) return false;
    if (this.upstreamNow.dma.read(this.routingId, address, target, at, length)) return true;
    const { STATUS } = this.layout.header;
    this.config.setField(STATUS, STATUS.fields.RECEIVED_MASTER_ABORT, 1);
    return false;
  }

  /** Memory write; see `DmaPort.write`. False if the function may not master the bus: nothing was sent. */
  dmaWrite(address: Iova, source: Uint8Array, at: number, length: number): boolean {
    if (!this.mastering) return false;
    this.upstreamNow.dma.write(this.routingId, address, source, at, length);
    return true;
  }

  /** Descriptor write-back; see `DmaPort.writeDescriptor`. */
  dmaWriteDescriptor(address: Iova, d0: number, d1: number, d2: number, d3: number): boolean {
    if (!this.mastering) return false;
    this.upstreamNow.dma.writeDescriptor(this.routingId, address, d0, d1, d2, d3);
    return true;
  }

  /** Message-signalled interrupt; false if the function may not master the bus. */
  message(address: Iova, data: number): boolean {
    if (!this.mastering) return false;
    this.upstreamNow.msi.send(this.routingId, address, data);
    return true;
  }

  /** Memory space is decoded: Memory Space Enable and D0. */
  get decoding(): boolean {
    const { COMMAND } = this.layout.header;
    return this.config.getField(COMMAND, COMMAND.fields.MEMORY) === 1 && this.powerState === POWER_D0;
  }

  get powerState(): number {
    const { pm } = this.layout.cap;
    return pm === undefined ? POWER_D0 : this.config.getField(pm.CONTROL, pm.CONTROL.fields.STATE);
  }

  reset(kind: ResetKind): void {
    this.config.reset(kind === 'function' ? 'function' : 'power-on');
    this.behaviour.reset(kind);
    this.refresh();
  }

  /** Derives what is cached from configuration space; after anything changed it from outside (restore, the port). */
  refresh(): void {
    const { COMMAND } = this.layout.header;
    this.masterEnabled =
      this.config.getField(COMMAND, COMMAND.fields.MASTER) === 1 && this.powerState === POWER_D0;
    this.upstreamNow.decodeChanged();
    this.behaviour.masterChanged?.(this.mastering);
  }

  private deviceControlWritten(written: number): void {
    const { DEVICE_CAPABILITIES, DEVICE_CONTROL } = this.layout.cap.pcie!;
    const resets = this.config.getField(DEVICE_CAPABILITIES, DEVICE_CAPABILITIES.fields.FLR) === 1;
    if (resets && DEVICE_CONTROL.fields.INITIATE_FLR.get(written) === 1) this.reset('function');
  }

  /**
   * States other than D0 and D3hot are not supported: such a write leaves the state as it was. Coming back from D3hot is
   * a reset unless the function promises No_Soft_Reset. 5.3.1.4
   */
  private powerControlWritten(before: number): void {
    const { CONTROL } = this.layout.cap.pm!;
    const { NO_SOFT_RESET } = CONTROL.fields;
    const from = CONTROL.fields.STATE.get(before);
    const to = this.config.getField(CONTROL, CONTROL.fields.STATE);
    if (to !== POWER_D0 && to !== POWER_D3HOT) this.config.setField(CONTROL, CONTROL.fields.STATE, from);
    else if (from === POWER_D3HOT && to === POWER_D0 && this.config.getField(CONTROL, NO_SOFT_RESET) === 0)
      this.reset('function');
    this.refresh();
  }
}

/** The decoder of the header's own BARs. I/O space is not reachable below our ports. */
function headerDecoder(fn: PciFunction): BarDecoder {
  const { bars } = fn.behaviour;
  return {
    bars,
    size: (bar) => bar.bytes,
    base(bar) {
      if (bar.kind === 'io' || !fn.decoding) return -1;
      const word = BAR_OFFSET / 4 + bar.index;
      const low = (fn.config.words[word]! & ~BAR_FLAGS_MEMORY) >>> 0;
      return bar.kind === 'memory64' ? fn.config.words[word + 1]! * 2 ** 32 + low : low;
    },
  };
}
