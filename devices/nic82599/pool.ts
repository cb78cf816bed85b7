/**
 * A pool: the queues, mailbox, counters and interrupt registers that belong to one virtual function, or to the physical
 * function itself. Everything a guest does to its VF's BAR arrives here.
 */
import type { Scheduler } from '../../base/clock.js';
import { RegisterFile, type RegisterTable } from '../../base/registers.js';
import { FCS_BYTES } from '../ethernet/frame.js';
import type { PciFunction } from '../pci/function.js';
import type { MemoryWaits } from '../pci/memory-waits.js';
import { BringUp, type BringUpStep } from './bring-up.js';
import { InterruptUnit } from './interrupts.js';
import { Mailbox } from './mailbox.js';
import type { SegmentFlags } from './offload.js';
import { DELIVERED, type Delivery, DROPPED, ReceiveQueue, WAITS } from './receive.js';
import type { ReceivedFrame } from './received-frame.js';
import { Reception } from './reception.js';
import { QUEUES_PER_POOL, vfRegisters as reg, VF_VECTORS, vfTable } from './registers.js';
import { type TransmitEngine, type TransmitOwner, TransmitQueue } from './transmit.js';

type VfSpecs = typeof vfTable extends RegisterTable<infer T> ? T : never;

/** What a pool needs of its NIC. */
export interface PoolHost {
  readonly scheduler: Scheduler;
  readonly engine: TransmitEngine;
  readonly waits: MemoryWaits;
  readonly segmentFlags: SegmentFlags;
  /** Registers that a VF sees of the physical function. */
  readonly status: number;
  readonly links: number;
  /** RXMEMWRAP. */
  readonly receiveMemory: number;
  mayReceive(pool: number): boolean;
  maySend(pool: number): boolean;
  hidesVlan(pool: number, queue: number): boolean;
  dropsWithoutDescriptor(pool: number, queue: number): boolean;
  /** What waits in the packet buffer may go on. */
  receiveChanged(): void;
  /** There may be something to send in a queue. */
  doorbell(pool: number, queue: number): void;
  emit(pool: Pool, tag: number): void;
  /** A queue of a pool without a VF has something to report. */
  ownQueueCause(pool: number, queue: number, kind: 'receive' | 'transmit'): void;
  /** Its driver takes what comes, or does not any more. */
  receiverSwitched(pool: number, on: boolean): void;
  /** Its driver has come so far with it since it reset it. */
  broughtUp(pool: number, step: BringUpStep): void;
  mailboxEvent(pool: number, kind: 'request' | 'acknowledge'): void;
  mailboxRevoked(pool: number): void;
  /** A VF was reset: its queues must be stopped and the driver told. */
  functionReset(pool: number): void;
}

export class Pool implements TransmitOwner {
  readonly index: number;
  readonly registers: RegisterFile<VfSpecs>;
  readonly words: Uint32Array;
  readonly receive: readonly ReceiveQueue[];
  readonly transmit: readonly TransmitQueue[];
  readonly mailbox: Mailbox;
  readonly interrupts: InterruptUnit;
  readonly engine: TransmitEngine;
  readonly waits: MemoryWaits;
  /** Whose requester id the queues use. */
  fn: PciFunction;
  /** The pool belongs to a virtual function that exists. */
  hasVf = false;
  /** Quiesced by the hypervisor: no DMA. */
  quiesced = false;
  /** Stopped by the hypervisor: no interrupts either, and nothing changes from inside. Implies `quiesced`. */
  stopped = false;
  /** Sends the message of one of the VF's vectors. */
  trigger: (vector: number) => void = () => {};
  /** Frames for this pool that it did not get, and packets of it that it could not send, by reason. For the host's eyes: no register shows them apart. */
  readonly drops = {
    /** It did not receive: held still, or switched off by its driver. */
    stopped: 0,
    /** Its driver had given it nowhere to put them. */
    noDescriptor: 0,
    /** What its driver asked to send is no packet. */
    malformed: 0,
  };
  private readonly host: PoolHost;
  private readonly bringUp: BringUp;
  private readonly reception: Reception;

  constructor(index: number, host: PoolHost, physicalFunction: PciFunction) {
    this.index = index;
    this.host = host;
    this.engine = host.engine;
    this.waits = host.waits;
    this.bringUp = new BringUp((step) => host.broughtUp(index, step));
    this.reception = new Reception(host.scheduler, (on) => host.receiverSwitched(index, on));
    this.fn = physicalFunction;
    // A ring that is moved, or switched, is another one, wherever it lies.
    const ringChanged = { write: () => this.waits.forget(this.fn) };
    this.registers = new RegisterFile(vfTable, {
      CTRL: { write: (written) => this.controlWritten(written) },
      STATUS: { read: () => host.status },
      LINKS: { read: () => host.links },
      RXMEMWRAP: { read: () => host.receiveMemory },
      FREE_RUNNING_TIMER: { read: () => Math.floor(host.scheduler.now() / 1000) >>> 0 },
      EICR: {
        read: (stored) => this.causesRead(stored),
        write: (written) => this.interrupts.accessed(reg.EICR.fields.CAUSES.get(written)),
      },
      EICS: { write: (written) => this.causesSet(reg.EICS.fields.CAUSES.get(written)) },
      EIMS: {
        write: (written) => {
          this.reception.interruptsEnabled();
          this.interrupts.enable(reg.EIMS.fields.CAUSES.get(written));
        },
      },
      EIMC: { write: (written) => this.interrupts.disable(reg.EIMC.fields.CAUSES.get(written)) },
      MAILBOX: {
        write: (written) => this.mailbox.virtualFunctionWrote(written),
      },
      TDT: { write: (_written, _before, queue) => host.doorbell(index, queue) },
      TDBAL: ringChanged,
      TDBAH: ringChanged,
      TDLEN: ringChanged,
      TDH: ringChanged,
      RDBAL: ringChanged,
      RDBAH: ringChanged,
      RDLEN: ringChanged,
      RDH: ringChanged,
      TXDCTL: {
        write: (_written, _before, queue) => {
          ringChanged.write();
          host.doorbell(index, queue);
        },
      },
      RDT: { write: () => host.receiveChanged() },
      RXDCTL: {
        write: (written, before, queue) => {
          const { ENABLE } = reg.RXDCTL.fields;
          ringChanged.write();
          if (queue === 0 && ENABLE.get(written) !== ENABLE.get(before)) {
            this.reception.queueSwitched(ENABLE.get(written) === 1, this.words[reg.EIMS.word] !== 0);
          }
        },
      },
    });
    this.words = this.registers.words;
    this.receive = Array.from({ length: QUEUES_PER_POOL }, (_, q) => new ReceiveQueue(this, q));
    this.transmit = Array.from({ length: QUEUES_PER_POOL }, (_, q) => new TransmitQueue(this, q));
    this.mailbox = new Mailbox({
      words: this.words,
      stopped: () => this.stopped,
      virtualFunctionEvent: (kind) => host.mailboxEvent(index, kind),
      revoke: () => host.mailboxRevoked(index),
      interrupt: () => this.mailboxCause(),
    });
    this.interrupts = new InterruptUnit({
      registers: {
        words: this.words,
        EICR: reg.EICR.word,
        EIMS: reg.EIMS.word,
        EIAC: reg.EIAC.word,
        EIAM: reg.EIAM.word,
        EITR: reg.EITR.word,
      },
      scheduler: host.scheduler,
      vectors: VF_VECTORS,
      causesOf: (vector) => 1 << vector,
      trigger: (vector) => this.trigger(vector),
    });
  }

  /** BAR 0 read. Parts of a register are read with the whole register's side effects, and writing parts does nothing. */
  read(offset: number, size: number): number {
    return this.registers.read(offset, size);
  }

  write(offset: number, size: number, value: number): void {
    if (size === 4) this.registers.write(offset, size, value);
  }

  /** As `write`, by the driver of the virtual function: what the host and the physical function write are none of its steps. */
  writeByDriver(offset: number, size: number, value: number): void {
    if (size === 4) this.bringUp.wrote(offset, value);
    this.write(offset, size, value);
  }

  private causesRead(stored: number): number {
    this.interrupts.accessed(reg.EICR.fields.CAUSES.get(stored));
    return stored;
  }

  private causesSet(causes: number): void {
    this.interrupts.raise(causes);
    this.interrupts.accessed(causes);
  }

  get maySend(): boolean {
    return !this.quiesced && this.host.maySend(this.index);
  }

  get segmentFlags(): SegmentFlags {
    return this.host.segmentFlags;
  }

  hidesVlan(queue: number): boolean {
    return this.host.hidesVlan(this.index, queue);
  }

  dropsWithoutDescriptor(queue: number): boolean {
    return this.host.dropsWithoutDescriptor(this.index, queue);
  }

  emit(tag: number): void {
    this.host.emit(this, tag);
  }

  /** Its driver has set up a ring for what comes, and the switch lets it have that. */
  get receives(): boolean {
    return (
      !this.quiesced &&
      this.host.mayReceive(this.index) &&
      reg.RXDCTL.fields.ENABLE.get(this.words[reg.RXDCTL.word]!) === 1
    );
  }

  /** Puts a frame into the queue that its hash selects. */
  deliver(received: ReceivedFrame): Delivery {
    if (this.quiesced || !this.host.mayReceive(this.index)) {
      this.drops.stopped++;
      return DROPPED;
    }
    // RQPL: 0 keeps all frames in the first queue.
    const queues = reg.PSRTYPE.fields.QUEUES.get(this.words[reg.PSRTYPE.word]!);
    const queue = this.receive[queues === 0 ? 0 : received.rssQueue]!;
    const outcome = queue.deliver(received);
    if (outcome !== DELIVERED) {
      if (outcome !== WAITS) this.drops.noDescriptor++;
      return outcome;
    }
    this.words[reg.GPRC.word]!++;
    if ((received.frame.bytes[0]! & 1) === 1) this.words[reg.MPRC.word]!++;
    addOctets(this.words, reg.GORC_LSB.word, received.frame.length + FCS_BYTES);
    return DELIVERED;
  }

  /** Counts a frame that was sent. */
  countSent(bytes: number): void {
    this.words[reg.GPTC.word]!++;
    addOctets(this.words, reg.GOTC_LSB.word, bytes + FCS_BYTES);
  }

  receiveCause(queue: number): void {
    if (!this.hasVf) {
      this.host.ownQueueCause(this.index, queue, 'receive');
      return;
    }
    const ivar = this.words[reg.IVAR.word]!;
    const { RX0_VALID, RX0_VECTOR, RX1_VALID, RX1_VECTOR } = reg.IVAR.fields;
    if ((queue === 0 ? RX0_VALID : RX1_VALID).get(ivar) === 0) return;
    this.raiseVector((queue === 0 ? RX0_VECTOR : RX1_VECTOR).get(ivar));
  }

  transmitCause(queue: number): void {
    if (!this.hasVf) {
      this.host.ownQueueCause(this.index, queue, 'transmit');
      return;
    }
    const ivar = this.words[reg.IVAR.word]!;
    const { TX0_VALID, TX0_VECTOR, TX1_VALID, TX1_VECTOR } = reg.IVAR.fields;
    if ((queue === 0 ? TX0_VALID : TX1_VALID).get(ivar) === 0) return;
    this.raiseVector((queue === 0 ? TX0_VECTOR : TX1_VECTOR).get(ivar));
  }

  /**
   * Reset of the VF alone, by VFCTRL or function-level reset. Queue registers stay as they are; the queues are stopped
   * because the switch no longer lets them send or receive.
   */
  functionReset(): void {
    this.registers.reset('function');
    this.interrupts.reset();
    this.clearHiddenState();
    this.host.functionReset(this.index);
  }

  /** Reset of the whole device: everything to its default, and "reset in progress" until the driver says otherwise. */
  deviceReset(): void {
    this.registers.reset('power-on');
    this.interrupts.reset();
    this.clearHiddenState();
    this.mailbox.resetBegins();
  }

  private clearHiddenState(): void {
    this.reception.reset();
    for (const queue of this.transmit) {
      queue.contexts.fill(0);
      queue.segmentsSent = 0;
      queue.awaited.clear();
    }
    for (const queue of this.receive) queue.awaited.clear();
    this.waits.forget(this.fn);
  }

  private controlWritten(written: number): void {
    if (reg.CTRL.fields.RST.get(written) !== 1) return;
    this.functionReset();
    this.bringUp.begins();
  }

  private mailboxCause(): void {
    const misc = this.words[reg.IVAR_MISC.word]!;
    const { VALID, VECTOR } = reg.IVAR_MISC.fields;
    if (VALID.get(misc) === 1) this.raiseVector(VECTOR.get(misc));
  }

  /** Vector 3 fits the field and does not exist. */
  private raiseVector(vector: number): void {
    if (vector < VF_VECTORS) this.interrupts.raise(1 << vector);
  }
}

/** 36-bit counters: the upper register holds four bits. */
function addOctets(words: Uint32Array, lowWord: number, octets: number): void {
  const sum = words[lowWord]! + octets;
  words[lowWord] = sum % 2 ** 32;
  if (sum >= 2 ** 32) words[lowWord + 1] = (words[lowWord + 1]! + 1) & 0xf;
}
