/** The physical function: its PCI function with SR-IOV, and its registers with the views of what pools hold. */
import type { Scheduler } from '../../base/clock.js';
import { RegisterFile, type RegisterTable } from '../../base/registers.js';
import { AerReporter, type ErrorRegisters } from '../pci/aer.js';
import { PciFunction, type ResetKind } from '../pci/function.js';
import { Msi } from '../pci/msi.js';
import { Msix } from '../pci/msix.js';
import { Sriov } from '../pci/sriov.js';
import { PF_MSIX_BAR, PF_REGISTER_BAR, pfBars, pfLayout, pfMsixWindow, sriovGeometry } from './functions.js';
import { InterruptUnit } from './interrupts.js';
import { MailboxCauses } from './mailbox.js';
import { CAUSE_LINK, CAUSE_MAILBOX, PF_QUEUE_CAUSES, pfTable, pfRegisters as reg } from './pf-registers.js';
import type { Pools } from './pools.js';
import { QUEUES_PER_POOL } from './registers.js';
import { aliased, viewOfWord } from './views.js';

type PfSpecs = typeof pfTable extends RegisterTable<infer T> ? T : never;

export interface PfHost {
  readonly name: string;
  readonly mac: Uint8Array;
  readonly scheduler: Scheduler;
  readonly pools: () => Pools;
  /** Registers that feed the switch's tables were written. */
  switchChanged(): void;
  rssKeyChanged(): void;
  /** Sending may have become possible for any queue. */
  transmitEnabled(): void;
  vfsChanged(before: number, after: number): void;
  /** Software reset of the device. */
  deviceReset(): void;
  /** RXMEMWRAP. */
  receiveMemory(): number;
}

const OTHER_CAUSES = 0xffff_0000;
/** Flags of QDE that the NIC keeps for each queue. */
export const QUEUE_DROP = 1;
export const QUEUE_HIDE_VLAN = 2;

export class PhysicalFunction {
  readonly fn: PciFunction;
  readonly sriov: Sriov;
  readonly msix: Msix;
  readonly aer: AerReporter;
  readonly errorRegisters: ErrorRegisters;
  readonly registers: RegisterFile<PfSpecs>;
  readonly interrupts: InterruptUnit;
  readonly causes: MailboxCauses;
  /** QDE's flags by queue. */
  readonly queueFlags = new Uint8Array(reg.MAILBOX.count * QUEUES_PER_POOL);
  private readonly msi: Msi;
  private readonly host: PfHost;

  constructor(host: PfHost) {
    this.host = host;
    this.registers = this.makeRegisters();
    this.causes = new MailboxCauses(this.registers);
    const layout = pfLayout(host.mac);
    this.sriov = new Sriov(sriovGeometry, () => ({
      fn: this.fn,
      capability: layout.cap.sriov,
      at: layout.offsets.sriov,
      vfsChanged: (before, after) => host.vfsChanged(before, after),
    }));
    const release = { write: () => this.msi.release() };
    this.fn = new PciFunction(layout, {
      name: host.name,
      bars: pfBars,
      readBar: (bar, offset, size) => this.readBar(bar, offset, size),
      writeBar: (bar, offset, size, value) => this.writeBar(bar, offset, size, value),
      reset: (kind) => this.functionReset(kind),
      masterChanged: (mastering) => {
        if (!mastering) return;
        this.msix.releaseAll();
        this.msi.release();
        host.transmitEnabled();
      },
      hooks: {
        ...this.sriov.hooks('sriov'),
        'msix.CONTROL': { write: () => this.msix.releaseAll() },
        'msi.CONTROL': release,
        'msi.MASK': release,
      },
    });
    this.msix = new Msix(pfMsixWindow, {
      config: this.fn.config,
      capability: layout.cap.msix,
      message: (address, data) => this.fn.message(address, data),
      sent: (vector) => this.interrupts.sent(vector),
    });
    this.msi = new Msi({
      config: this.fn.config,
      capability: layout.cap.msi,
      message: (address, data) => this.fn.message(address, data),
    });
    this.errorRegisters = { fn: this.fn, aer: layout.cap.aer, pcie: layout.cap.pcie };
    this.aer = new AerReporter(this.errorRegisters);
    this.interrupts = new InterruptUnit({
      registers: {
        words: this.registers.words,
        EICR: reg.EICR.word,
        EIMS: reg.EIMS.word,
        EIAC: reg.EIAC.word,
        EIAM: reg.EIAM.word,
        EITR: reg.EITR.word,
      },
      scheduler: host.scheduler,
      vectors: reg.EITR.count,
      causesOf: (vector) => this.causesOf(vector),
      masksOnMessage: () => this.registers.getField(reg.GPIE, reg.GPIE.fields.EIAME) === 1,
      trigger: (vector) => this.trigger(vector),
    });
    this.sriov.refresh();
  }

  /** BAR 0 read, views included. */
  read(offset: number, size: number): number {
    const own = aliased(offset);
    const view = viewOfWord[own >>> 2] ?? -1;
    if (view < 0) return this.registers.read(own, size);
    return this.host
      .pools()
      .at(view >>> 16)
      .read((view & 0xffff) * 4 + (own & 3), size);
  }

  write(offset: number, size: number, value: number): void {
    if (size !== 4) return;
    const own = aliased(offset);
    const view = viewOfWord[own >>> 2] ?? -1;
    if (view < 0) this.registers.write(own, size, value);
    else
      this.host
        .pools()
        .at(view >>> 16)
        .write((view & 0xffff) * 4, size, value);
  }

  /** A mailbox event or reset of a VF, for the driver. */
  raiseMailbox(): void {
    this.interrupts.raise(CAUSE_MAILBOX);
  }

  linkChanged(): void {
    this.interrupts.raise(CAUSE_LINK);
  }

  /** A queue that belongs to no VF: its cause is the vector that IVAR names. */
  queueCause(queue: number, kind: 'receive' | 'transmit'): void {
    const ivar = this.registers.get(reg.IVAR, queue >>> 1);
    const { RX0_VECTOR, RX0_VALID, TX0_VECTOR, TX0_VALID } = reg.IVAR.fields;
    const { RX1_VECTOR, RX1_VALID, TX1_VECTOR, TX1_VALID } = reg.IVAR.fields;
    const odd = (queue & 1) === 1;
    const [vector, valid] =
      kind === 'receive'
        ? odd
          ? [RX1_VECTOR, RX1_VALID]
          : [RX0_VECTOR, RX0_VALID]
        : odd
          ? [TX1_VECTOR, TX1_VALID]
          : [TX0_VECTOR, TX0_VALID];
    if (valid.get(ivar) === 0 || vector.get(ivar) >= PF_QUEUE_CAUSES) return;
    this.interrupts.raise(1 << vector.get(ivar));
  }

  /** Software reset: registers only; configuration space stays. */
  resetRegisters(): void {
    const { UP, SPEED } = reg.LINKS.fields;
    const up = this.registers.getField(reg.LINKS, UP);
    const speed = this.registers.getField(reg.LINKS, SPEED);
    this.registers.reset('power-on');
    this.registers.setField(reg.LINKS, UP, up);
    this.registers.setField(reg.LINKS, SPEED, speed);
    this.queueFlags.fill(0);
    this.interrupts.reset();
    this.updateStatus();
  }

  /** STATUS follows the number of VFs and whether requests are allowed. */
  updateStatus(): void {
    const { NUM_VFS, IOV, MASTER_ENABLED } = reg.STATUS.fields;
    const disabled = this.registers.getField(reg.CTRL, reg.CTRL.fields.MASTER_DISABLE) === 1;
    this.registers.setField(reg.STATUS, NUM_VFS, this.sriov.vfCount);
    this.registers.setField(reg.STATUS, IOV, this.sriov.vfCount > 0 ? 1 : 0);
    this.registers.setField(reg.STATUS, MASTER_ENABLED, disabled ? 0 : 1);
  }

  private makeRegisters(): RegisterFile<PfSpecs> {
    const { host } = this;
    const switchHook = { write: () => host.switchChanged() };
    const sendHook = { write: () => host.transmitEnabled() };
    return new RegisterFile(pfTable, {
      CTRL: {
        write: (written) => {
          if (reg.CTRL.fields.RST.get(written) === 1) host.deviceReset();
          this.updateStatus();
        },
      },
      CTRL_EXT: {
        write: (written) => {
          if (reg.CTRL_EXT.fields.PFRSTD.get(written) === 0) return;
          host.pools().resetDone();
        },
      },
      FREE_RUNNING_TIMER: { read: () => Math.floor(host.scheduler.now() / 1000) >>> 0 },
      RXMEMWRAP: { read: () => host.receiveMemory() },
      EICR: {
        read: (stored) => {
          this.interrupts.accessed(stored);
          return stored;
        },
        write: (written) => this.interrupts.accessed(written),
      },
      EICS: {
        write: (written) => {
          this.interrupts.raise(written);
          this.interrupts.accessed(written);
        },
      },
      EIMS: { write: (written) => this.interrupts.enable(written) },
      EIMC: { write: (written) => this.interrupts.disable(written) },
      // What a stopped virtual function has asked for is not shown before it goes on.
      MBICR: { read: (stored, at) => (stored & ~(this.stoppedVfs(at * 16, 16) * 0x1_0001)) >>> 0 },
      VFLRE0: { read: (stored) => (stored & ~this.stoppedVfs(0, 32)) >>> 0 },
      VFLRE1: { read: (stored) => (stored & ~this.stoppedVfs(32, 32)) >>> 0 },
      VFLREC: { write: (written, _before, index) => this.causes.clearResets(written, index) },
      MAILBOX: {
        read: (_stored, vf) => host.pools().at(vf).mailbox.physicalFunctionRead(),
        write: (written, _before, vf) => host.pools().at(vf).mailbox.physicalFunctionWrote(written),
      },
      QDE: { write: (written) => this.queueEnableWritten(written) },
      RSSRK: { write: () => host.rssKeyChanged() },
      RAL: switchHook,
      RAH: switchHook,
      MPSAR_LOW: switchHook,
      MPSAR_HIGH: switchHook,
      VLVF: switchHook,
      VMOLR: switchHook,
      VFTE: sendHook,
      DMATXCTL: sendHook,
    });
  }

  /** Bit i: the virtual function of pool `first + i` is stopped. */
  private stoppedVfs(first: number, count: number): number {
    const pools = this.host.pools();
    let bits = 0;
    for (let i = 0; i < count; i++) if (pools.find(first + i)?.stopped) bits |= 1 << i;
    return bits >>> 0;
  }

  private queueEnableWritten(written: number): void {
    const { WRITE, QUEUE, ENABLE, HIDE_VLAN } = reg.QDE.fields;
    if (WRITE.get(written) === 0) return;
    this.queueFlags[QUEUE.get(written)] =
      (ENABLE.get(written) === 1 ? QUEUE_DROP : 0) | (HIDE_VLAN.get(written) === 1 ? QUEUE_HIDE_VLAN : 0);
  }

  private causesOf(vector: number): number {
    const misc = this.registers.words[reg.IVAR_MISC.word]!;
    const { OTHER_VALID, OTHER_VECTOR } = reg.IVAR_MISC.fields;
    const other = OTHER_VALID.get(misc) === 1 && OTHER_VECTOR.get(misc) === vector ? OTHER_CAUSES : 0;
    return (vector < PF_QUEUE_CAUSES ? 1 << vector : 0) | other;
  }

  /** MSI-X if it is on, else MSI. */
  private trigger(vector: number): void {
    if (this.msix.enabled) this.msix.trigger(vector);
    else this.msi.trigger();
  }

  private functionReset(_kind: ResetKind): void {
    this.msix.reset();
    this.sriov.refresh();
    this.host.deviceReset();
  }

  private readBar(bar: number, offset: number, size: number): number {
    if (bar === PF_REGISTER_BAR) return this.read(offset, size);
    return bar === PF_MSIX_BAR ? this.msix.window.read(offset, size) : 0xffff_ffff;
  }

  private writeBar(bar: number, offset: number, size: number, value: number): void {
    if (bar === PF_REGISTER_BAR) this.write(offset, size, value);
    else if (bar === PF_MSIX_BAR) this.msix.window.write(offset, size, value);
  }
}
