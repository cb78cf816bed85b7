/**
 * The IOTLB: leaf translations, kept until invalidated or displaced (VT-d 6.2). Set-associative over one Int32Array,
 * so that a hit touches a cache line or two of the host and allocates nothing.
 *
 * An entry is tagged with source id, domain id and PASID, the kind of its translation and its page size. Beside the
 * permissions it holds whether a write may pass without touching the tables: that is the cached dirty state. An entry
 * filled from a clean leaf lacks it, so the first write walks and sets the bit; an entry filled from a dirty leaf has
 * it, and keeps it after software cleared the bit in memory, until software invalidates.
 */

/** Rights of an entry, and what a request needs; a request hits if the entry has all of them. */
export const RIGHT_READ = 1;
export const RIGHT_WRITE = 2;
export const RIGHT_EXECUTE = 4;
/** Usable by requests that are not privileged. */
export const RIGHT_USER = 8;
/** Writes need no dirty bit set: the leaf was dirty, or nobody tracks. */
export const RIGHT_DIRTY = 16;

/** `pasid` of requests and entries without one. */
export const NO_PASID = 0x10_0000;

/** Kinds: second-stage translations (also those of the outer stage of nesting), and first-stage or nested ones. */
export const KIND_SECOND = 0;
export const KIND_FIRST = 1;

const KIND_SHIFT = 21;
const SIZE_SHIFT = 22;
const VALID = 1 << 24;
const PASID_MASK = 0x1f_ffff;

/** 4 KiB, 2 MiB, 1 GiB, as pages of 4 KiB. */
const SIZE_PAGES = [1, 512, 512 * 512];

const WAYS = 4;
const STRIDE = 8;
const TAG = 0;
const KEY = 1;
const PAGE_LOW = 2;
const PAGE_HIGH = 3;
const TARGET_LOW = 4;
const TARGET_HIGH = 5;
const RIGHTS = 6;

export const sourceTag = (source: number, domain: number): number => source | (domain << 16) | 0;
export const entryKey = (pasid: number, kind: number): number => pasid | (kind << KIND_SHIFT) | VALID;
/** Spreads the entries of different sources and PASIDs over the sets. */
export const entrySeed = (tag: number, key: number): number => {
  const mixed = Math.imul(tag ^ Math.imul(key, 0x85ebca6b), 0x9e3779b1);
  return mixed ^ (mixed >>> 15);
};

export class Iotlb {
  /** Entries in use, by size; a size without entries is not looked for. */
  private readonly count = new Int32Array(3);
  private readonly entries: Int32Array;
  private readonly setMask: number;
  private victim = 0;

  /** `sets` is a power of two; four ways each. */
  constructor(sets = 1024) {
    this.entries = new Int32Array(sets * WAYS * STRIDE);
    this.setMask = sets - 1;
  }

  /** Entries in use. */
  get size(): number {
    return this.count[0]! + this.count[1]! + this.count[2]!;
  }

  /**
   * Index of the entry that translates page (pageHigh, pageLow), a number of 4 KiB pages in two halves, and has all
   * `rights`; or -1.
   */
  find(tag: number, key: number, seed: number, pageLow: number, pageHigh: number, rights: number): number {
    const { count } = this;
    if (count[0] !== 0) {
      const found = this.probe(tag, key, seed, pageLow, pageHigh, rights);
      if (found >= 0) return found;
    }
    if (count[1] !== 0) {
      const low = (pageLow >>> 9) | (pageHigh << 23);
      const found = this.probe(tag, key | (1 << SIZE_SHIFT), seed, low, pageHigh >>> 9, rights);
      if (found >= 0) return found;
    }
    if (count[2] !== 0) {
      const low = (pageLow >>> 18) | (pageHigh << 14);
      return this.probe(tag, key | (2 << SIZE_SHIFT), seed, low, pageHigh >>> 18, rights);
    }
    return -1;
  }

  /** Address in host memory that the entry at `index` gives for page `pageLow`, without the offset in the page. */
  target(index: number, pageLow: number): number {
    const { entries } = this;
    const size = this.sizeOf(index);
    const within = size === 0 ? 0 : size === 1 ? pageLow & 0x1ff : pageLow & 0x3_ffff;
    return (entries[index + TARGET_HIGH]! * 2 ** 32 + (entries[index + TARGET_LOW]! >>> 0) + within) * 4096;
  }

  /** 4 KiB pages from `pageLow` to the end of the entry's page. */
  pagesLeft(index: number, pageLow: number): number {
    const pages = SIZE_PAGES[this.sizeOf(index)]!;
    return pages - (pageLow & (pages - 1));
  }

  /** Size of the entry's page: 0, 1, 2 for 4 KiB, 2 MiB, 1 GiB. */
  sizeOf(index: number): number {
    return (this.entries[index + KEY]! >>> SIZE_SHIFT) & 3;
  }

  rights(index: number): number {
    return this.entries[index + RIGHTS]!;
  }

  /**
   * Keeps a translation. `size` 0, 1, 2 for 4 KiB, 2 MiB, 1 GiB; `target` is the host page number of the first 4 KiB
   * of the whole page.
   */
  insert(
    tag: number,
    key: number,
    seed: number,
    pageLow: number,
    pageHigh: number,
    size: number,
    target: number,
    rights: number,
  ): void {
    const low =
      size === 0
        ? pageLow
        : size === 1
          ? (pageLow >>> 9) | (pageHigh << 23)
          : (pageLow >>> 18) | (pageHigh << 14);
    const high = pageHigh >>> (size * 9);
    const fullKey = key | (size << SIZE_SHIFT);
    const { entries } = this;
    const set = this.setOf(low, seed);
    let slot = -1;
    for (let at = set; at < set + WAYS * STRIDE; at += STRIDE) {
      if (entries[at + KEY] === 0) {
        if (slot < 0) slot = at;
      } else if (
        entries[at + TAG] === tag &&
        entries[at + KEY] === fullKey &&
        entries[at + PAGE_LOW] === low &&
        entries[at + PAGE_HIGH] === high
      ) {
        slot = at;
        break;
      }
    }
    if (slot < 0) {
      this.victim = (this.victim + 1) & (WAYS - 1);
      slot = set + this.victim * STRIDE;
    }
    if (entries[slot + KEY] !== 0) this.drop(slot);
    this.count[size]!++;
    entries[slot + TAG] = tag;
    entries[slot + KEY] = fullKey;
    entries[slot + PAGE_LOW] = low;
    entries[slot + PAGE_HIGH] = high;
    entries[slot + TARGET_LOW] = (target % 2 ** 32) | 0;
    entries[slot + TARGET_HIGH] = Math.floor(target / 2 ** 32);
    entries[slot + RIGHTS] = rights;
  }

  invalidateAll(): void {
    this.entries.fill(0);
    this.count.fill(0);
  }

  invalidateDomain(domain: number): void {
    if (this.size === 0) return;
    const { entries } = this;
    for (let at = 0; at < entries.length; at += STRIDE) {
      if (entries[at + KEY] !== 0 && entries[at + TAG]! >>> 16 === domain) this.drop(at);
    }
  }

  /**
   * Page-selective invalidation of a domain (VT-d 6.5.2.3): second-stage entries that overlap the `pages` pages from
   * `page`, and, because they depend on second-stage entries in ways nobody tracks, all first-stage and nested ones.
   */
  invalidatePages(domain: number, page: number, pages: number): void {
    if (this.size === 0) return;
    const { entries } = this;
    for (let at = 0; at < entries.length; at += STRIDE) {
      if (entries[at + KEY] === 0 || entries[at + TAG]! >>> 16 !== domain) continue;
      if (this.isKind(at, KIND_FIRST) || this.overlaps(at, page, pages)) this.drop(at);
    }
  }

  /**
   * PASID-based invalidation (VT-d 6.5.2.4): first-stage and nested entries of a domain and PASID, all of them or
   * those that overlap. Requests without PASID were translated, and are tagged, with the one their source stands for.
   */
  invalidatePasid(domain: number, pasid: number, page: number, pages: number): void {
    if (this.size === 0) return;
    const { entries } = this;
    for (let at = 0; at < entries.length; at += STRIDE) {
      if (entries[at + KEY] === 0 || entries[at + TAG]! >>> 16 !== domain) continue;
      if (!this.isKind(at, KIND_FIRST) || (entries[at + KEY]! & PASID_MASK) !== pasid) continue;
      if (this.overlaps(at, page, pages)) this.drop(at);
    }
  }

  private isKind(at: number, kind: number): boolean {
    return ((this.entries[at + KEY]! >>> KIND_SHIFT) & 1) === kind;
  }

  private overlaps(at: number, page: number, pages: number): boolean {
    const { entries } = this;
    const span = SIZE_PAGES[(entries[at + KEY]! >>> SIZE_SHIFT) & 3]!;
    const first = (entries[at + PAGE_HIGH]! * 2 ** 32 + (entries[at + PAGE_LOW]! >>> 0)) * span;
    return first < page + pages && page < first + span;
  }

  private drop(at: number): void {
    this.count[(this.entries[at + KEY]! >>> SIZE_SHIFT) & 3]!--;
    this.entries[at + KEY] = 0;
  }

  private setOf(low: number, seed: number): number {
    return ((low ^ (low >>> 10) ^ seed) & this.setMask) * (WAYS * STRIDE);
  }

  private probe(tag: number, key: number, seed: number, low: number, high: number, rights: number): number {
    const { entries } = this;
    const set = this.setOf(low, seed);
    for (let at = set; at < set + WAYS * STRIDE; at += STRIDE) {
      if (
        entries[at + PAGE_LOW] === low &&
        entries[at + KEY] === key &&
        entries[at + TAG] === tag &&
        entries[at + PAGE_HIGH] === high &&
        (entries[at + RIGHTS]! & rights) === rights
      ) {
        return at;
      }
    }
    return -1;
  }
}
