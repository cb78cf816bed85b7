/**
 * Paging-structure caches (VT-d 6.2.4): where the table of a level lies for a range of addresses, so that a walk can
 * start below the root. They go stale like everything cached: a table that software freed is still walked until an
 * invalidation without the "leaf only" hint.
 */

/** The lowest table (level 1, covers 2 MiB) up to level 4 are kept. */
export const CACHED_LEVELS = 4;

/** Above the bits of an entry key, whose valid bit distinguishes an empty slot. */
const LEVEL_SHIFT = 25;

export class PagingCache {
  private readonly tags: Int32Array;
  private readonly keys: Int32Array;
  private readonly rights: Int32Array;
  private readonly prefixes: Float64Array;
  private readonly tables: Float64Array;
  private readonly mask: number;
  private used = 0;

  /** `entries` is a power of two; direct-mapped. */
  constructor(entries = 512) {
    this.tags = new Int32Array(entries);
    this.keys = new Int32Array(entries);
    this.rights = new Int32Array(entries);
    this.prefixes = new Float64Array(entries);
    this.tables = new Float64Array(entries);
    this.mask = entries - 1;
  }

  /** Slot of the table of `level` for the range `prefix` (address >> bits below that table), or -1. */
  find(tag: number, key: number, level: number, prefix: number): number {
    const slot = this.slot(tag, level, prefix);
    const full = key | (level << LEVEL_SHIFT);
    if (this.keys[slot] !== full || this.tags[slot] !== tag || this.prefixes[slot] !== prefix) return -1;
    return slot;
  }

  table(slot: number): number {
    return this.tables[slot]!;
  }

  /** Rights left over by the entries above. */
  rightsOf(slot: number): number {
    return this.rights[slot]!;
  }

  insert(tag: number, key: number, level: number, prefix: number, table: number, rights: number): void {
    const slot = this.slot(tag, level, prefix);
    this.tags[slot] = tag;
    this.keys[slot] = key | (level << LEVEL_SHIFT);
    this.prefixes[slot] = prefix;
    this.tables[slot] = table;
    this.rights[slot] = rights;
    this.used++;
  }

  invalidateAll(): void {
    if (this.used === 0) return;
    this.keys.fill(0);
    this.used = 0;
  }

  invalidateDomain(domain: number): void {
    if (this.used === 0) return;
    for (let slot = 0; slot < this.keys.length; slot++) {
      if (this.tags[slot]! >>> 16 === domain) this.keys[slot] = 0;
    }
  }

  private slot(tag: number, level: number, prefix: number): number {
    return (
      ((Math.imul((prefix % 2 ** 32) | 0, 0x9e3779b1) ^ Math.imul(tag + level, 0x85ebca6b)) >>> 8) & this.mask
    );
  }
}
