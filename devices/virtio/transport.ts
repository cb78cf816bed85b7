/**
 * A virtio device behind the modern PCI transport: what is the same for every type. Status and features are negotiated, queues
 * are placed, doorbells and interrupts find their way. Virtio 1.2, 2.1, 3.1, 4.1
 *
 * A driver that does what none may is told so by NEEDS_RESET, and the device stands still until it is reset.
 */
import type { DeviceRecord, SaveableDevice } from '../../base/device-record.js';
import { iovaOf } from '../../base/dma.js';
import { RegisterFile, type RegisterTable } from '../../base/registers.js';
import { PciFunction } from '../pci/function.js';
import { MemoryWaits } from '../pci/memory-waits.js';
import { Msix } from '../pci/msix.js';
import { SingleFunction } from '../pci/single-function.js';
import { registerSection, SectionedState, type StateSection } from '../pci/state.js';
import {
  COMMON_AT,
  commonConfig,
  DEVICE_AT,
  F_VERSION_1,
  ISR_AT,
  MSIX_BAR,
  NO_VECTOR,
  NOTIFY_AT,
  NOTIFY_MULTIPLIER,
  QUEUE_SIZE_MAX,
  queueState,
  transportState,
  VECTORS,
  virtioBars,
  virtioLayout,
  virtioMsixWindow,
} from './registers.js';
import { SplitQueue } from './split-queue.js';

/** Raised by one, together with the devices' own. */
export const VIRTIO_VERSION = 1;

/** What a type of device adds. */
export interface VirtioType {
  /** Numbers of the features that it offers, beside those of the transport. */
  readonly features: readonly number[];
  readonly queues: number;
  /** Its configuration; bytes beyond read zero. */
  readonly config: RegisterFile<unknown>;
  /** Sections of its own state. */
  readonly sections: readonly StateSection[];
  /** The driver rang for a queue. */
  notified(queue: number): void;
  /** The driver has accepted features, and may place queues. */
  negotiated(): void;
  /** DRIVER_OK: queues may be used. */
  started(): void;
  /** By status or by PCI: nothing of the driver's is valid any more. */
  reset(): void;
  /** State was restored. */
  restored(): void;
  /** The function may master the bus again. */
  resumed(): void;
}

const reg = commonConfig.reg;
type CommonSpecs = typeof commonConfig extends RegisterTable<infer T> ? T : never;
type TransportSpecs = typeof transportState extends RegisterTable<infer T> ? T : never;
type QueueSpecs = ReturnType<typeof queueState> extends RegisterTable<infer T> ? T : never;

export class VirtioTransport extends SingleFunction implements SaveableDevice {
  readonly name: string;
  readonly version = VIRTIO_VERSION;
  readonly fn: PciFunction;
  readonly waits = new MemoryWaits();
  private readonly type: VirtioType;
  private readonly msix: Msix;
  private readonly common: RegisterFile<CommonSpecs>;
  private readonly transport: RegisterFile<TransportSpecs>;
  private readonly banks: RegisterFile<QueueSpecs>;
  private readonly bank: ReturnType<typeof queueState>['reg'];
  /** By number: there while the queue is enabled. */
  private readonly running: (SplitQueue | undefined)[];
  private readonly offered: readonly [low: number, high: number];
  private readonly state: SectionedState;

  constructor(name: string, type: VirtioType) {
    super();
    this.name = name;
    this.type = type;
    this.offered = wordsOf([...type.features, F_VERSION_1]);
    this.running = new Array<SplitQueue | undefined>(type.queues).fill(undefined);
    const bankTable = queueState(type.queues);
    this.bank = bankTable.reg;
    this.banks = new RegisterFile(bankTable);
    this.transport = new RegisterFile(transportState);
    const placed = { write: () => this.storeBank() };
    this.common = new RegisterFile(commonConfig, {
      DEVICE_FEATURE: { read: () => this.offered[this.common.get(reg.DEVICE_FEATURE_SELECT)] ?? 0 },
      DRIVER_FEATURE: { read: () => this.accepted(), write: () => this.accept() },
      DRIVER_FEATURE_SELECT: { write: () => this.common.set(reg.DRIVER_FEATURE, this.accepted()) },
      CONFIG_VECTOR: { write: () => this.judgeVector(reg.CONFIG_VECTOR) },
      QUEUES: { read: () => type.queues },
      STATUS: { write: (_written, before) => this.statusWritten(before) },
      GENERATION: { read: () => this.readGeneration() },
      QUEUE_SELECT: { write: () => this.showBank() },
      QUEUE_NOTIFY_OFFSET: { read: () => this.selected },
      QUEUE_SIZE: placed,
      QUEUE_VECTOR: {
        write: () => {
          this.judgeVector(reg.QUEUE_VECTOR);
          this.storeBank();
        },
      },
      QUEUE_ENABLE: { write: () => this.enableSelected() },
      QUEUE_DESCRIPTORS: placed,
      QUEUE_DRIVER: placed,
      QUEUE_DEVICE: placed,
    });
    this.fn = new PciFunction(virtioLayout, {
      name,
      bars: virtioBars,
      readBar: (bar, offset, size) => this.readBar(bar, offset, size),
      writeBar: (bar, offset, size, value) => this.writeBar(bar, offset, size, value),
      reset: () => {
        this.msix.reset();
        this.deviceReset();
      },
      masterChanged: (mastering) => {
        if (!mastering) return;
        this.msix?.releaseAll();
        type.resumed();
      },
      hooks: {
        'msix.CONTROL': { write: () => this.msix.releaseAll() },
        'window.DATA': {
          read: () => this.throughWindow((bar, offset, size) => this.readBar(bar, offset, size)) ?? 0,
          write: (written) => {
            this.throughWindow((bar, offset, size) => this.writeBar(bar, offset, size, written));
          },
        },
      },
    });
    this.msix = new Msix(virtioMsixWindow, {
      config: this.fn.config,
      capability: virtioLayout.cap.msix,
      message: (address, data) => this.fn.message(address, data),
      sent: () => {},
    });
    this.state = new SectionedState(name, VIRTIO_VERSION, [
      registerSection('config', this.fn.config),
      registerSection('msix', this.msix.window),
      registerSection('common', this.common),
      registerSection('transport', this.transport),
      registerSection('device', type.config),
      ...type.sections,
      this.queueSection(),
    ]);
    this.showBank();
  }

  /** As the driver asks for it, by status 0. */
  private deviceReset(): void {
    this.common.reset('function');
    this.transport.reset('function');
    this.banks.reset('function');
    this.running.fill(undefined);
    this.showBank();
    this.type.reset();
  }

  /** Whether the driver has accepted a feature. */
  has(feature: number): boolean {
    const { FEATURES_LOW, FEATURES_HIGH } = transportState.reg;
    const word = this.transport.get(feature < 32 ? FEATURES_LOW : FEATURES_HIGH);
    return (word & (1 << (feature & 31))) !== 0;
  }

  /** The queue, if the driver may be served through it now. */
  queue(number: number): SplitQueue | undefined {
    return this.isLive ? this.running[number] : undefined;
  }

  /** Memory has come: `length` bytes at `address`. Returns whether a queue has waited for some of it. */
  memoryArrived(address: number, length: number): boolean {
    let waited = false;
    for (const queue of this.running) waited = queue?.awaited.arrives(address, length) === true || waited;
    return waited;
  }

  /** DRIVER_OK without NEEDS_RESET, and a way to memory. */
  get isLive(): boolean {
    const { DRIVER_OK, NEEDS_RESET } = reg.STATUS.fields;
    const status = this.common.get(reg.STATUS);
    return DRIVER_OK.get(status) === 1 && NEEDS_RESET.get(status) === 0 && this.fn.mastering;
  }

  get needsReset(): boolean {
    return this.common.getField(reg.STATUS, reg.STATUS.fields.NEEDS_RESET) === 1;
  }

  /** Shows the driver what was completed on a queue, and interrupts it if it wants that. */
  publish(number: number): void {
    if (this.queue(number)?.publish() !== true) return;
    const { ISR } = transportState.reg;
    this.transport.setField(ISR, ISR.fields.QUEUE, 1);
    this.msix.trigger(this.banks.get(this.bank.VECTOR, number));
  }

  /** The configuration has changed: the driver is to read it again. 2.5.2 */
  configChanged(): void {
    const { CHANGED } = transportState.reg;
    this.transport.set(CHANGED, 1);
    this.interruptForConfig();
  }

  /** The driver did what none may. */
  breaks(): void {
    this.common.setField(reg.STATUS, reg.STATUS.fields.NEEDS_RESET, 1);
    this.interruptForConfig();
  }

  save(): DeviceRecord {
    return this.state.save();
  }

  restore(record: DeviceRecord): void {
    this.state.restore(record);
    this.fn.refresh();
    this.type.restored();
  }

  describe(record: DeviceRecord): readonly (readonly [string, string])[] {
    return this.state.describe(record);
  }

  private interruptForConfig(): void {
    if (this.common.getField(reg.STATUS, reg.STATUS.fields.DRIVER_OK) === 0) return;
    const { ISR } = transportState.reg;
    this.transport.setField(ISR, ISR.fields.CONFIG, 1);
    this.msix.trigger(this.common.get(reg.CONFIG_VECTOR));
  }

  // -------------------------------------------------------------------------------------------------------------------
  // BARs

  private readBar(bar: number, offset: number, size: number): number {
    if (bar === MSIX_BAR) return this.msix.window.read(offset, size);
    if (offset >= NOTIFY_AT) return 0;
    if (offset >= DEVICE_AT) {
      const within = offset - DEVICE_AT;
      return within + size <= this.type.config.table.bytes ? this.type.config.read(within, size) : 0;
    }
    if (offset >= ISR_AT)
      return offset === ISR_AT ? this.transport.read(transportState.reg.ISR.offset, 1) : 0;
    return offset - COMMON_AT < commonConfig.bytes ? this.common.read(offset - COMMON_AT, size) : 0;
  }

  private writeBar(bar: number, offset: number, size: number, value: number): void {
    if (bar === MSIX_BAR) this.msix.window.write(offset, size, value);
    else if (offset >= NOTIFY_AT) this.doorbell((offset - NOTIFY_AT) / NOTIFY_MULTIPLIER);
    else if (offset < COMMON_AT + commonConfig.bytes) this.common.write(offset - COMMON_AT, size, value);
  }

  private doorbell(queue: number): void {
    if (Number.isInteger(queue) && queue < this.type.queues) this.type.notified(queue);
  }

  /** An access that the configuration window describes; one to nowhere gives undefined. */
  private throughWindow<T>(access: (bar: number, offset: number, size: number) => T): T | undefined {
    const { BAR, OFFSET, BYTES } = virtioLayout.cap.window;
    const [index, offset, size] = [BAR, OFFSET, BYTES].map((register) => this.fn.config.get(register));
    const bar = virtioBars.find((one) => one.index === index);
    const sound = (size === 1 || size === 2 || size === 4) && offset! % size === 0;
    return bar !== undefined && sound && offset! + size! <= bar.bytes
      ? access(bar.index, offset!, size!)
      : undefined;
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Status and features

  private statusWritten(before: number): void {
    const { FEATURES_OK, DRIVER_OK } = reg.STATUS.fields;
    const status = this.common.get(reg.STATUS);
    if ((status & ~reg.STATUS.fields.NEEDS_RESET.mask) === 0) {
      this.deviceReset();
      return;
    }
    const accepted = FEATURES_OK.get(status) === 1 && FEATURES_OK.get(before) === 0;
    // Without the modern interface there is none: the driver is refused by not seeing the bit again.
    if (accepted && !this.has(F_VERSION_1)) this.common.setField(reg.STATUS, FEATURES_OK, 0);
    else if (accepted) this.type.negotiated();
    if (DRIVER_OK.get(status) === 1 && DRIVER_OK.get(before) === 0) this.type.started();
  }

  /** The half of the accepted features that the driver looks at. */
  private accepted(): number {
    const { FEATURES_LOW, FEATURES_HIGH } = transportState.reg;
    const select = this.common.get(reg.DRIVER_FEATURE_SELECT);
    return select > 1 ? 0 : this.transport.get(select === 0 ? FEATURES_LOW : FEATURES_HIGH);
  }

  /** Features that were not offered can't be accepted, and none once the driver is past that. */
  private accept(): void {
    const { FEATURES_LOW, FEATURES_HIGH } = transportState.reg;
    const select = this.common.get(reg.DRIVER_FEATURE_SELECT);
    const late = this.common.getField(reg.STATUS, reg.STATUS.fields.FEATURES_OK) === 1;
    if (select > 1 || late) return;
    const wanted = this.common.get(reg.DRIVER_FEATURE) & this.offered[select]!;
    this.transport.set(select === 0 ? FEATURES_LOW : FEATURES_HIGH, wanted >>> 0);
  }

  /** Reading it is when a change becomes visible. */
  private readGeneration(): number {
    const { CHANGED } = transportState.reg;
    const generation = (this.common.get(reg.GENERATION) + this.transport.get(CHANGED)) & 0xff;
    this.transport.set(CHANGED, 0);
    this.common.set(reg.GENERATION, generation);
    return generation;
  }

  private judgeVector(register: typeof reg.CONFIG_VECTOR | typeof reg.QUEUE_VECTOR): void {
    if (this.common.get(register) >= VECTORS) this.common.set(register, NO_VECTOR);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Queues

  private get selected(): number {
    return this.common.get(reg.QUEUE_SELECT);
  }

  /** The registers show the selected queue; one that is not there has size 0. */
  private showBank(): void {
    const { common, banks, bank, selected } = this;
    const there = selected < this.type.queues;
    common.set(reg.QUEUE_SIZE, there ? banks.get(bank.SIZE, selected) : 0);
    common.set(reg.QUEUE_VECTOR, there ? banks.get(bank.VECTOR, selected) : NO_VECTOR);
    common.set(reg.QUEUE_ENABLE, there ? banks.get(bank.ENABLE, selected) : 0);
    const halves = (register: typeof bank.DESCRIPTORS): readonly [number, number] =>
      there ? [banks.get(register, selected), banks.getHigh(register, selected)] : [0, 0];
    common.set(reg.QUEUE_DESCRIPTORS, halves(bank.DESCRIPTORS));
    common.set(reg.QUEUE_DRIVER, halves(bank.DRIVER));
    common.set(reg.QUEUE_DEVICE, halves(bank.DEVICE));
  }

  /** Takes over what the driver set of the selected queue, unless that is in use; its vector may change at any time. */
  private storeBank(): void {
    const { common, banks, bank, selected } = this;
    if (selected < this.type.queues) {
      banks.set(bank.VECTOR, common.get(reg.QUEUE_VECTOR), selected);
      if (banks.get(bank.ENABLE, selected) === 0) {
        const size = common.get(reg.QUEUE_SIZE);
        if (isQueueSize(size)) banks.set(bank.SIZE, size, selected);
        banks.set(
          bank.DESCRIPTORS,
          [common.get(reg.QUEUE_DESCRIPTORS), common.getHigh(reg.QUEUE_DESCRIPTORS)],
          selected,
        );
        banks.set(bank.DRIVER, [common.get(reg.QUEUE_DRIVER), common.getHigh(reg.QUEUE_DRIVER)], selected);
        banks.set(bank.DEVICE, [common.get(reg.QUEUE_DEVICE), common.getHigh(reg.QUEUE_DEVICE)], selected);
      }
    }
    this.showBank();
  }

  /** From 0 to 1 only. */
  private enableSelected(): void {
    const { selected } = this;
    if (selected < this.type.queues && this.common.get(reg.QUEUE_ENABLE) === 1) {
      this.banks.set(this.bank.ENABLE, 1, selected);
      this.running[selected] ??= this.queueOf(selected);
    }
    this.showBank();
  }

  private queueOf(number: number): SplitQueue {
    const { banks, bank } = this;
    const address = (register: typeof bank.DESCRIPTORS) =>
      iovaOf(banks.get(register, number), banks.getHigh(register, number));
    return new SplitQueue(
      this.fn,
      this.waits,
      {
        size: banks.get(bank.SIZE, number),
        descriptors: address(bank.DESCRIPTORS),
        driver: address(bank.DRIVER),
        device: address(bank.DEVICE),
      },
      banks.get(bank.LAST_AVAILABLE, number),
      banks.get(bank.USED, number),
    );
  }

  /** The banks with how far each queue has come; a queue that was enabled goes on from there. */
  private queueSection(): StateSection {
    const { banks, bank } = this;
    const registers = registerSection('queues', banks);
    return {
      name: registers.name,
      describe: (bytes) => registers.describe(bytes),
      save: () => {
        this.running.forEach((queue, number) => {
          banks.set(bank.LAST_AVAILABLE, queue?.lastAvailable ?? 0, number);
          banks.set(bank.USED, queue?.used ?? 0, number);
        });
        return registers.save();
      },
      restore: (bytes) => {
        const before = banks.save();
        const problem = registers.restore(bytes) ?? this.problemOfBanks();
        if (problem !== undefined) {
          banks.restore(before);
          return problem;
        }
        for (let number = 0; number < this.type.queues; number++) {
          this.running[number] = banks.get(bank.ENABLE, number) === 1 ? this.queueOf(number) : undefined;
        }
        return undefined;
      },
    };
  }

  private problemOfBanks(): string | undefined {
    const { banks, bank } = this;
    for (let number = 0; number < this.type.queues; number++) {
      const size = banks.get(bank.SIZE, number);
      if (!isQueueSize(size)) return `queue ${number} has ${size} entries`;
      const vector = banks.get(bank.VECTOR, number);
      if (vector !== NO_VECTOR && vector >= VECTORS) return `queue ${number} has vector ${vector}`;
    }
    return undefined;
  }
}

/** Split rings have a power of two of entries. 2.7 */
const isQueueSize = (size: number): boolean =>
  size > 0 && size <= QUEUE_SIZE_MAX && (size & (size - 1)) === 0;

function wordsOf(features: readonly number[]): readonly [low: number, high: number] {
  const words: [number, number] = [0, 0];
  for (const feature of features) words[feature >>> 5]! |= 1 << (feature & 31);
  return [words[0] >>> 0, words[1] >>> 0];
}
