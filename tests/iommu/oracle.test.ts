import { describe, expect, it } from 'vitest';
import { type SeededRandom, seededRandom } from '../../base/random.js';
import { FAULT } from '../../iommu/fault-reasons.js';
import { Oracle, type OracleRequest } from './oracle.js';
import { contextGlobal, iotlbGlobal, pasidCacheGlobal, World } from './world.js';

const BYTES = 160 << 10;
const SOURCES = [0x0100, 0x0101, 0x0188];
const WIDTH = 40;
const SEEDS = 8;

/** Memory of random tables: few pages that point to each other, with bits that are plausible most of the time. */
class Maze {
  readonly world: World;
  readonly pages: bigint[] = [];
  private readonly random: SeededRandom;

  constructor(random: SeededRandom, scalable: boolean) {
    this.random = random;
    this.world = new World({ bytes: BYTES, base: 0x10_0000, hostAddressWidth: WIDTH, directoryCode: 0 });
    this.world.start(scalable);
    this.world.startQueue(scalable);
    for (let i = 0; i < 24; i++) this.pages.push(BigInt(this.world.allocate()));
    for (const source of SOURCES) this.bind(source, scalable);
    for (const page of this.pages) for (let i = 0; i < 512; i++) this.scribble(page, i);
  }

  private bind(source: number, scalable: boolean): void {
    const { random, world } = this;
    const table = (): number => Number(random.pick(this.pages));
    if (!scalable) {
      world.legacyContext(
        source,
        table(),
        random.between(3, 5),
        1 + SOURCES.indexOf(source),
        random.chance(0.1) ? 2n : 0n,
      );
      return;
    }
    for (const pasid of [0, 3]) {
      world.setPasid(source, pasid, {
        type: random.pick([1, 2, 3, 2, 3, 4] as const),
        domain: 1 + SOURCES.indexOf(source),
        second: table(),
        levels: random.between(3, 5),
        first: random.chance(0.5) ? table() : random.below(4) * 4096,
        firstLevels: random.pick([4, 5] as const),
        track: random.chance(0.5),
        snooped: random.chance(0.9),
        disabled: random.chance(0.2),
        noExecute: random.chance(0.5),
      });
    }
  }

  /** A paging entry, mostly one that leads on. */
  scribble(page: bigint, index: number): void {
    const { random } = this;
    // Low pages as well: in a nested walk they are guest addresses.
    let entry = random.chance(0.8) ? random.pick(this.pages) : BigInt(random.below(1 << 9)) << 12n;
    entry |= random.chance(0.9) ? 7n : BigInt(random.below(8));
    if (random.chance(0.25)) {
      entry |= 0x80n;
      if (random.chance(0.8))
        entry = (entry & 0xfffn) | (BigInt(random.below(4)) << (random.chance(0.5) ? 21n : 30n));
    }
    if (random.chance(0.3)) entry |= BigInt(random.below(1 << 12)) & 0x760n;
    if (random.chance(0.02)) entry |= 1n << BigInt(random.below(64));
    if (random.chance(0.01)) entry = 0xfee0_0003n | 4n;
    this.world.set64(Number(page) + 8 * index, entry);
  }

  private readonly met: OracleRequest[] = [];

  /** Where a request got through others are likely to, and they share what is cached. */
  remember(request: OracleRequest): void {
    this.met.push(request);
  }

  /** Whether anything but the paging tables differs from `before`. */
  changedControl(before: Uint8Array): boolean {
    const now = new Uint8Array(this.world.buffer);
    const tables = new Set(this.pages.map((page) => Number(page) - this.world.base));
    for (let at = 0; at < BYTES; at += 4096) {
      if (
        !tables.has(at) &&
        Buffer.compare(now.subarray(at, at + 4096), before.subarray(at, at + 4096)) !== 0
      )
        return true;
    }
    return false;
  }

  request(): OracleRequest {
    const { random } = this;
    if (this.met.length > 0 && random.chance(0.6)) {
      const near = random.pick(this.met);
      const low = BigInt(random.below(2 ** random.pick([12, 15, 21, 24, 30])));
      const write = random.chance(0.4);
      return { ...near, address: near.address ^ low, write, read: !write || random.chance(0.3) };
    }
    let address = 0n;
    for (let level = 0; level < 6; level++) {
      address |= BigInt(random.chance(0.6) ? random.below(4) : random.below(512)) << BigInt(12 + 9 * level);
    }
    address = BigInt.asUintN(64, ((address >> BigInt(random.pick([0, 9, 18, 27]))) << 12n) >> 12n);
    if (random.chance(0.05)) address = BigInt.asUintN(64, -address);
    const kind = random.below(3);
    return {
      source: random.pick(SOURCES),
      pasid: this.world.scalable && random.chance(0.3) ? 3 : undefined,
      address: (address & ~0xfffn) | BigInt(random.below(4096)),
      read: kind !== 1,
      write: kind !== 0,
    };
  }
}

function check(seed: number, scalable: boolean, cold: boolean): { translated: number; reasons: Set<number> } {
  const random = seededRandom(seed);
  const maze = new Maze(random, scalable);
  const { world } = maze;
  const reasons = new Set<number>();
  let translated = 0;
  for (let step = 0; step < 400; step++) {
    const request = maze.request();
    const before = new Uint8Array(world.buffer).slice();
    const shadow = new SharedArrayBuffer(BYTES);
    new Uint8Array(shadow).set(before);
    const expected = new Oracle(shadow, world.base, WIDTH).translate(BigInt(world.root), scalable, request);
    const access = (request.read ? 1 : 0) | (request.write ? 2 : 0);
    const actual = world.dma(request.source, request.address, access, request.pasid ?? -1);
    const [fault] = world.takeFaults();
    const where = `seed ${seed} step ${step}: ${request.address.toString(16)} ${JSON.stringify(expected, text)}`;
    if (expected.kind === 'host') {
      expect(actual, where).toBe(expected.address);
      translated++;
      maze.remember(request);
    } else if (expected.kind === 'interrupt') {
      expect(actual, where).toBe('interrupt');
    } else {
      expect(actual, where).toBeUndefined();
      const recorded = expected.kind === 'fault' && expected.recorded ? expected.reason : undefined;
      expect(fault?.reason, where).toBe(recorded);
      if (recorded !== undefined) {
        reasons.add(recorded);
        expect(fault!.page, where).toBe(request.address & ~0xfffn);
        expect(fault!.write, where).toBe(request.write && !request.read);
      }
    }
    // Every accessed and dirty bit, and nothing else, as the oracle set them.
    expect(Buffer.compare(new Uint8Array(world.buffer), new Uint8Array(shadow)), where).toBe(0);
    // Software changes tables and invalidates, as it must. A maze may also lead the unit to set an accessed bit in what
    // is a context or PASID table to others, which counts as a change of those.
    if (random.chance(0.08)) maze.scribble(random.pick(maze.pages), random.below(512));
    else if (!cold && !maze.changedControl(before)) continue;
    world.submit(contextGlobal, ...(scalable ? [pasidCacheGlobal] : []), iotlbGlobal);
  }
  return { translated, reasons };
}

const text = (_key: string, value: unknown): unknown =>
  typeof value === 'bigint' ? value.toString(16) : value;

describe('the unit agrees with the oracle on result, fault and every bit of memory', () => {
  for (const scalable of [false, true]) {
    for (const cold of [true, false]) {
      it(`${scalable ? 'scalable' : 'legacy'} mode, ${cold ? 'nothing cached' : 'with its caches, properly invalidated'}`, () => {
        let translated = 0;
        const reasons = new Set<number>();
        for (let seed = 1; seed <= SEEDS; seed++) {
          const result = check(seed, scalable, cold);
          translated += result.translated;
          for (const reason of result.reasons) reasons.add(reason);
        }
        // The maze must be one that is worth walking.
        expect(translated).toBeGreaterThan(SEEDS * 30);
        const met = scalable
          ? [FAULT.SS_PERMISSION, FAULT.SS_ENTRY_RESERVED, FAULT.FS_ENTRY_NOT_PRESENT, FAULT.FS_NON_CANONICAL]
          : [FAULT.WRITE_PERMISSION, FAULT.READ_PERMISSION, FAULT.PAGING_ENTRY_RESERVED];
        for (const reason of met) expect(reasons).toContain(reason);
      });
    }
  }
});
