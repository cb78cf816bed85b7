/**
 * The driver of the unit, as an operating system has one: it builds root, context, PASID and interrupt tables in host
 * memory, programs the registers in the documented order, and never changes a table without the invalidation that the
 * change needs. It reaches the unit through its registers alone and may run in another thread.
 */
import { compose } from '../../base/bits.js';
import {
  PASID_ENTRY_BYTES,
  PASIDS_PER_TABLE,
  PGTT_FIRST_STAGE,
  PGTT_NESTED,
  PGTT_PASS_THROUGH,
  PGTT_SECOND_STAGE,
  pasidDirectoryEntry,
  pasidEntry,
  ROOT_ENTRY_BYTES,
  rootEntry,
  SCALABLE_CONTEXT_BYTES,
  scalableContext,
} from '../entries.js';
import { iommuErrors } from '../errors.js';
import { FAULT_RECORDS, reg } from '../registers.js';
import type { IoPageTable } from './io-page-table.js';
import { descriptors, QueueClient } from './queue-client.js';
import type { TablePages } from './table-pages.js';
import { NEVER_WAIT, type UnitPort, type WaitForWord } from './unit-port.js';

/** A fault as the driver reads it from the unit's records. */
export interface FaultReport {
  readonly source: number;
  readonly reason: number;
  /** Faulting page address; of an interrupt fault, the index of the entry times 2^48. */
  readonly address: number;
  readonly write: boolean;
  readonly pasid: number | undefined;
}

/** What one requester (and PASID) is attached to. */
export type Attachment =
  | { readonly kind: 'first'; readonly domain: number; readonly table: IoPageTable }
  | {
      readonly kind: 'second';
      readonly domain: number;
      readonly table: IoPageTable;
      readonly track: boolean;
    }
  | {
      readonly kind: 'nested';
      readonly domain: number;
      readonly table: IoPageTable;
      readonly track: boolean;
      /** Guest physical address of the first-stage table, and its levels (4 or 5). */
      readonly first: number;
      readonly firstLevels: 4 | 5;
    }
  | { readonly kind: 'pass-through'; readonly domain: number };

/** RID_PASID: the PASID that requests without one stand for. */
const NO_PASID_ENTRY = 0;
/** Domain ids 0 and 1 are kept back, as Linux does: 0 tags nothing, 1 is shared by pass-through. */
const FIRST_DOMAIN = 2;

/** PDTS for a PASID directory of one page: 2^(2+7) entries. */
const DIRECTORY_SIZE_CODE = 2;
const PASIDS = 2 ** (DIRECTORY_SIZE_CODE + 7) * PASIDS_PER_TABLE;

const GLOBAL = reg.GCMD.fields;

export class VtdDriver {
  readonly queue: QueueClient;
  readonly pages: TablePages;
  private readonly unit: UnitPort;
  private readonly root: number;
  /** PASID directory of each known requester. */
  private readonly directories = new Map<number, number>();
  private nextDomain = FIRST_DOMAIN;
  private readonly freeDomains: number[] = [];
  /** Level bits of GCMD that are on; every command repeats them. */
  private levels = 0;

  /** Brings the unit up: queue, root table, translation on. Requesters are blocked until they are attached. */
  constructor(unit: UnitPort, pages: TablePages, wait: WaitForWord = NEVER_WAIT) {
    this.unit = unit;
    this.pages = pages;
    if (this.capability(reg.ECAP.offset, reg.ECAP.fields.SMTS) === 0) {
      const problem = 'the unit has no scalable mode';
      throw iommuErrors.error('refused', { operation: 'driver start', errno: 'EOPNOTSUPP', problem });
    }
    this.queue = new QueueClient(unit, pages, wait);
    this.enable(GLOBAL.QIE.mask);
    this.root = pages.take();
    this.writeQuad(reg.RTADDR.offset, this.root + 2 ** reg.RTADDR.fields.TTM.shift);
    // ESRTPS: setting the pointer invalidates everything that was cached from an older table.
    this.command(GLOBAL.SRTP.mask);
    this.enable(GLOBAL.TE.mask);
  }

  /** Whether tables of the first stage can be used by themselves. */
  get hasFirstStage(): boolean {
    const { SMTS, FSTS } = reg.ECAP.fields;
    return [SMTS, FSTS].every((field) => this.capability(reg.ECAP.offset, field) === 1);
  }

  /** Whether second-stage dirty tracking can be had: the three capabilities that Linux asks for. */
  get canTrackDirty(): boolean {
    const { SMTS, SSADS, SMPWCS } = reg.ECAP.fields;
    return [SMTS, SSADS, SMPWCS].every((field) => this.capability(reg.ECAP.offset, field) === 1);
  }

  takeDomain(): number {
    return this.freeDomains.pop() ?? this.nextDomain++;
  }

  giveDomain(domain: number): void {
    this.freeDomains.push(domain);
  }

  /** Gives requests of `source` (with `pasid`, if given) their translation, replacing what they had. */
  attach(source: number, attachment: Attachment, pasid = NO_PASID_ENTRY): void {
    const at = this.pasidAt(source, pasid);
    this.invalidateEntry(at, pasid);
    const words = pasidWords(attachment);
    const { words: memory } = this.pages.region;
    const index = this.pages.region.index(at);
    for (let i = words.length - 1; i > 0; i--) Atomics.store(memory, index + i, words[i]! | 0);
    // The word with the present bit comes last.
    Atomics.store(memory, index, words[0]! | 0);
  }

  /** Blocks requests of `source` (with `pasid`). When it returns none that was accepted is still under way. */
  detach(source: number, pasid = NO_PASID_ENTRY): void {
    this.invalidateEntry(this.pasidAt(source, pasid), pasid);
  }

  /**
   * Switches dirty tracking of an attached requester, live: the PASID entry's SSADE, then the invalidations that make
   * every cached translation know about it.
   */
  setTracking(source: number, domain: number, on: boolean, pasid = NO_PASID_ENTRY): void {
    const { words } = this.pages.region;
    const index = this.pages.region.index(this.pasidAt(source, pasid));
    if (on) Atomics.or(words, index, pasidEntry.SSADE.mask);
    else Atomics.and(words, index, ~pasidEntry.SSADE.mask);
    this.queue.submit(descriptors.pasid(domain, pasid), descriptors.domain(domain));
  }

  /** Sets the interrupt-remapping table (`entries` a power of two) and turns remapping on. */
  enableInterruptRemapping(table: number, entries: number): void {
    this.writeQuad(reg.IRTA.offset, table + Math.log2(entries) - 1);
    this.command(GLOBAL.SIRTP.mask);
    this.enable(GLOBAL.IRE.mask);
  }

  /** Has the unit send `data` to `address` when it has recorded a fault, until the records are taken. */
  enableFaultEvent(address: number, data: number): void {
    const { unit } = this;
    unit.write(reg.FEDATA.offset, 4, data);
    unit.write(reg.FEADDR.offset, 4, address);
    unit.write(reg.FEUADDR.offset, 4, 0);
    unit.write(reg.FECTL.offset, 4, 0);
  }

  /** The pending faults, oldest record first; clears them as Linux does, from FRI upwards. */
  takeFaults(): FaultReport[] {
    const { unit } = this;
    const reports: FaultReport[] = [];
    const status = unit.read(reg.FSTS.offset, 4);
    const first = reg.FSTS.fields.FRI.get(status);
    for (let i = 0; i < FAULT_RECORDS; i++) {
      const index = (first + i) % FAULT_RECORDS;
      const at = reg.FRCD_HIGH.offset + index * reg.FRCD_HIGH.stride;
      const high = [unit.read(at, 4), unit.read(at + 4, 4)];
      const { F, SID, FR, T1, PP, PV } = reg.FRCD_HIGH.fields;
      if (F.read(high, 0) === 0) break;
      const low = reg.FRCD_LOW.offset + index * reg.FRCD_LOW.stride;
      reports.push({
        source: SID.read(high, 0),
        reason: FR.read(high, 0),
        address: reg.FRCD_LOW.fields.FI.readInPlace([unit.read(low, 4), unit.read(low + 4, 4)], 0),
        write: T1.read(high, 0) === 0,
        pasid: PP.read(high, 0) === 1 ? PV.read(high, 0) : undefined,
      });
      unit.write(at + 4, 4, F.mask);
    }
    unit.write(reg.FSTS.offset, 4, reg.FSTS.fields.PFO.mask);
    return reports;
  }

  private capability(offset: number, field: (typeof reg.ECAP.fields)['SMTS']): number {
    return field.get(this.unit.read(offset + 4 * field.word, 4));
  }

  private command(bit: number): void {
    this.unit.write(reg.GCMD.offset, 4, (this.levels | bit) >>> 0);
    if ((this.unit.read(reg.GSTS.offset, 4) & bit) !== 0) return;
    const status = `0x${this.unit.read(reg.GSTS.offset, 4).toString(16)}`;
    throw iommuErrors.error('unit-error', { problem: 'it did not carry out a global command', status });
  }

  private enable(bit: number): void {
    this.command(bit);
    this.levels |= bit;
  }

  private writeQuad(offset: number, value: number): void {
    this.unit.write(offset, 4, value % 2 ** 32);
    this.unit.write(offset + 4, 4, Math.floor(value / 2 ** 32));
  }

  /** Clears a present PASID entry and everything cached from it; the entry stays intact but for its present bit. */
  private invalidateEntry(at: number, pasid: number): void {
    const { region } = this.pages;
    const index = region.index(at);
    const before = Atomics.and(region.words, index, ~pasidEntry.P.mask);
    if (pasidEntry.P.get(before) === 0) return;
    const domain = pasidEntry.DID.read(region.words, index);
    // The context entry stays as it was. A domain-selective invalidation takes first-stage and nested entries along.
    this.queue.submit(descriptors.pasid(domain, pasid), descriptors.domain(domain));
  }

  /** Address of a PASID entry, with context entry, directory and table made as needed. */
  private pasidAt(source: number, pasid: number): number {
    if (pasid >= PASIDS) {
      const problem = `PASID ${pasid} is beyond the directory's ${PASIDS}`;
      throw iommuErrors.error('refused', { operation: 'attach', errno: 'EINVAL', problem });
    }
    const directory = this.directories.get(source) ?? this.addRequester(source);
    const slot = directory + Math.floor(pasid / PASIDS_PER_TABLE) * 8;
    const table = this.linked(slot, pasidDirectoryEntry.SMPTBLPTR);
    return table + (pasid % PASIDS_PER_TABLE) * PASID_ENTRY_BYTES;
  }

  private addRequester(source: number): number {
    const { region } = this.pages;
    const devfn = source & 0xff;
    const half = devfn >= 0x80 ? ROOT_ENTRY_BYTES / 2 : 0;
    const contexts = this.linked(this.root + (source >>> 8) * ROOT_ENTRY_BYTES + half, rootEntry.CTP);
    const directory = this.pages.take();
    // A directory of one page.
    const words = compose(scalableContext, SCALABLE_CONTEXT_BYTES / 4, {
      P: 1,
      PASIDE: 1,
      PDTS: DIRECTORY_SIZE_CODE,
      PASIDDIRPTR: directory / 4096,
      RID_PASID: NO_PASID_ENTRY,
    });
    const index = region.index(contexts + (devfn & 0x7f) * SCALABLE_CONTEXT_BYTES);
    for (let i = words.length - 1; i >= 0; i--) Atomics.store(region.words, index + i, words[i]! | 0);
    this.directories.set(source, directory);
    return directory;
  }

  /** Follows the pointer entry at `address`, which is made present with a fresh page if it is not. */
  private linked(address: number, pointer: (typeof rootEntry)['CTP']): number {
    const { region } = this.pages;
    const index = region.index(address);
    if ((region.words[index]! & rootEntry.P.mask) !== 0) return pointer.readInPlace(region.words, index);
    const page = this.pages.take();
    Atomics.store(region.words, index + 1, Math.floor(page / 2 ** 32));
    Atomics.store(region.words, index, (page % 2 ** 32) | 0 | rootEntry.P.mask);
    return page;
  }
}

/** The words of a PASID entry. */
function pasidWords(attachment: Attachment): number[] {
  const common = { P: 1, DID: attachment.domain, PWSNP: 1 };
  if (attachment.kind === 'pass-through') {
    return compose(pasidEntry, PASID_ENTRY_BYTES / 4, { ...common, PGTT: PGTT_PASS_THROUGH });
  }
  if (attachment.kind === 'first') {
    const { table } = attachment;
    return compose(pasidEntry, PASID_ENTRY_BYTES / 4, {
      ...common,
      PGTT: PGTT_FIRST_STAGE,
      FSPTPTR: table.root / 4096,
      FSPM: table.levels - 4,
    });
  }
  const { table, track } = attachment;
  const second = { AW: table.levels - 2, SSADE: track ? 1 : 0, SSPTPTR: table.root / 4096 };
  if (attachment.kind === 'second') {
    return compose(pasidEntry, PASID_ENTRY_BYTES / 4, { ...common, ...second, PGTT: PGTT_SECOND_STAGE });
  }
  return compose(pasidEntry, PASID_ENTRY_BYTES / 4, {
    ...common,
    ...second,
    PGTT: PGTT_NESTED,
    FSPTPTR: attachment.first / 4096,
    FSPM: attachment.firstLevels - 4,
  });
}
