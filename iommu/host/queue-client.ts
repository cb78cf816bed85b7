/**
 * The driver's side of the invalidation queue: fill descriptors, ring the tail, wait for the status word. When
 * `submit` returns, everything it asked for has taken effect and all DMA that used older translations is visible.
 */
import { type Bits, compose } from '../../base/bits.js';
import * as d from '../descriptors.js';
import { iommuErrors } from '../errors.js';
import type { HostRegion } from '../host-memory.js';
import { ADDRESS_MASK_MAX, reg } from '../registers.js';
import type { TablePages } from './table-pages.js';
import type { UnitPort, WaitForWord } from './unit-port.js';

/** Values of the status word. */
const PENDING = 1;
const DONE = 2;
/** One page of 32-byte descriptors, as the format of scalable mode has it. */
const SLOTS = 4096 / d.WIDE_DESCRIPTOR_BYTES;
const SLOT_WORDS = d.WIDE_DESCRIPTOR_BYTES / 4;

type Descriptor = readonly number[];
const build = <T>(fields: Bits<T>, values: Partial<Record<keyof T, number>>): Descriptor =>
  compose(fields, SLOT_WORDS, values);

/** A range of one domain as one page-selective descriptor can name it, or undefined if none can. */
export function addressMask(first: number, end: number): { page: number; mask: number } | undefined {
  const firstPage = Math.floor(first / 4096);
  const lastPage = Math.ceil(end / 4096) - 1;
  for (let mask = 0; mask <= ADDRESS_MASK_MAX; mask++) {
    const span = 2 ** mask;
    if (Math.floor(firstPage / span) === Math.floor(lastPage / span)) {
      return { page: firstPage - (firstPage % span), mask };
    }
  }
  return undefined;
}

export const descriptors = {
  pasid: (domain: number, pasid: number): Descriptor =>
    build(d.pasidCacheDescriptor, {
      TYPE: d.TYPE_PASID_CACHE,
      G: d.PASID_CACHE_PASID,
      DID: domain,
      PASID: pasid,
    }),
  domain: (domain: number): Descriptor =>
    build(d.iotlbDescriptor, { TYPE: d.TYPE_IOTLB, G: d.DOMAIN_SELECTIVE, DW: 1, DR: 1, DID: domain }),
  /** Page-selective where the range fits one descriptor, else the whole domain. `leafOnly` is the hint. */
  range: (domain: number, first: number, end: number, leafOnly: boolean): Descriptor => {
    const fit = addressMask(first, end);
    if (fit === undefined) return descriptors.domain(domain);
    return build(d.iotlbDescriptor, {
      TYPE: d.TYPE_IOTLB,
      G: d.SELECTIVE,
      DW: 1,
      DR: 1,
      DID: domain,
      AM: fit.mask,
      IH: leafOnly ? 1 : 0,
      ADDR: fit.page,
    });
  },
  interruptEntry: (index: number): Descriptor =>
    build(d.interruptEntryDescriptor, { TYPE: d.TYPE_INTERRUPT_ENTRY, G: 1, IIDX: index }),
};

export class QueueClient {
  /** Submissions that completed; for statistics. */
  completed = 0;

  private readonly unit: UnitPort;
  private readonly region: HostRegion;
  private readonly wait: WaitForWord;
  private readonly base: number;
  private readonly statusAddress: number;
  private tail = 0;

  constructor(unit: UnitPort, pages: TablePages, wait: WaitForWord) {
    this.unit = unit;
    this.region = pages.region;
    this.wait = wait;
    this.base = pages.take();
    this.statusAddress = pages.take();
    this.writeQuad(reg.IQT.offset, 0);
    this.writeQuad(reg.IQA.offset, this.base + reg.IQA.fields.DW.mask);
  }

  /** Submits and waits. Throws `iommu/unit-error` if the unit stops; its caches are then in an unknown state. */
  submit(...work: readonly Descriptor[]): void {
    const { words } = this.region;
    const status = this.region.index(this.statusAddress);
    Atomics.store(words, status, PENDING);
    for (const descriptor of work) this.put(descriptor);
    this.put(
      build(d.waitDescriptor, {
        TYPE: d.TYPE_WAIT,
        SW: 1,
        DATA: DONE,
        ADDR_LOW: (this.statusAddress % 2 ** 32) / 4,
        ADDR_HIGH: Math.floor(this.statusAddress / 2 ** 32),
      }),
    );
    // Only the low half starts the unit, and the high half is always zero.
    this.unit.write(reg.IQT.offset, 4, this.tail * d.WIDE_DESCRIPTOR_BYTES);
    while (Atomics.load(words, status) !== DONE) {
      const { IQE, ITE } = reg.FSTS.fields;
      const failed = this.unit.read(reg.FSTS.offset, 4);
      if (IQE.get(failed) === 1) throw this.failure('it rejected an invalidation descriptor', failed);
      if (ITE.get(failed) === 1) throw this.failure('a device did not complete an invalidation', failed);
      if (!this.wait(words, status, PENDING) && Atomics.load(words, status) !== DONE) {
        throw this.failure('an invalidation did not complete', failed);
      }
    }
    this.completed++;
  }

  private put(descriptor: Descriptor): void {
    const first = this.region.index(this.base) + this.tail * SLOT_WORDS;
    for (let i = 0; i < SLOT_WORDS; i++) this.region.words[first + i] = descriptor[i]!;
    this.tail = (this.tail + 1) % SLOTS;
  }

  private writeQuad(offset: number, value: number): void {
    this.unit.write(offset, 4, value % 2 ** 32);
    this.unit.write(offset + 4, 4, Math.floor(value / 2 ** 32));
  }

  private failure(problem: string, status: number): Error {
    return iommuErrors.error('unit-error', { problem, status: `0x${status.toString(16)}` });
  }
}
