/**
 * Page walks: second stage, first stage, and first stage nested in second (VT-d 3.6 to 3.8, 9.7, 9.8).
 *
 * Tables are somebody else's data: every entry is read once and judged, every address may lead nowhere, and the work
 * is bounded by the number of levels (five, and five for each table access when nested).
 *
 * Accessed and dirty bits are set by compare-and-exchange after all checks of the walk have passed and before its
 * result is used, so that they are visible before the data is. If an entry changed in between, the walk starts again.
 */
import { STAGE_NESTED, STAGE_SECOND, type TranslationContext } from './contexts.js';
import {
  firstStageEntry as first,
  LEVEL_BITS,
  secondStageEntry as second,
  TABLE_ENTRIES,
} from './entries.js';
import { FAULT } from './fault-reasons.js';
import type { HostMemory, HostRegion } from './host-memory.js';
import { type Iotlb, RIGHT_DIRTY, RIGHT_EXECUTE, RIGHT_READ, RIGHT_USER, RIGHT_WRITE } from './iotlb.js';
import { CACHED_LEVELS, type PagingCache } from './paging-cache.js';
import type { VtdFeatures } from './registers.js';

/** What a request does; READ and WRITE together is an atomic operation, none of them a zero-length read. */
export const ACCESS_READ = RIGHT_READ;
export const ACCESS_WRITE = RIGHT_WRITE;
export const ACCESS_EXECUTE = RIGHT_EXECUTE;
export const ACCESS_PRIVILEGED = 8;

/** Interrupt address range, as pages: 0xFEE0_0000 to 0xFEEF_FFFF. */
const INTERRUPT_PAGE_FIRST = 0xfee00;
const INTERRUPT_PAGE_LAST = 0xfeeff;

const LEVELS_MAX = 5;
/** Walks of one request that another thread's table updates may spoil before it is blocked. */
const ATTEMPTS_MAX = 64;

/** 2^(9 n): pages that one entry n levels above the leaf covers. */
const SPAN = Array.from({ length: LEVELS_MAX + 2 }, (_, level) => 2 ** (LEVEL_BITS * level));

export class Walker {
  /** Why the last walk failed. */
  reason = 0;
  /** Result of the last walk: first host page of the page found, its size (0, 1, 2), and its rights. */
  hostPage = 0;
  size = 0;
  rights = 0;

  private readonly memory: HostMemory;
  private readonly iotlb: Iotlb;
  private readonly paging: PagingCache;
  private readonly secondReservedHigh: number;
  private readonly firstReservedHigh: number;

  /** Entries of the walk in progress, from its start to the leaf; second and first stage have their own. */
  private readonly secondPath = new Path();
  private readonly firstPath = new Path();
  private entryLow = 0;
  private entryHigh = 0;

  constructor(memory: HostMemory, iotlb: Iotlb, paging: PagingCache, features: VtdFeatures) {
    this.memory = memory;
    this.iotlb = iotlb;
    this.paging = paging;
    const width = features.hostAddressWidth;
    this.secondReservedHigh = addressBitsBeyond(width) & second.ADDRESS.highMask;
    this.firstReservedHigh = addressBitsBeyond(width) & first.ADDRESS.highMask;
  }

  /** Translates the 4 KiB page `page` (address / 4096) for `access`; false with `reason` if it is blocked. */
  walk(context: TranslationContext, page: number, access: number): boolean {
    const { stage } = context;
    const found =
      stage === STAGE_SECOND ? this.walkSecond(context, page, access) : this.walkFirst(context, page, access);
    return found && this.admitOutput(context, page);
  }

  /** Second-stage walk of `page`, tracked as the context says. */
  private walkSecond(context: TranslationContext, page: number, access: number): boolean {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      if (!this.descendSecond(context, page, access)) return false;
      if (context.trackSecond) {
        const dirty = access & ACCESS_WRITE ? second.D.mask : 0;
        const outcome = this.markPath(this.secondPath, second.A.mask, dirty, context.snooped);
        if (outcome === NOT_SNOOPED) return this.fail(FAULT.SS_AD_NOT_SNOOPED);
        if (outcome === CHANGED) continue;
        if ((this.secondPath.leaf() & second.D.mask) === 0) this.rights &= ~RIGHT_DIRTY;
      }
      this.keepPath(this.secondPath, context.tag, context.secondKey, page);
      return true;
    }
    return this.fail(FAULT.SS_ENTRY_ACCESS);
  }

  private descendSecond(context: TranslationContext, page: number, access: number): boolean {
    const { legacy, tag, secondKey } = context;
    const top = context.secondLevels;
    if (page >= SPAN[top]!)
      return this.fail(legacy ? FAULT.ADDRESS_BEYOND_WIDTH : FAULT.SS_ADDRESS_BEYOND_WIDTH);
    let level = top;
    let table = context.secondRoot;
    let rights = RIGHT_READ | RIGHT_WRITE;
    for (let l = 1; l < top && l <= CACHED_LEVELS; l++) {
      const slot = this.paging.find(tag, secondKey, l, Math.floor(page / SPAN[l]!));
      if (slot < 0) continue;
      level = l;
      table = this.paging.table(slot);
      rights = this.paging.rightsOf(slot);
      break;
    }
    const path = this.secondPath;
    path.length = 0;
    for (; ; level--) {
      const address = table + (Math.floor(page / SPAN[level - 1]!) % TABLE_ENTRIES) * 8;
      if (!this.readEntry(address, path)) {
        if (level === top) return this.fail(legacy ? FAULT.CONTEXT_INVALID : FAULT.SS_TOP_ACCESS);
        return this.fail(legacy ? FAULT.PAGING_ENTRY_ACCESS : FAULT.SS_ENTRY_ACCESS);
      }
      const low = this.entryLow;
      rights &= low & (RIGHT_READ | RIGHT_WRITE);
      if (!permits(rights, access)) {
        if (!legacy) return this.fail(FAULT.SS_PERMISSION);
        const write = (access & ACCESS_WRITE) !== 0 && (rights & RIGHT_WRITE) === 0;
        return this.fail(write ? FAULT.WRITE_PERMISSION : FAULT.READ_PERMISSION);
      }
      const leaf = level === 1 || (level <= 3 && (low & second.PS.mask) !== 0);
      const reservedLow = leaf ? SECOND_LEAF_RESERVED[level - 1]! : SECOND_TABLE_RESERVED[level - 1]!;
      if ((low & reservedLow) !== 0 || (this.entryHigh & this.secondReservedHigh) !== 0) {
        return this.fail(legacy ? FAULT.PAGING_ENTRY_RESERVED : FAULT.SS_ENTRY_RESERVED);
      }
      const target = pageOf(low, this.entryHigh & second.ADDRESS.highMask);
      if (leaf) {
        this.hostPage = target;
        this.size = level - 1;
        this.rights = rights | RIGHT_EXECUTE | RIGHT_USER | RIGHT_DIRTY;
        return true;
      }
      table = target * 4096;
      path.leadsTo(level - 1, table, rights);
    }
  }

  private walkFirst(context: TranslationContext, page: number, access: number): boolean {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      if (!this.descendFirst(context, page, access)) return false;
      const { hostPage, size, rights } = this;
      const accessed = first.A.mask | (context.extendedAccessed ? first.EA.mask : 0);
      const dirty = access & ACCESS_WRITE ? first.D.mask : 0;
      if (context.stage === STAGE_NESTED && !this.openPathForWrite(context, accessed, dirty)) return false;
      const outcome = this.markPath(this.firstPath, accessed, dirty, context.snooped);
      if (outcome === NOT_SNOOPED) return this.fail(FAULT.FS_AD_NOT_SNOOPED);
      if (outcome === CHANGED) continue;
      this.keepPath(this.firstPath, context.tag, context.key, page);
      this.hostPage = hostPage;
      this.size = size;
      this.rights = this.firstPath.leaf() & first.D.mask ? rights | RIGHT_DIRTY : rights;
      return context.stage !== STAGE_NESTED || this.nestLeaf(context, page, access);
    }
    return this.fail(FAULT.FS_AD_FAILED);
  }

  private descendFirst(context: TranslationContext, page: number, access: number): boolean {
    const { tag, key } = context;
    const nested = context.stage === STAGE_NESTED;
    const top = context.firstLevels;
    const half = SPAN[top]! / 2;
    if (page >= half && page < 2 ** 52 - half) return this.fail(FAULT.FS_NON_CANONICAL);
    const user = (access & ACCESS_PRIVILEGED) === 0;
    let level = top;
    let table = context.firstRoot;
    let rights = RIGHT_READ | RIGHT_WRITE | RIGHT_EXECUTE | RIGHT_USER;
    for (let l = 1; l < top && l <= CACHED_LEVELS; l++) {
      const slot = this.paging.find(tag, key, l, Math.floor(page / SPAN[l]!));
      if (slot < 0) continue;
      level = l;
      table = this.paging.table(slot);
      rights = this.paging.rightsOf(slot);
      break;
    }
    const path = this.firstPath;
    path.length = 0;
    for (; ; level--) {
      let address = table + (Math.floor(page / SPAN[level - 1]!) % TABLE_ENTRIES) * 8;
      const guestAddress = address;
      if (nested) {
        if (!this.translateSecond(context, Math.floor(address / 4096), ACCESS_READ)) {
          return this.failNested(level === top ? FAULT.NESTED_TOP_READ : FAULT.NESTED_ENTRY_READ);
        }
        address = this.hostPage * 4096 + (address % 4096);
      }
      if (!this.readEntry(address, path)) {
        return this.fail(level === top ? FAULT.FS_TOP_ACCESS : FAULT.FS_ENTRY_ACCESS);
      }
      path.address[path.length - 1] = guestAddress;
      const low = this.entryLow;
      if ((low & first.P.mask) === 0) return this.fail(FAULT.FS_ENTRY_NOT_PRESENT);
      if ((low & first.RW.mask) === 0) rights &= ~RIGHT_WRITE;
      if ((low & first.US.mask) === 0) rights &= ~RIGHT_USER;
      if ((this.entryHigh & first.XD.mask) !== 0) rights &= ~RIGHT_EXECUTE;
      if (user && (rights & RIGHT_USER) === 0) return this.fail(FAULT.FS_USER_PERMISSION);
      if (access & ACCESS_WRITE && (rights & RIGHT_WRITE) === 0 && (user || context.writeProtect)) {
        return this.fail(FAULT.FS_WRITE_PERMISSION);
      }
      if (access & ACCESS_EXECUTE && (rights & RIGHT_EXECUTE) === 0)
        return this.fail(FAULT.FS_EXECUTE_PERMISSION);
      const leaf = level === 1 || (level <= 3 && (low & first.PS.mask) !== 0);
      const reservedLow = leaf ? FIRST_LEAF_RESERVED[level - 1]! : FIRST_TABLE_RESERVED[level - 1]!;
      const reservedHigh = this.firstReservedHigh | (context.noExecute ? 0 : first.XD.mask);
      if ((low & reservedLow) !== 0 || (this.entryHigh & reservedHigh) !== 0) {
        return this.fail(FAULT.FS_ENTRY_RESERVED);
      }
      const target = pageOf(low, this.entryHigh & first.ADDRESS.highMask);
      if (leaf) {
        // Bit 12 of a large leaf is its PAT bit, no address.
        this.hostPage = level === 1 ? target : target - (target % 2);
        this.size = level - 1;
        this.rights = rights;
        return true;
      }
      table = target * 4096;
      path.leadsTo(level - 1, table, rights);
    }
  }

  /**
   * Nested: the unit's own writes to first-stage entries go through the second stage like any write, need its write
   * permission and dirty the page of the table. Only entries that are about to change are opened.
   */
  private openPathForWrite(context: TranslationContext, accessed: number, dirty: number): boolean {
    const path = this.firstPath;
    for (let i = 0; i < path.length; i++) {
      const want = i === path.length - 1 ? accessed | dirty : accessed;
      if ((path.low[i]! & want) === want) continue;
      const address = path.address[i]!;
      if (!this.translateSecond(context, Math.floor(address / 4096), ACCESS_READ | ACCESS_WRITE)) {
        return this.failNested(FAULT.NESTED_ENTRY_WRITE);
      }
      const hostAddress = this.hostPage * 4096 + (address % 4096);
      const region = this.memory.find(hostAddress, 8);
      if (region === undefined) return this.fail(FAULT.FS_AD_FAILED);
      path.region[i] = region;
      path.word[i] = region.index(hostAddress);
    }
    return true;
  }

  /** Sends the first stage's result through the second; the smaller of the two pages is what may be cached. */
  private nestLeaf(context: TranslationContext, page: number, access: number): boolean {
    const { rights, size } = this;
    const guestPage = this.hostPage + (page % SPAN[size]!);
    // What the second stage must allow is the request itself; a zero-length read needs no more than a mapping.
    if (!this.translateSecond(context, guestPage, access & (ACCESS_READ | ACCESS_WRITE))) {
      return this.failNested(FAULT.SS_PERMISSION);
    }
    const combined = Math.min(size, this.size);
    this.hostPage -= page % SPAN[combined]!;
    this.size = combined;
    this.rights &= rights;
    return true;
  }

  /**
   * Second-stage translation of one page inside a nested walk, through the IOTLB. Leaves the host page of exactly this
   * 4 KiB page in `hostPage`, and `size` and `rights` of the mapping.
   */
  private translateSecond(context: TranslationContext, page: number, access: number): boolean {
    const { iotlb } = this;
    const { tag, secondKey, secondSeed } = context;
    const low = (page % 2 ** 32) | 0;
    const high = Math.floor(page / 2 ** 32);
    const needed = access | (access & ACCESS_WRITE ? RIGHT_DIRTY : 0);
    const hit = iotlb.find(tag, secondKey, secondSeed, low, high, needed);
    if (hit >= 0) {
      this.hostPage = iotlb.target(hit, low) / 4096;
      this.size = iotlb.sizeOf(hit);
      this.rights = iotlb.rights(hit);
      return true;
    }
    if (!this.walkSecond(context, page, access)) return false;
    iotlb.insert(tag, secondKey, secondSeed, low, high, this.size, this.hostPage, this.rights);
    this.hostPage += page % SPAN[this.size]!;
    return true;
  }

  /** The result must not reach the interrupt range; a large page that touches it is cached in 4 KiB pieces. */
  private admitOutput(context: TranslationContext, page: number): boolean {
    const last = this.hostPage + SPAN[this.size]! - 1;
    if (last < INTERRUPT_PAGE_FIRST || this.hostPage > INTERRUPT_PAGE_LAST) return true;
    const exact = this.hostPage + (page % SPAN[this.size]!);
    if (exact >= INTERRUPT_PAGE_FIRST && exact <= INTERRUPT_PAGE_LAST) {
      return this.fail(context.legacy ? FAULT.OUTPUT_IN_INTERRUPT_RANGE : FAULT.SM_OUTPUT_IN_INTERRUPT_RANGE);
    }
    this.hostPage = exact;
    this.size = 0;
    return true;
  }

  /** Reads the entry at `address` once, consistently, and adds it to the path; false if nothing answers there. */
  private readEntry(address: number, path: Path): boolean {
    const region = this.memory.find(address, 8);
    if (region === undefined) return false;
    const word = region.index(address);
    let low = Atomics.load(region.words, word);
    let high = Atomics.load(region.words, word + 1);
    // Software changes the low word last; if it changed while the high one was read, the halves may not match.
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const again = Atomics.load(region.words, word);
      if (again === low) break;
      low = again;
      high = Atomics.load(region.words, word + 1);
    }
    this.entryLow = low;
    this.entryHigh = high;
    path.region[path.length] = region;
    path.word[path.length] = word;
    path.low[path.length] = low;
    path.length++;
    return true;
  }

  /** Sets accessed bits along the path and the dirty bit in its leaf, where they are not set already. */
  private markPath(path: Path, accessed: number, dirty: number, snooped: boolean): number {
    for (let i = 0; i < path.length; i++) {
      const want = i === path.length - 1 ? accessed | dirty : accessed;
      const low = path.low[i]!;
      if ((low & want) === want) continue;
      if (!snooped) return NOT_SNOOPED;
      const { words } = path.region[i]!;
      if (Atomics.compareExchange(words, path.word[i]!, low, low | want) !== low) return CHANGED;
      path.low[i] = low | want;
    }
    return MARKED;
  }

  /**
   * Caches the tables that the path went through. Only now, with the accessed bits of its entries set: a later walk
   * that starts below them will not set them.
   */
  private keepPath(path: Path, tag: number, key: number, page: number): void {
    for (let i = 0; i < path.length - 1; i++) {
      const level = path.level[i]!;
      if (level > CACHED_LEVELS) continue;
      this.paging.insert(tag, key, level, Math.floor(page / SPAN[level]!), path.table[i]!, path.rights[i]!);
    }
  }

  private fail(reason: number): false {
    this.reason = reason;
    return false;
  }

  /** A second-stage failure met while walking the first stage. */
  private failNested(permission: number): false {
    if (this.reason === FAULT.SS_PERMISSION) this.reason = permission;
    if (this.reason === FAULT.SS_ADDRESS_BEYOND_WIDTH) this.reason = FAULT.NESTED_ADDRESS_BEYOND_WIDTH;
    return false;
  }
}

const MARKED = 0;
const CHANGED = 1;
const NOT_SNOOPED = 2;

/** The entries one walk used. */
class Path {
  length = 0;
  readonly region = new Array<HostRegion | undefined>(LEVELS_MAX).fill(undefined) as HostRegion[];
  readonly word = new Int32Array(LEVELS_MAX);
  readonly low = new Int32Array(LEVELS_MAX);
  /** Where each entry lies in the address space that the walk's tables are named in. */
  readonly address = new Float64Array(LEVELS_MAX);
  /** The table that each entry but the leaf points to, its level, and the rights left over. */
  readonly table = new Float64Array(LEVELS_MAX);
  readonly level = new Int32Array(LEVELS_MAX);
  readonly rights = new Int32Array(LEVELS_MAX);

  leadsTo(level: number, table: number, rights: number): void {
    const last = this.length - 1;
    this.level[last] = level;
    this.table[last] = table;
    this.rights[last] = rights;
  }

  leaf(): number {
    return this.low[this.length - 1]!;
  }
}

const permits = (rights: number, access: number): boolean => {
  const needed = access & (RIGHT_READ | RIGHT_WRITE);
  return needed === 0 ? rights !== 0 : (rights & needed) === needed;
};

/** Page number out of an entry's address field. */
const pageOf = (low: number, high: number): number => high * 2 ** 20 + (low >>> 12);

const addressBitsBeyond = (width: number): number => (2 ** 32 - 2 ** Math.max(width - 32, 0)) | 0;

/** Low-word bits below the address of a large leaf: 2 MiB at level 2, 1 GiB at level 3. */
const belowLeaf = (level: number): number => 2 ** (12 + LEVEL_BITS * (level - 1)) - 2 ** 12;

/** Second stage: a table entry has no SNP; above level 3 there are no large pages. */
const SECOND_TABLE_RESERVED = [1, 2, 3, 4, 5].map(
  (level) => second.SNP.mask | (level > 3 ? second.PS.mask : 0),
);
const SECOND_LEAF_RESERVED = [0, belowLeaf(2), belowLeaf(3), 0, 0];
/** First stage: bit 12 of a large leaf is PAT. */
const FIRST_TABLE_RESERVED = [1, 2, 3, 4, 5].map((level) => (level > 3 ? first.PS.mask : 0));
const FIRST_LEAF_RESERVED = [0, belowLeaf(2) & ~0x1000, belowLeaf(3) & ~0x1000, 0, 0];
