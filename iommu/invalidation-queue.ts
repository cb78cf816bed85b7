/**
 * The invalidation queue (VT-d 6.5.2): software fills descriptors, the tail register starts the unit, wait
 * descriptors say when everything before them has taken effect.
 *
 * The unit carries DMA requests out between descriptors, never during one: when an invalidation is processed, no
 * request that used an older translation is under way in this thread; and with write drain (DW), writes that the bus
 * still held back are visible before the next descriptor is. That is what dirty tracking rests on.
 */
import { bits } from '../base/bits.js';
import type { RegisterFile } from '../base/registers.js';
import type { Contexts } from './contexts.js';
import * as d from './descriptors.js';
import type { DeviceTlb } from './device-tlb.js';
import { breaksReserved, reservedWords } from './entries.js';
import type { EventInterrupt } from './event.js';
import type { FaultLog } from './faults.js';
import type { HostMemory } from './host-memory.js';
import type { InterruptRemapper } from './interrupt-remapping.js';
import type { Iotlb } from './iotlb.js';
import type { PagingCache } from './paging-cache.js';
import { ADDRESS_MASK_MAX, reg } from './registers.js';

export interface InvalidationTargets {
  readonly contexts: Contexts;
  readonly iotlb: Iotlb;
  readonly paging: PagingCache;
  readonly remapper: InterruptRemapper;
  readonly deviceTlb: DeviceTlb | undefined;
  /** Makes every DMA write that was accepted so far visible. */
  readonly drain: () => void;
}

const status = reg.FSTS.fields;
const queueAddress = reg.IQA.fields;

/** Type field and its extension, common to all descriptors. */
const common = bits({ TYPE: [0, 4] });

type DescriptorFields = Parameters<typeof reservedWords>[0];
const reservedOf = (fields: DescriptorFields): Uint32Array => reservedWords(fields, 8, 64);
const RESERVED: readonly (Uint32Array | undefined)[] = [
  undefined,
  reservedOf(d.contextDescriptor),
  reservedOf(d.iotlbDescriptor),
  reservedOf(d.deviceTlbDescriptor),
  reservedOf(d.interruptEntryDescriptor),
  reservedOf(d.waitDescriptor),
  reservedOf(d.pasidIotlbDescriptor),
  reservedOf(d.pasidCacheDescriptor),
  reservedOf(d.pasidDeviceTlbDescriptor),
  reservedOf(d.pageGroupResponse),
];

const OF_DEVICE_TLB: readonly number[] = [d.TYPE_DEVICE_TLB, d.TYPE_PASID_DEVICE_TLB];
const OF_SCALABLE_MODE: readonly number[] = [d.TYPE_PASID_IOTLB, d.TYPE_PASID_CACHE, d.TYPE_PASID_DEVICE_TLB];

export class InvalidationQueue {
  enabled = false;
  /** As latched when the queue was enabled. */
  base = 0;
  bytes = 0;
  descriptorBytes = d.DESCRIPTOR_BYTES;
  /** The bound was reached with descriptors left. */
  unfinished = false;

  private readonly registers: RegisterFile<unknown>;
  private readonly memory: HostMemory;
  private readonly targets: InvalidationTargets;
  private readonly faults: FaultLog;
  private readonly completion: EventInterrupt;
  private readonly words = new Uint32Array(8);
  /** Reserved bits by type; a type that the capability registers don't offer is as unknown as one that is not defined. */
  private readonly reserved: readonly (Uint32Array | undefined)[];
  /** A device did not complete: waits up to the current tail are consumed without effect. */
  private aborting = false;
  private running = false;

  constructor(
    registers: RegisterFile<unknown>,
    memory: HostMemory,
    targets: InvalidationTargets,
    faults: FaultLog,
    completion: EventInterrupt,
  ) {
    this.registers = registers;
    this.memory = memory;
    this.targets = targets;
    this.faults = faults;
    this.completion = completion;
    const { DT, PRS, SMTS } = reg.ECAP.fields;
    const offers = (field: typeof DT): boolean => registers.getField(reg.ECAP, field) === 1;
    this.reserved = RESERVED.map((words, type) =>
      (!OF_DEVICE_TLB.includes(type) || offers(DT)) &&
      (!OF_SCALABLE_MODE.includes(type) || offers(SMTS)) &&
      (type !== d.TYPE_PAGE_GROUP_RESPONSE || offers(PRS))
        ? words
        : undefined,
    );
  }

  enable(): void {
    const { registers } = this;
    this.base = queueAddress.IQA.readInPlace(registers.words, reg.IQA.word);
    this.bytes = 4096 * 2 ** registers.getField(reg.IQA, queueAddress.QS);
    this.descriptorBytes =
      registers.getField(reg.IQA, queueAddress.DW) === 1 ? d.WIDE_DESCRIPTOR_BYTES : d.DESCRIPTOR_BYTES;
    registers.set(reg.IQH, 0);
    this.enabled = true;
    this.advance();
  }

  disable(): void {
    this.enabled = false;
    this.registers.set(reg.IQH, 0);
  }

  /**
   * Processes descriptors until head meets tail or one is in error. Bounded by the size of the queue: software that
   * appends as fast as descriptors complete is gone on with when it accesses the unit again.
   */
  advance(): void {
    // A completion interrupt may lead straight back here through the tail register.
    if (this.running) return;
    this.running = true;
    this.process();
    this.running = false;
  }

  private process(): void {
    const { registers } = this;
    this.unfinished = false;
    for (let budget = this.bytes / this.descriptorBytes; budget > 0; budget--) {
      const head = registers.get(reg.IQH);
      const tail = registers.get(reg.IQT);
      const failed = registers.get(reg.FSTS);
      if (!this.enabled || status.IQE.get(failed) === 1) break;
      if (status.ITE.get(failed) === 1 && !this.aborting) break;
      if (head === tail) break;
      const ok =
        tail < this.bytes &&
        tail % this.descriptorBytes === 0 &&
        this.memory.load(this.base + head, this.words, this.descriptorBytes / 4) &&
        this.execute();
      if (!ok) {
        // The head stays at the descriptor in error; software repairs it and clears IQE.
        registers.set(reg.IQERCD, [0, registers.getHigh(reg.IQERCD)]);
        this.faults.raiseError(status.IQE);
        break;
      }
      registers.set(reg.IQH, (head + this.descriptorBytes) % this.bytes);
      this.unfinished = budget === 1 && registers.get(reg.IQH) !== registers.get(reg.IQT);
    }
    this.aborting = false;
  }

  /** Carries out the descriptor in `words`; false if it is malformed. */
  private execute(): boolean {
    const { words, targets } = this;
    if (this.descriptorBytes === d.DESCRIPTOR_BYTES) words.fill(0, 4);
    const type = common.TYPE.get(words[0]!);
    const reserved = this.reserved[type];
    if (reserved === undefined || breaksReserved(words, reserved)) return false;
    switch (type) {
      case d.TYPE_CONTEXT:
        return this.invalidateContexts();
      case d.TYPE_IOTLB:
        return this.invalidateTranslations();
      case d.TYPE_DEVICE_TLB:
        return this.invalidateDevice();
      case d.TYPE_INTERRUPT_ENTRY: {
        const { G, IM, IIDX } = d.interruptEntryDescriptor;
        if (G.read(words, 0) === 0) targets.remapper.invalidateAll();
        else targets.remapper.invalidateIndex(IIDX.read(words, 0), IM.read(words, 0));
        return true;
      }
      case d.TYPE_WAIT:
        return this.wait();
      case d.TYPE_PASID_IOTLB:
        return this.invalidatePasidTranslations();
      case d.TYPE_PASID_CACHE:
        return this.invalidatePasids();
      case d.TYPE_PASID_DEVICE_TLB:
        return this.invalidateDevicePasid();
      default:
        return this.respond();
    }
  }

  private invalidateContexts(): boolean {
    const { words } = this;
    const { contexts } = this.targets;
    const { G, DID, SID, FM } = d.contextDescriptor;
    const domain = DID.read(words, 0);
    switch (G.read(words, 0)) {
      case d.GLOBAL:
        contexts.invalidateAllContexts();
        return true;
      case d.DOMAIN_SELECTIVE:
        contexts.invalidateDomainContexts(domain);
        return true;
      case d.SELECTIVE:
        contexts.invalidateDeviceContexts(SID.read(words, 0), FM.read(words, 0), domain);
        return true;
      default:
        return false;
    }
  }

  private invalidateTranslations(): boolean {
    const { words } = this;
    const { iotlb, paging, drain } = this.targets;
    const { G, DW, DID } = d.iotlbDescriptor;
    const domain = DID.read(words, 0);
    switch (G.read(words, 0)) {
      case d.GLOBAL:
        iotlb.invalidateAll();
        paging.invalidateAll();
        break;
      case d.DOMAIN_SELECTIVE:
        iotlb.invalidateDomain(domain);
        paging.invalidateDomain(domain);
        break;
      case d.SELECTIVE:
        if (!this.dropPages(d.iotlbDescriptor, (page, pages) => iotlb.invalidatePages(domain, page, pages))) {
          return false;
        }
        break;
      default:
        return false;
    }
    if (DW.read(words, 0) === 1) drain();
    return true;
  }

  private invalidatePasidTranslations(): boolean {
    const { words } = this;
    const { iotlb, paging, drain } = this.targets;
    const { G, DID, PASID } = d.pasidIotlbDescriptor;
    const domain = DID.read(words, 0);
    const pasid = PASID.read(words, 0);
    switch (G.read(words, 0)) {
      case d.PASID_ALL_PAGES:
        iotlb.invalidatePasid(domain, pasid, 0, Number.POSITIVE_INFINITY);
        paging.invalidateDomain(domain);
        break;
      case d.PASID_PAGES:
        if (
          !this.dropPages(d.pasidIotlbDescriptor, (page, pages) =>
            iotlb.invalidatePasid(domain, pasid, page, pages),
          )
        ) {
          return false;
        }
        break;
      default:
        return false;
    }
    drain();
    return true;
  }

  /**
   * Page-selective: hands the aligned range of pages to `drop`, and forgets upper tables unless the hint says that only
   * leaves changed. False if the range is larger than CAP.MAMV allows.
   */
  private dropPages(
    { DID, AM, IH, ADDR }: typeof d.iotlbDescriptor | typeof d.pasidIotlbDescriptor,
    drop: (page: number, pages: number) => void,
  ): boolean {
    const { words } = this;
    const mask = AM.read(words, 0);
    if (mask > ADDRESS_MASK_MAX) return false;
    const pages = 2 ** mask;
    const page = ADDR.read(words, 0);
    drop(page - (page % pages), pages);
    if (IH.read(words, 0) === 0) this.targets.paging.invalidateDomain(DID.read(words, 0));
    return true;
  }

  private invalidatePasids(): boolean {
    const { words } = this;
    const { contexts } = this.targets;
    const { G, DID, PASID } = d.pasidCacheDescriptor;
    const domain = DID.read(words, 0);
    switch (G.read(words, 0)) {
      case d.PASID_CACHE_DOMAIN:
        contexts.invalidatePasids(domain, -1);
        return true;
      case d.PASID_CACHE_PASID:
        contexts.invalidatePasids(domain, PASID.read(words, 0));
        return true;
      case d.PASID_CACHE_GLOBAL:
        contexts.invalidateAllPasids();
        return true;
      default:
        return false;
    }
  }

  private invalidateDevice(): boolean {
    const { words } = this;
    const { SID, S, ADDR } = d.deviceTlbDescriptor;
    return this.askDevice(SID.read(words, 0), -1, ADDR.read(words, 0), S.read(words, 0) === 1);
  }

  private invalidateDevicePasid(): boolean {
    const { words } = this;
    const { SID, PASID, S, ADDR } = d.pasidDeviceTlbDescriptor;
    return this.askDevice(
      SID.read(words, 0),
      PASID.read(words, 0),
      ADDR.read(words, 0),
      S.read(words, 0) === 1,
    );
  }

  /** With `sized`, the lowest zero bit of the page number tells the size: 2^(n+1) pages (PCIe 10.3.1). */
  private askDevice(source: number, pasid: number, page: number, sized: boolean): boolean {
    const { deviceTlb } = this.targets;
    if (deviceTlb === undefined) return false;
    let pages = 1;
    if (sized) for (pages = 2; Math.floor(page / (pages / 2)) % 2 === 1; ) pages *= 2;
    // All ones up to bit 62 stand for the whole address space.
    const bytes = pages >= 2 ** 51 ? Number.POSITIVE_INFINITY : pages * 4096;
    const first = bytes === Number.POSITIVE_INFINITY ? 0 : page - (page % pages);
    if (!deviceTlb.invalidate(source, pasid, first * 4096, bytes)) {
      this.registers.setField(reg.IQERCD, reg.IQERCD.fields.ITESID, source);
      this.aborting = true;
      this.faults.raiseError(status.ITE);
    }
    return true;
  }

  private wait(): boolean {
    const { words, registers } = this;
    const { IF, SW, DATA, ADDR_LOW, ADDR_HIGH } = d.waitDescriptor;
    if (this.aborting) return true;
    if (SW.read(words, 0) === 1) {
      const address = ADDR_HIGH.read(words, 0) * 2 ** 32 + ADDR_LOW.readInPlace(words, 0);
      this.memory.store(address, DATA.read(words, 0));
    }
    if (IF.read(words, 0) === 1 && registers.getField(reg.ICS, reg.ICS.fields.IWC) === 0) {
      registers.setField(reg.ICS, reg.ICS.fields.IWC, 1);
      this.completion.raise();
    }
    return true;
  }

  private respond(): boolean {
    const { words } = this;
    const { PP, CODE, RID, PASID, PRGI } = d.pageGroupResponse;
    const { deviceTlb } = this.targets;
    if (deviceTlb === undefined) return false;
    const pasid = PP.read(words, 0) === 1 ? PASID.read(words, 0) : -1;
    deviceTlb.respond(RID.read(words, 0), pasid, PRGI.read(words, 0), CODE.read(words, 0));
    return true;
  }
}
