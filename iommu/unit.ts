/**
 * The VT-d unit: registers in front, translation behind. Software programs it through `read` and `write` at register
 * offsets; requesters reach memory through `translate` and send interrupts through `interrupt`.
 */
import type { DeviceRecord, SaveableDevice } from '../base/device-record.js';
import { RegisterFile } from '../base/registers.js';
import { Contexts, MODE_SCALABLE, STAGE_NONE, type TranslationContext } from './contexts.js';
import {
  DESCRIPTOR_BYTES,
  DOMAIN_SELECTIVE,
  GLOBAL,
  SELECTIVE,
  WIDE_DESCRIPTOR_BYTES,
} from './descriptors.js';
import type { DeviceTlb } from './device-tlb.js';
import { COMPLETION_EVENT, EventInterrupt, FAULT_EVENT, PAGE_REQUEST_EVENT } from './event.js';
import { FAULT } from './fault-reasons.js';
import { FaultLog, REQUEST_READ, REQUEST_WRITE } from './faults.js';
import type { HostMemory } from './host-memory.js';
import { InterruptRemapper } from './interrupt-remapping.js';
import type { InterruptSink } from './interrupt-sink.js';
import { InvalidationQueue } from './invalidation-queue.js';
import { Iotlb, RIGHT_DIRTY, RIGHT_USER } from './iotlb.js';
import { PageRequests } from './page-requests.js';
import { PagingCache } from './paging-cache.js';
import {
  ADDRESS_MASK_MAX,
  capabilityValues,
  DEFAULT_FEATURES,
  reg,
  type VtdFeatures,
  type VtdOptions,
  vtdTable,
} from './registers.js';
import { decodeState, describeState, encodeState, VTD_RECORD_VERSION } from './state.js';
import { ACCESS_EXECUTE, ACCESS_PRIVILEGED, ACCESS_READ, ACCESS_WRITE, Walker } from './walk.js';

/** Outcomes of a translation. */
export const TRANSLATED = 0;
/** Blocked: reads are answered Unsupported Request, writes are dropped; the fault is recorded. */
export const BLOCKED = 1;
/** A write into the interrupt range: the request is an interrupt and goes to `interrupt`. */
export const INTERRUPT = 2;

/** What a unit is connected to. */
export interface VtdPorts {
  readonly memory: HostMemory;
  readonly interrupts: InterruptSink;
  /** Needed with the feature `deviceTlb`. */
  readonly deviceTlb?: DeviceTlb;
}

const READ_WRITE = ACCESS_READ | ACCESS_WRITE;
/** Address bits [31:20] of the interrupt range. */
const INTERRUPT_WINDOW = 0xfee;

/** Rights that an access needs of an IOTLB entry, by access bits. */
const NEEDED_RIGHTS = Int32Array.from({ length: 16 }, (_, access) => {
  const user = (access & ACCESS_PRIVILEGED) === 0 ? RIGHT_USER : 0;
  const dirty = (access & ACCESS_WRITE) !== 0 ? RIGHT_DIRTY : 0;
  return (access & (READ_WRITE | ACCESS_EXECUTE)) | user | dirty;
});

export class VtdUnit implements SaveableDevice {
  readonly name: string;
  readonly version = VTD_RECORD_VERSION;
  readonly features: VtdFeatures;
  /** Of the last TRANSLATED request: host address, and bytes from there to the end of the page that maps it. */
  readonly result = new Float64Array(2);

  readonly registers: RegisterFile<unknown>;
  readonly contexts: Contexts;
  readonly iotlb: Iotlb;
  readonly remapper: InterruptRemapper;
  readonly queue: InvalidationQueue;
  readonly faults: FaultLog;
  readonly pageRequests: PageRequests;
  private readonly paging = new PagingCache();
  private readonly walker: Walker;
  private readonly drains: (() => void)[] = [];
  /** GSTS.TES, where translations look at it. */
  private translating = false;
  /** First bit of an address's high word that no host address has. */
  private readonly beyondHost: number;

  constructor(name: string, ports: VtdPorts, options: VtdOptions = {}) {
    const { memory, interrupts, deviceTlb } = ports;
    this.name = name;
    this.features = { ...DEFAULT_FEATURES, ...options };
    this.beyondHost = this.features.hostAddressWidth - 32;
    // The hooks close over parts that are made of the registers; none runs before the constructor is done.
    const registers = new RegisterFile(
      vtdTable,
      {
        GCMD: { write: (written) => this.command(written) },
        CCMD: { write: (_written, _before, _index, half) => half === 1 && this.contextCommand() },
        IOTLB: { write: (_written, _before, _index, half) => half === 1 && this.iotlbCommand() },
        FSTS: { write: () => this.afterFaultStatus() },
        FRCD_HIGH: { write: () => this.faults.settle() },
        FECTL: { write: () => faultEvent.sendPending() },
        IECTL: { write: () => completionEvent.sendPending() },
        PECTL: { write: () => pageRequestEvent.sendPending() },
        ICS: {
          write: () => {
            if (registers.get(reg.ICS) === 0) completionEvent.withdraw();
          },
        },
        PRS: { write: () => this.pageRequests.settle() },
        IQT: {
          write: (_written, _before, _index, half) =>
            half === 0 && this.queue.enabled && this.queue.advance(),
        },
      },
      capabilityValues(this.features),
    );
    this.registers = registers;
    const faultEvent = new EventInterrupt(registers, FAULT_EVENT, interrupts);
    const completionEvent = new EventInterrupt(registers, COMPLETION_EVENT, interrupts);
    const pageRequestEvent = new EventInterrupt(registers, PAGE_REQUEST_EVENT, interrupts);
    this.faults = new FaultLog(registers, faultEvent);
    this.contexts = new Contexts(memory, this.features);
    this.iotlb = new Iotlb();
    this.remapper = new InterruptRemapper(memory, this.faults, interrupts);
    this.walker = new Walker(memory, this.iotlb, this.paging, this.features);
    this.pageRequests = new PageRequests(registers, memory, pageRequestEvent);
    const targets = {
      contexts: this.contexts,
      iotlb: this.iotlb,
      paging: this.paging,
      remapper: this.remapper,
      deviceTlb: this.features.deviceTlb ? deviceTlb : undefined,
      drain: () => this.drain(),
    };
    this.queue = new InvalidationQueue(registers, memory, targets, this.faults, completionEvent);
  }

  /** Register read at `offset`; of 8 bytes the low half, the high one is in `registers.high`. */
  read(offset: number, size: number): number {
    if (this.queue.unfinished) this.queue.advance();
    return this.registers.read(offset, size);
  }

  write(offset: number, size: number, value: number, high = 0): void {
    if (this.queue.unfinished) this.queue.advance();
    this.registers.write(offset, size, value, high);
  }

  /** Calls `drain` whenever writes accepted so far must become visible. */
  onDrain(drain: () => void): void {
    this.drains.push(drain);
  }

  /**
   * Translates one request at the 64-bit address (high, low), both halves as 32-bit integers of either sign. `pasid`
   * is negative for a request without one; `access` is a sum of ACCESS_ bits. Returns TRANSLATED with the host address
   * in `result`, valid up to the end of the page; BLOCKED after recording the fault; or INTERRUPT. Allocates nothing
   * on a hit.
   */
  translate(source: number, pasid: number, low: number, high: number, access: number): number {
    if (pasid < 0 && high === 0 && low >>> 20 === INTERRUPT_WINDOW) {
      if ((access & READ_WRITE) === ACCESS_WRITE) return INTERRUPT;
      return this.refuseInInterruptRange(source, low, access);
    }
    const { result } = this;
    const offset = low & 0xfff;
    // Nothing answers beyond the host's address width; a fault log there is none without translation.
    if (!this.translating) return high >>> this.beyondHost === 0 ? this.passThrough(low, high) : BLOCKED;
    const context = this.contexts.resolve(source, pasid);
    if (context === undefined) return this.blockUnresolved(source, pasid, low, high, access);
    if (pasid >= 0 && (access & (ACCESS_PRIVILEGED | ACCESS_EXECUTE)) !== 0) {
      const reason = refusedMode(context, access);
      if (reason !== 0) return this.block(reason, source, pasid, low, high, access, context.faultsDisabled);
    }
    if (context.stage === STAGE_NONE)
      return this.translateIdentity(context, source, pasid, low, high, access);
    const pageLow = (low >>> 12) | (high << 20);
    const pageHigh = high >>> 12;
    const { iotlb } = this;
    const hit = iotlb.find(
      context.tag,
      context.key,
      context.seed,
      pageLow,
      pageHigh,
      NEEDED_RIGHTS[access & 15]!,
    );
    if (hit < 0) return this.translateByWalk(context, source, pasid, low, high, access);
    result[0] = iotlb.target(hit, pageLow) + offset;
    result[1] = iotlb.pagesLeft(hit, pageLow) * 4096 - offset;
    return TRANSLATED;
  }

  /**
   * Blocks a request to the interrupt range that is no interrupt request: a read, or a write of anything but one dword.
   * Without translation nothing is recorded, as for any other request. The reason is that of a translation which leads
   * into the range: the nearest there is, since none is defined for this.
   */
  refuseInInterruptRange(source: number, low: number, access: number): number {
    if (!this.translating) return BLOCKED;
    const { mode } = this.contexts;
    const reason =
      mode === MODE_SCALABLE ? FAULT.SM_OUTPUT_IN_INTERRUPT_RANGE : FAULT.OUTPUT_IN_INTERRUPT_RANGE;
    return this.block(reason, source, -1, low, 0, access, false);
  }

  /** An interrupt request: the dword `data` written to `address` in the interrupt range by `source`. */
  interrupt(source: number, address: number, data: number): void {
    this.remapper.request(source, address, data);
  }

  /** Power-on state; memory and its tables are left alone. */
  reset(): void {
    this.registers.reset('power-on');
    this.dropCaches();
    this.drain();
    this.faults.next = 0;
    this.contexts.root = 0;
    this.contexts.mode = 0;
    this.queue.base = 0;
    this.queue.bytes = 0;
    this.queue.descriptorBytes = DESCRIPTOR_BYTES;
    this.remapper.table = 0;
    this.remapper.entryCount = 0;
    this.remapper.extended = false;
    this.applyStatus();
  }

  save(): DeviceRecord {
    const { contexts, remapper, queue } = this;
    const latched = {
      rootPage: contexts.root / 4096,
      interruptTablePage: remapper.table / 4096,
      queuePage: queue.base / 4096,
      mode: contexts.mode,
      nextFault: this.faults.next,
      queueSize: queue.bytes === 0 ? 0 : Math.log2(queue.bytes / 4096),
      queueWide: queue.descriptorBytes === WIDE_DESCRIPTOR_BYTES ? 1 : 0,
      interruptTableSize: remapper.entryCount === 0 ? 0 : Math.log2(remapper.entryCount) - 1,
      interruptTableSet: remapper.entryCount === 0 ? 0 : 1,
      extended: remapper.extended ? 1 : 0,
      reserved: 0,
    };
    return { name: this.name, version: this.version, state: encodeState(latched, this.registers) };
  }

  restore(record: DeviceRecord): void {
    const latched = decodeState(record, this.registers);
    const { contexts, remapper, queue } = this;
    contexts.root = latched.rootPage * 4096;
    contexts.mode = latched.mode;
    this.faults.next = latched.nextFault;
    queue.base = latched.queuePage * 4096;
    queue.bytes = 4096 * 2 ** latched.queueSize;
    queue.descriptorBytes = latched.queueWide === 1 ? WIDE_DESCRIPTOR_BYTES : DESCRIPTOR_BYTES;
    remapper.table = latched.interruptTablePage * 4096;
    remapper.entryCount = latched.interruptTableSet === 1 ? 2 ** (latched.interruptTableSize + 1) : 0;
    remapper.extended = latched.extended === 1;
    this.dropCaches();
    this.applyStatus();
  }

  describe(record: DeviceRecord): readonly (readonly [string, string])[] {
    return describeState(record);
  }

  /** Takes over from GSTS what other parts look at. */
  private applyStatus(): void {
    const { registers } = this;
    const { TE, QIE, IRE, CFI } = reg.GSTS.fields;
    const status = registers.get(reg.GSTS);
    this.translating = TE.get(status) === 1;
    this.queue.enabled = QIE.get(status) === 1;
    this.remapper.enabled = IRE.get(status) === 1;
    this.remapper.compatibility = CFI.get(status) === 1;
  }

  private dropCaches(): void {
    this.contexts.invalidateAllContexts();
    this.contexts.invalidateAllPasids();
    this.iotlb.invalidateAll();
    this.paging.invalidateAll();
    this.remapper.invalidateAll();
  }

  private drain(): void {
    for (const drain of this.drains) drain();
  }

  private passThrough(low: number, high: number): number {
    this.result[0] = (high >>> 0) * 2 ** 32 + (low >>> 0);
    this.result[1] = 4096 - (low & 0xfff);
    return TRANSLATED;
  }

  private translateByWalk(
    context: TranslationContext,
    source: number,
    pasid: number,
    low: number,
    high: number,
    access: number,
  ): number {
    const page = (high >>> 0) * 2 ** 20 + (low >>> 12);
    const { walker } = this;
    if (!walker.walk(context, page, access)) {
      return this.block(walker.reason, source, pasid, low, high, access, context.faultsDisabled);
    }
    const { hostPage, size, rights } = walker;
    const pageLow = (low >>> 12) | (high << 20);
    this.iotlb.insert(context.tag, context.key, context.seed, pageLow, high >>> 12, size, hostPage, rights);
    const pages = 2 ** (9 * size);
    const within = page % pages;
    const offset = low & 0xfff;
    this.result[0] = (hostPage + within) * 4096 + offset;
    this.result[1] = (pages - within) * 4096 - offset;
    return TRANSLATED;
  }

  /** Pass-through contexts: the address is the host address, within the width that host addresses have. */
  private translateIdentity(
    context: TranslationContext,
    source: number,
    pasid: number,
    low: number,
    high: number,
    access: number,
  ): number {
    let reason = 0;
    if (high >>> this.beyondHost !== 0) {
      reason = context.legacy ? FAULT.ADDRESS_BEYOND_WIDTH : FAULT.SS_ADDRESS_BEYOND_WIDTH;
    } else if (high === 0 && low >>> 20 === INTERRUPT_WINDOW) {
      reason = FAULT.SM_OUTPUT_IN_INTERRUPT_RANGE;
    }
    if (reason === 0) return this.passThrough(low, high);
    return this.block(reason, source, pasid, low, high, access, context.faultsDisabled);
  }

  private blockUnresolved(source: number, pasid: number, low: number, high: number, access: number): number {
    const { reason, faultsDisabled } = this.contexts;
    return reason === 0 ? BLOCKED : this.block(reason, source, pasid, low, high, access, faultsDisabled);
  }

  private block(
    reason: number,
    source: number,
    pasid: number,
    low: number,
    high: number,
    access: number,
    faultsDisabled: boolean,
  ): number {
    // Atomic operations count as reads.
    const type = (access & READ_WRITE) === ACCESS_WRITE ? REQUEST_WRITE : REQUEST_READ;
    const address = (high >>> 0) * 2 ** 32 + ((low & ~0xfff) >>> 0);
    const privileged = (access & ACCESS_PRIVILEGED) !== 0;
    const execute = (access & ACCESS_EXECUTE) !== 0;
    this.faults.record(reason, source, address, pasid, type, privileged, execute, faultsDisabled);
    return BLOCKED;
  }

  /** GCMD (11.4.4.1): one-shot commands and levels, in the order in which they depend on each other. */
  private command(written: number): void {
    const { registers } = this;
    const { TE, SRTP, QIE, SIRTP, IRE, CFI } = reg.GSTS.fields;
    const status = registers.get(reg.GSTS);
    const levels = TE.mask | QIE.mask | IRE.mask | CFI.mask;
    registers.set(reg.GSTS, ((status & ~levels) | (written & levels)) >>> 0);
    if (TE.get(status) === 1 && TE.get(written) === 0) this.faults.next = 0;
    if (SRTP.get(written) === 1) this.setRootPointer();
    if (QIE.get(written) !== QIE.get(status)) {
      if (QIE.get(written) === 1) this.queue.enable();
      else this.queue.disable();
    }
    if (SIRTP.get(written) === 1) this.setInterruptTable();
    this.applyStatus();
  }

  private setRootPointer(): void {
    const { registers, contexts } = this;
    const { TTM, RTA } = reg.RTADDR.fields;
    contexts.root = RTA.readInPlace(registers.words, reg.RTADDR.word);
    contexts.mode = registers.getField(reg.RTADDR, TTM);
    registers.setField(reg.GSTS, reg.GSTS.fields.SRTP, 1);
    if (!this.features.invalidateOnPointerSet) return;
    contexts.invalidateAllContexts();
    contexts.invalidateAllPasids();
    this.iotlb.invalidateAll();
    this.paging.invalidateAll();
    this.drain();
  }

  private setInterruptTable(): void {
    const { registers, remapper } = this;
    const { S, EIME, IRTA } = reg.IRTA.fields;
    remapper.table = IRTA.readInPlace(registers.words, reg.IRTA.word);
    remapper.entryCount = 2 ** (registers.getField(reg.IRTA, S) + 1);
    remapper.extended = registers.getField(reg.IRTA, EIME) === 1;
    registers.setField(reg.GSTS, reg.GSTS.fields.SIRTP, 1);
    if (this.features.invalidateOnPointerSet) remapper.invalidateAll();
  }

  /** Register-based context-cache invalidation (6.5.1); left busy for good while the queue is in use. */
  private contextCommand(): void {
    const { registers, contexts } = this;
    const { ICC, CIRG, CAIG, DID, SID, FM } = reg.CCMD.fields;
    const field = (name: typeof ICC): number => registers.getField(reg.CCMD, name);
    if (field(ICC) === 0 || this.queue.enabled) return;
    const granularity = field(CIRG);
    if (granularity === GLOBAL) contexts.invalidateAllContexts();
    if (granularity === DOMAIN_SELECTIVE) contexts.invalidateDomainContexts(field(DID));
    if (granularity === SELECTIVE) contexts.invalidateDeviceContexts(field(SID), field(FM), field(DID));
    registers.setField(reg.CCMD, CAIG, granularity);
    registers.setField(reg.CCMD, ICC, 0);
  }

  /** Register-based IOTLB invalidation (6.5.1); an actual granularity of 0 says that nothing was done. */
  private iotlbCommand(): void {
    const { registers, iotlb, paging } = this;
    const { IVT, IIRG, IAIG, DID, DW } = reg.IOTLB.fields;
    const { AM, IH, ADDR } = reg.IVA.fields;
    if (registers.getField(reg.IOTLB, IVT) === 0 || this.queue.enabled) return;
    let granularity = registers.getField(reg.IOTLB, IIRG);
    const domain = registers.getField(reg.IOTLB, DID);
    const mask = registers.getField(reg.IVA, AM);
    if (granularity === GLOBAL) {
      iotlb.invalidateAll();
      paging.invalidateAll();
    } else if (granularity === DOMAIN_SELECTIVE) {
      iotlb.invalidateDomain(domain);
      paging.invalidateDomain(domain);
    } else if (granularity === SELECTIVE && mask <= ADDRESS_MASK_MAX) {
      const page = registers.getField(reg.IVA, ADDR);
      const pages = 2 ** mask;
      iotlb.invalidatePages(domain, page - (page % pages), pages);
      if (registers.getField(reg.IVA, IH) === 0) paging.invalidateDomain(domain);
    } else {
      granularity = 0;
    }
    if (registers.getField(reg.IOTLB, DW) === 1) this.drain();
    registers.setField(reg.IOTLB, IAIG, granularity);
    registers.setField(reg.IOTLB, IVT, 0);
  }

  /** Software cleared bits of FSTS: the queue goes on by itself if an error was what held it. */
  private afterFaultStatus(): void {
    this.faults.settle();
    if (this.queue.enabled) this.queue.advance();
  }
}

/** Privileged and executable requests with PASID need to be allowed by the PASID entry. */
function refusedMode(context: TranslationContext, access: number): number {
  if ((access & ACCESS_EXECUTE) !== 0 && !context.executeAllowed) return FAULT.EXECUTE_DISABLED;
  if ((access & ACCESS_PRIVILEGED) !== 0 && !context.supervisorAllowed) return FAULT.SUPERVISOR_DISABLED;
  return 0;
}
