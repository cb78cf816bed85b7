/**
 * The world of a fuzz run: host memory full of half-plausible tables, and in it a guarded area that tells whether a
 * write went where none may go.
 *
 * Guarded pages lie at host addresses whose upper word nothing else that the run writes ever has. Every 64-bit word
 * that does name one names an even page, and grants writing only to every other one of these. Odd pages are named by
 * nothing, and reserved bits keep large leaves from covering them. So whatever state registers, tables and caches are
 * in, a write to an odd page is wrong, and no knowledge of what the right translation would have been is needed.
 */
import type { SeededRandom } from '../base/random.js';
import { hpa } from '../base/units.js';
import { HostMemory, HostRegion } from './host-memory.js';

const PAGE = 4096;
export const TABLES_BASE = 0x10_0000;
const TABLE_PAGES = 64;
/** The page for what the unit writes by itself: bits that it sets there make no table entry of anything. */
const OWN_PAGE = TABLE_PAGES - 1;
const TABLES_BYTES = TABLE_PAGES * PAGE;

const GUARD_PAGES = 64;
/** Low word of the guarded area: address bits [20:13] of none of its pages are all zero, as a large leaf's must be. */
const GUARD_LOW = 0x6b09_8000;
const ADDRESS_HIGH = 0xf_ffff;
const PATTERN = 0xa7;
const WRITE = 2;
/** R or W of the second stage, P of the first. */
const PRESENT = 3;

/** Upper words of guarded addresses by host address width. */
const GUARD_HIGH: Readonly<Record<number, number>> = { 39: 0x5a, 46: 0x25a5, 52: 0xa5a5a };
export const WIDTHS = Object.keys(GUARD_HIGH).map(Number);

/** Host memory that counts how often it is asked for something, and notices questions that no address can be. */
class CountingMemory extends HostMemory {
  lookups = 0;
  absurd: number | undefined;

  override find(address: number, lengthBytes: number): HostRegion | undefined {
    this.lookups++;
    if (!Number.isInteger(address) || address < 0 || !(lengthBytes > 0)) this.absurd = address;
    return super.find(address, lengthBytes);
  }
}

export class FuzzWorld {
  readonly memory: CountingMemory;
  readonly width: number;
  readonly guardHigh: number;
  /** A word was made, by bits that the unit set in it, that grants more of the guarded area: no verdict any more. */
  guardNamed = false;
  private readonly random: SeededRandom;
  private readonly tables: HostRegion;
  private readonly guard: HostRegion;

  constructor(random: SeededRandom) {
    this.random = random;
    this.width = random.pick(WIDTHS);
    this.guardHigh = GUARD_HIGH[this.width]!;
    this.tables = new HostRegion(hpa(TABLES_BASE), new SharedArrayBuffer(TABLES_BYTES));
    const guardBase = hpa(this.guardHigh * 2 ** 32 + GUARD_LOW);
    this.guard = new HostRegion(guardBase, new SharedArrayBuffer(GUARD_PAGES * PAGE));
    this.memory = new CountingMemory([this.tables, this.guard]);
    for (let page = 1; page < GUARD_PAGES; page += 2) {
      this.guard.bytes.fill(PATTERN, page * PAGE, (page + 1) * PAGE);
    }
    this.scribble(TABLES_BASE, (OWN_PAGE * PAGE) / 8);
  }

  /** A word that is not the upper half of a guarded address, nor just below one. */
  word(): number {
    const { random } = this;
    const word = this.anyWord(random.below(8));
    return this.isNearGuard(word) ? (word ^ 0x10) >>> 0 : word;
  }

  private anyWord(kind: number): number {
    const { random } = this;
    switch (kind) {
      case 0:
        return 0;
      case 1:
        return 0xffff_ffff;
      case 2:
        return 2 ** random.below(32);
      case 3:
        return random.below(256);
      case 4:
      case 5:
        return this.tablePage() + random.below(PAGE);
      default:
        return random.u32();
    }
  }

  private isNearGuard(word: number): boolean {
    const high = word & ADDRESS_HIGH;
    return high === this.guardHigh || high === this.guardHigh - 1;
  }

  /** Upper half of an address or entry: mostly none. */
  high(): number {
    return this.random.chance(0.9) ? 0 : this.word();
  }

  /** Address of a page that tables may lie in. */
  tablePage(): number {
    return TABLES_BASE + this.random.below(OWN_PAGE) * PAGE;
  }

  /** A page that may be named as a target: low and high word, with `flags` in its low bits as far as they may be set. */
  target(flags: number): readonly [low: number, high: number] {
    const { random } = this;
    if (random.chance(0.2)) return [this.tablePage() | flags, this.high()];
    const page = 2 * random.below(GUARD_PAGES / 2);
    const granted = page % 4 === 0 ? flags : flags & ~WRITE;
    return [(GUARD_LOW + page * PAGE) | granted, this.guardHigh];
  }

  /** Writes `count` quadwords of anything from `address` in the tables. */
  scribble(address: number, count: number): void {
    const { random } = this;
    for (let i = 0; i < count; i++) {
      const at = address + 8 * i;
      if (random.chance(0.1)) this.put(at, ...this.target(random.below(PAGE)));
      else if (random.chance(0.5)) this.put(at, this.tablePage() | random.below(PAGE), 0);
      else this.put(at, this.word(), this.high());
    }
  }

  /** Writes one quadword into the tables; beyond their end nothing is written. */
  put(address: number, low: number, high: number): void {
    const at = (address - TABLES_BASE) >>> 2;
    if (at + 2 > TABLES_BYTES / 4) return;
    this.tables.words[at] = low;
    this.tables.words[at + 1] = high;
  }

  putWords(address: number, words: readonly number[]): void {
    for (let i = 0; i < words.length; i += 2) this.put(address + 4 * i, words[i]!, words[i + 1]!);
  }

  /** Bytes for DMA that, laid over any part of an entry, never make it grant writing or cover more. */
  data(target: Uint8Array): void {
    const byte = this.random.pick([1, 4, 5, 8, 9, 12, 13]);
    target.fill(byte);
  }

  /** A descriptor or structure of the unit's own to write to, `lengthBytes` long: low and high word of its address. */
  writable(lengthBytes: number): readonly [low: number, high: number] {
    const { random } = this;
    const within = random.below(PAGE / lengthBytes) * lengthBytes;
    if (random.chance(0.5)) return [TABLES_BASE + OWN_PAGE * PAGE + within, 0];
    return [GUARD_LOW + 4 * random.below(GUARD_PAGES / 4) * PAGE + within, this.guardHigh];
  }

  /** What is wrong with a write to host address `address`, if anything is. */
  judgeWrite(address: number, privileged: boolean): string | undefined {
    const { guard } = this;
    if (address < guard.base || address >= guard.end) return undefined;
    const page = Math.floor((address - guard.base) / PAGE);
    const where = `guarded page ${page}`;
    if (page % 2 === 1)
      return this.stands() ? `a write was let through to ${where}, which nothing names` : undefined;
    // Privileged writes may ignore the first stage's read-only.
    if (page % 4 === 2 && !privileged && this.stands())
      return `a write was let through to read-only ${where}`;
    return undefined;
  }

  /** What is wrong with the guarded area's contents, if anything is. */
  judgeContents(): string | undefined {
    const { words } = this.guard;
    const expected = (PATTERN * 0x0101_0101) | 0;
    for (let page = 1; page < GUARD_PAGES; page += 2) {
      for (let i = (page * PAGE) / 4; i < ((page + 1) * PAGE) / 4; i++) {
        if (words[i] !== expected && this.stands())
          return `guarded page ${page}, which nothing names, was written`;
      }
    }
    return undefined;
  }

  /** Looks whether the unit's own writes (posted requests, states) have made a word that names more than was meant. */
  private stands(): boolean {
    this.look();
    return !this.guardNamed;
  }

  look(): void {
    for (const { words } of this.memory.regions) {
      for (let i = 0; i < words.length; i += 2) {
        if ((words[i + 1]! & ADDRESS_HIGH) === this.guardHigh && !isMeant(words[i]!)) this.guardNamed = true;
      }
    }
  }
}

/** Whether a low word below the guarded area's high word grants no more of the area than the run grants on purpose. */
function isMeant(low: number): boolean {
  const page = (low >>> 12) - (GUARD_LOW >>> 12);
  if (page >= 0 && page < GUARD_PAGES) return page % 2 === 0 && (page % 4 === 0 || (low & WRITE) === 0);
  if ((low & PRESENT) === 0) return true;
  return !LARGE_LEAVES.some(
    (shift) => low >>> shift === GUARD_LOW >>> shift && (low & (2 ** shift - 0x2000)) === 0,
  );
}

/** Address bits below leaves of 2 MiB and 1 GiB. */
const LARGE_LEAVES = [21, 30];
