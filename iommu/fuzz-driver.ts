/**
 * What a driver does that means well, with slips of the pen: tables for a few places of a few requesters, a queue of
 * descriptors, an interrupt remapping table, all in random pages. It leads a fuzz run to where random accesses alone
 * would not get.
 */
import { type BitField, compose } from '../base/bits.js';
import type { SeededRandom } from '../base/random.js';
import * as d from './descriptors.js';
import * as e from './entries.js';
import type { FuzzWorld } from './fuzz-world.js';
import { reg } from './registers.js';
import type { VtdUnit } from './unit.js';

const SOURCES = 8;
/** Everything in FSTS that software clears. */
const FAULT_STATUS = 0x71;
/** By type, from 1. */
const DESCRIPTORS = [
  d.contextDescriptor,
  d.iotlbDescriptor,
  d.deviceTlbDescriptor,
  d.interruptEntryDescriptor,
  d.waitDescriptor,
  d.pasidIotlbDescriptor,
  d.pasidCacheDescriptor,
  d.pasidDeviceTlbDescriptor,
  d.pageGroupResponse,
];

const ALL_TYPES = DESCRIPTORS.map((_, i) => i + 1);
const OF_DEVICE_TLB = [d.TYPE_DEVICE_TLB, d.TYPE_PASID_DEVICE_TLB, d.TYPE_PAGE_GROUP_RESPONSE];
const TYPES_WITHOUT_DEVICE_TLB = ALL_TYPES.filter((type) => !OF_DEVICE_TLB.includes(type));

/** A place that the tables were built for. */
export interface Aim {
  readonly source: number;
  readonly pasid: number;
  readonly low: number;
  readonly high: number;
}

export class FuzzDriver {
  private readonly random: SeededRandom;
  private readonly world: FuzzWorld;
  private readonly unit: VtdUnit;
  private readonly write: (offset: number, size: number, value: number) => void;
  private aims: Aim[] = [];

  /** `write` writes a register of `unit`. */
  constructor(
    random: SeededRandom,
    world: FuzzWorld,
    unit: VtdUnit,
    write: (offset: number, size: number, value: number) => void,
  ) {
    this.random = random;
    this.world = world;
    this.unit = unit;
    this.write = write;
  }

  /** A requester. */
  source(): number {
    return this.random.below(SOURCES) * 33;
  }

  /** Where a request may go: mostly where tables were built for. */
  aim(): Aim {
    const { random, world, aims } = this;
    if (aims.length > 0 && random.chance(0.7)) return random.pick(aims);
    const pasid = random.chance(0.5) ? -1 : world.word() % 2 ** 20;
    return { source: this.source(), pasid, low: world.word(), high: world.high() };
  }

  /** What a sane driver does, with slips of the pen: tables for one place of one requester, and translation on. */
  buildTables(): void {
    const { random, world } = this;
    const scalable = this.unit.features.scalableMode && random.chance(0.7);
    const root = world.tablePage();
    this.aims = [];
    for (let i = random.between(1, 3); i > 0; i--) {
      const source = this.source();
      const pasid = scalable && random.chance(0.5) ? random.below(256) : -1;
      const levels = random.between(3, 5);
      const low = world.word();
      // Within three levels, and near the top of them, with two bits each for the levels above.
      const high = random.below(128) + (levels > 3 ? random.below(4) * 128 : 0);
      const context = world.tablePage();
      const half = scalable && (source & 0x80) !== 0 ? 8 : 0;
      world.put(root + (source >>> 8) * 16 + half, context | 1, 0);
      if (scalable) this.buildPasid(context + (source & 0x7f) * 32, pasid, levels, low, high);
      else {
        const top = this.buildPath(levels, low, high, 7);
        const entry = compose(e.contextEntry, 4, {
          P: 1,
          TT: random.pick([0, 0, 0, 0, 1, 2]),
          AW: levels - 2,
          DID: random.below(16),
        });
        entry[0]! |= top;
        world.putWords(context + (source & 0xff) * 16, entry);
      }
      this.aims.push({ source, pasid, low, high });
    }
    this.slip(root);
    if (random.chance(0.5)) this.readFaults();
    this.write(reg.RTADDR.offset, 8, root | (scalable ? 0x400 : 0));
    this.globals(reg.GCMD.fields.SRTP.mask | reg.GCMD.fields.TE.mask);
    if (random.chance(0.5)) this.unit.iotlb.invalidateAll();
  }

  /** Takes the fault records, as a handler does, and has the next event sent. */
  private readFaults(): void {
    const { offset, stride, count } = reg.FRCD_HIGH;
    for (let i = 0; i < count; i++) this.write(offset + i * stride + 4, 4, 0x8000_0000);
    this.write(reg.FSTS.offset, 4, FAULT_STATUS);
    this.write(reg.FECTL.offset, 4, 0);
  }

  private buildPasid(context: number, pasid: number, levels: number, low: number, high: number): void {
    const { random, world } = this;
    const directory = world.tablePage();
    const table = world.tablePage();
    const effective = Math.max(0, pasid);
    const owner = compose(e.scalableContext, 8, { P: 1, PASIDE: 1 });
    owner[0]! |= directory;
    world.putWords(context, owner);
    world.put(directory + (effective >>> 6) * 8, table | 1, 0);
    const type = random.pick([1, 2, 2, 2, 3, 3, 4]);
    const entry = compose(e.pasidEntry, 16, {
      P: 1,
      AW: levels - 2,
      PGTT: type,
      SSADE: random.below(2),
      DID: random.below(16),
      PWSNP: random.chance(0.9) ? 1 : 0,
      SRE: random.below(2),
      ERE: random.below(2),
      FSPM: levels === 5 ? 1 : 0,
      WPE: random.below(2),
      NXE: random.below(2),
      EAFE: random.below(2),
    });
    const top = this.buildPath(levels, low, high, 7);
    entry[0]! |= top;
    entry[4]! |= type === 1 ? this.buildPath(Math.max(levels, 4), low, high, 7) : top;
    world.putWords(table + (effective & 63) * 64, entry);
  }

  /** Tables of `levels` levels for one address, all in random pages, down to a leaf; returns the top. */
  private buildPath(levels: number, low: number, high: number, flags: number): number {
    const { random, world } = this;
    const page = high * 2 ** 20 + (low >>> 12);
    const top = world.tablePage();
    let table = top;
    for (let level = levels; level > 1; level--) {
      const next = world.tablePage();
      world.put(table + (Math.floor(page / 2 ** (9 * (level - 1))) % 512) * 8, next | flags, 0);
      table = next;
    }
    // Neighbours too, so that nearby requests meet other leaves.
    for (let i = 0; i < 4; i++) {
      const leafFlags = random.chance(0.9) ? flags : random.below(4096);
      world.put(table + (((page ^ i) >>> 0) % 512) * 8, ...world.target(leafFlags));
    }
    return top;
  }

  /** One wrong bit somewhere near `address`, now and then. */
  private slip(address: number): void {
    const { random, world } = this;
    if (random.chance(0.2)) world.put(address + random.below(512) * 8, world.word(), world.high());
  }

  /** Writes GCMD: the levels that stand already, most of the time, and these bits. */
  private globals(bits: number): void {
    const { random, unit } = this;
    const { QIE, IRE, TE, CFI } = reg.GSTS.fields;
    const levels = unit.registers.get(reg.GSTS) & (QIE.mask | IRE.mask | TE.mask | CFI.mask);
    this.write(reg.GCMD.offset, 4, ((random.chance(0.9) ? levels : 0) | bits) >>> 0);
  }

  buildQueue(): void {
    const { random, world, unit } = this;
    const { QIE } = reg.GCMD.fields;
    const base = random.chance(0.95) ? world.tablePage() : world.word() & ~0xfff;
    const wide = random.chance(0.3);
    const bytes = wide ? d.WIDE_DESCRIPTOR_BYTES : d.DESCRIPTOR_BYTES;
    const count = random.between(1, 16);
    for (let i = 0; i < count; i++) world.putWords(base + i * bytes, this.descriptor(bytes / 4));
    const status = unit.registers.get(reg.GSTS);
    this.write(reg.GCMD.offset, 4, (status & ~QIE.mask & ~0x7000_0000) >>> 0);
    // Errors of before; while the old queue ran they would only come back.
    if (random.chance(0.9)) this.write(reg.FSTS.offset, 4, FAULT_STATUS);
    const size = random.chance(0.9) ? 0 : random.below(8);
    this.write(reg.IQA.offset, 8, (base | size | (wide ? 0x800 : 0)) >>> 0);
    this.write(reg.IQT.offset, 8, 0);
    this.globals(QIE.mask);
    this.write(reg.IQT.offset, 8, random.chance(0.9) ? count * bytes : world.word());
  }

  /** A descriptor of some type, its fields at random; one in ten has a bit that it must not have. */
  private descriptor(wordCount: number): number[] {
    const { random, world } = this;
    const kinds = this.unit.features.deviceTlb || random.chance(0.1) ? ALL_TYPES : TYPES_WITHOUT_DEVICE_TLB;
    const type = random.pick(kinds);
    const words = new Array<number>(wordCount).fill(0);
    for (const [name, field] of Object.entries<BitField>(DESCRIPTORS[type - 1]!)) {
      if (name === 'ADDR') field.write(words, 0, random.chance(0.5) ? this.aim().low >>> 12 : random.u32());
      else if (random.chance(0.6)) field.write(words, 0, random.below(Math.min(2 ** field.width, 256)));
    }
    words[0] = (words[0]! & ~0xf) | (random.chance(0.95) ? type : random.below(16));
    if (type === d.TYPE_WAIT) words.splice(1, 3, world.word(), ...world.writable(4));
    // Never in an address to write to.
    if (random.chance(0.1)) words[0] ^= 2 ** random.below(32);
    return words.map((word) => word >>> 0);
  }

  buildInterrupts(): void {
    const { random, world } = this;
    const base = world.tablePage();
    for (let i = 0; i < 64; i++) {
      const words = random.chance(0.5) ? this.postedEntry() : this.remappedEntry();
      const word = random.pick([0, 2]);
      if (random.chance(0.1)) words[word] = (words[word]! ^ (2 ** random.below(32))) >>> 0;
      world.putWords(base + i * e.IRTE_BYTES, words);
    }
    this.write(reg.IRTA.offset, 8, (base | random.below(8) | (random.below(2) << 11)) >>> 0);
    this.globals(reg.GCMD.fields.SIRTP.mask | reg.GCMD.fields.IRE.mask);
  }

  private postedEntry(): number[] {
    const { random, world } = this;
    const { PDA_LOW, PDA_HIGH } = e.postedEntry;
    const entry = { P: 1, IM: 1, URG: random.below(2), VECTOR: random.below(256) };
    const words = compose(e.postedEntry, 4, entry);
    const [low, high] = world.writable(e.POSTED_DESCRIPTOR_BYTES);
    PDA_LOW.writeInPlace(words, 0, low);
    PDA_HIGH.write(words, 0, high);
    return words;
  }

  private remappedEntry(): number[] {
    const { random } = this;
    return compose(e.remappedEntry, 4, {
      P: 1,
      VECTOR: random.below(256),
      DLM: random.pick([0, 1, 2, 5]),
      DST: random.below(256) << 8,
      SVT: random.below(4),
      SQ: random.below(4),
      SID: this.source(),
    });
  }
}
