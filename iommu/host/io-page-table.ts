/**
 * A page table of devices, of either stage, as the driver keeps it: map, unmap, split, and the range scan for dirty bits.
 *
 * The unit reads these entries and sets accessed and dirty bits in them at any time, from another thread. The rules:
 * an entry becomes valid by the store of its low word, after the high one; it becomes invalid by the low word first;
 * a valid entry is replaced by another valid one only in one 64-bit exchange; bits that hardware sets are cleared by
 * atomic operations on the low word alone.
 */
import { invariant } from '../../base/errors.js';
import { secondStageEntry as entry, LEVEL_BITS, TABLE_ENTRIES } from '../entries.js';
import type { HostRegion } from '../host-memory.js';
import type { DirtySink } from './dirty-sink.js';
import { BLOCK_LEAVES } from './leaf-scanner.js';
import { SECOND_STAGE, type TableFormat } from './table-formats.js';
import type { TablePages } from './table-pages.js';

/** Sizes of leaves at levels 1, 2 and 3. */
export const LEAF_BYTES = [4096, 4096 * 512, 4096 * 512 * 512] as const;

/** Bytes that one entry of each level covers; the last is the reach of a table of five levels. */
const SPANS = Array.from({ length: 7 }, (_, level) => 4096 * 2 ** (LEVEL_BITS * (level - 1)));
const spanOf = (level: number): number => SPANS[level]!;

export class IoPageTable {
  readonly root: number;
  readonly levels: number;
  readonly format: TableFormat;
  private readonly pages: TablePages;
  private readonly region: HostRegion;
  private readonly words: Int32Array;
  private readonly quads: BigInt64Array;
  /** Table pages unlinked since the last invalidation; the unit may still walk them. */
  private unlinked: number[] = [];

  constructor(pages: TablePages, levels: number, format: TableFormat = SECOND_STAGE) {
    this.format = format;
    this.pages = pages;
    this.region = pages.region;
    this.words = pages.region.words;
    this.quads = new BigInt64Array(this.words.buffer);
    this.levels = levels;
    this.root = pages.take();
  }

  /** First address beyond the table's reach. */
  get limit(): number {
    return spanOf(this.levels + 1);
  }

  /** Whether table pages wait for an invalidation that covers non-leaf entries. */
  get hasUnlinked(): boolean {
    return this.unlinked.length > 0;
  }

  /** Called when the unit has forgotten everything it cached of this table before: unlinked pages are free. */
  reclaim(): void {
    for (const page of this.unlinked) this.pages.give(page);
    this.unlinked = [];
  }

  /**
   * Maps [iova, iova + bytes) to host memory from `target`, all multiples of 4 KiB and nothing of it mapped before,
   * with the largest leaves that alignment and `largest` (0, 1, 2) allow. On ENOMEM what was mapped so far stays.
   */
  map(iova: number, target: number, bytes: number, rights: number, largest: number): void {
    for (let done = 0; done < bytes; ) {
      let size = largest;
      while (size > 0 && !fits(LEAF_BYTES[size]!, iova + done, target + done, bytes - done)) size--;
      const leafBytes = LEAF_BYTES[size]!;
      const flags = this.format.leaf(rights) | (size > 0 ? this.format.large : 0);
      const first = this.entryIndex(this.tableFor(iova + done, size + 1), iova + done, size + 1);
      const inTable = TABLE_ENTRIES - (Math.floor((iova + done) / leafBytes) % TABLE_ENTRIES);
      // A larger leaf may become possible further on; the run of this size ends there.
      const next = size < largest ? LEAF_BYTES[size + 1]! : Number.POSITIVE_INFINITY;
      const untilLarger = fitsRelative(next, iova, target) ? next - ((iova + done) % next) : next;
      const count = Math.min(inTable, Math.floor(Math.min(bytes - done, untilLarger) / leafBytes));
      for (let i = 0; i < count; i++) this.setEntry(first + 2 * i, target + done + i * leafBytes, flags);
      done += count * leafBytes;
    }
  }

  /** Unmaps what is mapped in [iova, iova + bytes), which must not cut through a leaf. */
  unmap(iova: number, bytes: number): void {
    this.unmapIn(this.root, this.levels, 0, iova, iova + bytes);
  }

  /**
   * Reports every dirty leaf in [iova, iova + bytes) to `sink`; with `clear`, clears its bit by an atomic operation.
   * Clearing promises nothing until the unit's cached entries are invalidated.
   */
  scanDirty(iova: number, bytes: number, sink: DirtySink, clear: boolean): void {
    this.scanIn(this.root, this.levels, 0, iova, iova + bytes, sink, clear);
  }

  /** Splits all large leaves in [iova, iova + bytes) into 4 KiB ones that keep their state. */
  split(iova: number, bytes: number): void {
    this.splitIn(this.root, this.levels, 0, iova, iova + bytes);
  }

  /** Joins tables that map one contiguous large page with equal rights, the inverse of `split`, up to `largest`. */
  join(iova: number, bytes: number, largest: number): void {
    this.joinIn(this.root, this.levels, 0, iova, iova + bytes, largest);
  }

  /** Number of leaves by size; for tests and statistics. */
  countLeaves(): [number, number, number] {
    const counts: [number, number, number] = [0, 0, 0];
    const visit = (table: number, level: number): void => {
      for (let i = 0; i < TABLE_ENTRIES; i++) {
        const low = this.words[this.region.index(table) + 2 * i]!;
        if ((low & this.format.present) === 0) continue;
        if (level === 1 || (low & this.format.large) !== 0) counts[level - 1]!++;
        else visit(this.targetOf(this.region.index(table) + 2 * i), level - 1);
      }
    };
    visit(this.root, this.levels);
    return counts;
  }

  /** Gives back every page of the table; nothing may use it any more. */
  destroy(): void {
    this.unmap(0, this.limit);
    this.reclaim();
    this.pages.give(this.root);
  }

  private entryIndex(table: number, iova: number, level: number): number {
    return this.region.index(table) + (Math.floor(iova / spanOf(level)) % TABLE_ENTRIES) * 2;
  }

  private targetOf(index: number): number {
    return (
      (this.words[index + 1]! & entry.ADDRESS.highMask) * 2 ** 32 +
      ((this.words[index]! & entry.ADDRESS.mask) >>> 0)
    );
  }

  private setEntry(index: number, address: number, flags: number): void {
    Atomics.store(this.words, index + 1, Math.floor(address / 2 ** 32));
    Atomics.store(this.words, index, (address % 2 ** 32) | 0 | flags);
  }

  private clearEntry(index: number): void {
    Atomics.store(this.words, index, 0);
    Atomics.store(this.words, index + 1, 0);
  }

  /** The table of `level` for `iova`, made if it is not there. */
  private tableFor(iova: number, level: number): number {
    let table = this.root;
    for (let l = this.levels; l > level; l--) {
      const index = this.entryIndex(table, iova, l);
      const low = this.words[index]!;
      if ((low & this.format.present) === 0) {
        const made = this.pages.take();
        this.setEntry(index, made, this.format.rights);
        table = made;
      } else {
        invariant((low & this.format.large) === 0 || l > 3, 'mapping over a large leaf');
        table = this.targetOf(index);
      }
    }
    return table;
  }

  private isLeaf(low: number, level: number): boolean {
    return level === 1 || (level <= 3 && (low & this.format.large) !== 0);
  }

  private unmapIn(table: number, level: number, base: number, start: number, end: number): void {
    const span = spanOf(level);
    const last = Math.min(base + span * TABLE_ENTRIES, end);
    for (let at = Math.max(base, start - ((start - base) % span)); at < last; at += span) {
      const index = this.entryIndex(table, at, level);
      const low = this.words[index]!;
      if ((low & this.format.present) === 0) continue;
      if (this.isLeaf(low, level)) {
        invariant(at >= start && at + span <= end, 'unmapping cuts a leaf');
        this.clearEntry(index);
        continue;
      }
      const child = this.targetOf(index);
      this.unmapIn(child, level - 1, at, start, end);
      if (this.isEmpty(child)) {
        this.clearEntry(index);
        this.unlinked.push(child);
      }
    }
  }

  private isEmpty(table: number): boolean {
    const first = this.region.index(table);
    for (let i = first; i < first + 2 * TABLE_ENTRIES; i += 2)
      if ((this.words[i]! & this.format.present) !== 0) return false;
    return true;
  }

  private scanIn(
    table: number,
    level: number,
    base: number,
    start: number,
    end: number,
    sink: DirtySink,
    clear: boolean,
  ): void {
    const span = spanOf(level);
    const first = Math.max(base, start - ((start - base) % span));
    const last = Math.min(base + span * TABLE_ENTRIES, end);
    const { scanner } = this.pages;
    if (level === 1) {
      const count = Math.ceil((last - first) / span);
      if (count <= 0) return;
      scanner.take(this.entryIndex(table, first, 1), count, clear, this.format.dirty);
      if (scanner.found > 0) {
        sink.masked(first, span, scanner.masks, Math.ceil(count / BLOCK_LEAVES), scanner.found);
      }
      return;
    }
    const blockSpan = span * BLOCK_LEAVES;
    let index = this.entryIndex(table, first, level);
    for (let at = first; at < last; at += span, index += 2) {
      // Looked for only where a block may start, so that tables of anything else are not looked at again and again.
      const blocks =
        (index & (2 * BLOCK_LEAVES - 1)) === 0 && at >= start ? Math.floor((last - at) / blockSpan) : 0;
      const large = blocks === 0 ? 0 : scanner.takeLarge(index, blocks, clear, this.format.dirty);
      if (large > 0) {
        if (scanner.found > 0) sink.masked(at, span, scanner.masks, large, scanner.found);
        at += (large * BLOCK_LEAVES - 1) * span;
        index += 2 * (large * BLOCK_LEAVES - 1);
        continue;
      }
      const low = this.words[index]!;
      if ((low & this.format.present) === 0) continue;
      if (!this.isLeaf(low, level)) {
        this.scanIn(this.targetOf(index), level - 1, at, start, end, sink, clear);
      } else if ((low & this.format.dirty) !== 0) {
        // A leaf that reaches beyond the range keeps its bit: nobody asked about the rest of it.
        if (clear && at >= start && at + span <= end) Atomics.and(this.words, index, ~this.format.dirty);
        sink.leaf(at, span);
      }
    }
  }

  private splitIn(table: number, level: number, base: number, start: number, end: number): void {
    if (level === 1) return;
    const span = spanOf(level);
    const last = Math.min(base + span * TABLE_ENTRIES, end);
    for (let at = Math.max(base, start - ((start - base) % span)); at < last; at += span) {
      const index = this.entryIndex(table, at, level);
      const low = this.words[index]!;
      if ((low & this.format.present) === 0) continue;
      if (this.isLeaf(low, level)) this.splitLeaf(index, level);
      this.splitIn(this.targetOf(index), level - 1, at, start, end);
    }
  }

  /** Replaces a leaf by a table of the next level, whose entries inherit rights, accessed and dirty state. */
  private splitLeaf(index: number, level: number): void {
    const { rights, accessed, dirty, large } = this.format;
    const child = this.pages.take();
    const first = this.region.index(child);
    const step = spanOf(level - 1);
    const quad = index / 2;
    for (;;) {
      const before = Atomics.load(this.quads, quad);
      const low = Number(BigInt.asIntN(32, before));
      const target = this.targetOf(index);
      const flags = (low & (rights | accessed | dirty)) | (level > 2 ? large : 0);
      for (let i = 0; i < TABLE_ENTRIES; i++) this.setEntry(first + 2 * i, target + i * step, flags);
      const replacement = BigInt(child) | BigInt(rights | accessed);
      // Hardware may have set a bit in the leaf since it was read; then the new entries are filled again.
      if (Atomics.compareExchange(this.quads, quad, before, replacement) === before) return;
    }
  }

  private joinIn(
    table: number,
    level: number,
    base: number,
    start: number,
    end: number,
    largest: number,
  ): void {
    if (level === 1) return;
    const span = spanOf(level);
    const last = Math.min(base + span * TABLE_ENTRIES, end);
    for (let at = Math.max(base, start - ((start - base) % span)); at < last; at += span) {
      const index = this.entryIndex(table, at, level);
      const low = this.words[index]!;
      if ((low & this.format.present) === 0 || this.isLeaf(low, level)) continue;
      this.joinIn(this.targetOf(index), level - 1, at, start, end, largest);
      if (level - 1 <= largest && at >= start && at + span <= end) this.joinTable(index, level);
    }
  }

  private joinTable(index: number, level: number): void {
    const child = this.targetOf(index);
    const first = this.region.index(child);
    const target = this.targetOf(first);
    const step = spanOf(level - 1);
    const { present, rights: allRights, large, accessed, dirty } = this.format;
    const rights = this.words[first]! & (allRights | large);
    if ((rights & present) === 0 || target % spanOf(level) !== 0 || ((rights & large) !== 0) !== level > 2)
      return;
    for (let i = 0; i < TABLE_ENTRIES; i++) {
      const at = first + 2 * i;
      if ((this.words[at]! & (allRights | large)) !== rights || this.targetOf(at) !== target + i * step)
        return;
    }
    // The joined leaf counts as dirty: what the unit still caches of the small ones may go on being written.
    const leaf = BigInt(target) | BigInt(rights | large | accessed | dirty);
    const quad = index / 2;
    Atomics.store(this.quads, quad, BigInt.asIntN(64, leaf));
    this.unlinked.push(child);
  }
}

const fits = (leafBytes: number, iova: number, target: number, left: number): boolean =>
  left >= leafBytes && iova % leafBytes === 0 && target % leafBytes === 0;

/** Whether iova and target will be aligned to `leafBytes` at the same place. */
const fitsRelative = (leafBytes: number, iova: number, target: number): boolean =>
  leafBytes !== Number.POSITIVE_INFINITY && (iova - target) % leafBytes === 0;
