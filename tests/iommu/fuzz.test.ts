import { describe, expect, it } from 'vitest';
import { requesterOf } from '../../base/dma.js';
import { seededRandom } from '../../base/random.js';
import { iova } from '../../base/units.js';
import { TranslatedBus } from '../../iommu/dma.js';
import { vtdTable } from '../../iommu/registers.js';
import { VtdUnit } from '../../iommu/unit.js';
import { World } from './world.js';

const ACCESSES = 40_000;

/**
 * Random register accesses, random memory, random requests: the unit answers everything, throws nothing, and does a
 * bounded amount of work. Registers are aimed at so that tables, queues and commands are met often.
 */
function fuzz(seed: number): { digest: number; interrupts: number } {
  const random = seededRandom(seed);
  const world = new World({ bytes: 256 << 10, deviceTlb: true, hostAddressWidth: random.pick([39, 46, 52]) });
  const { unit, base } = world;
  const bus = new TranslatedBus(unit, world.memory, random.below(4));
  const words = new Uint32Array(world.buffer);
  for (let i = 0; i < words.length; i++) {
    const pointer = base + random.below(64) * 4096;
    words[i] = i % 2 === 1 ? (random.chance(0.95) ? 0 : random.u32()) : pointer | random.below(4096);
    if (random.chance(0.05)) words[i] = random.u32();
  }
  const offsets = vtdTable.registers.flatMap(({ offset, count, stride }) =>
    Array.from({ length: count }, (_, i) => offset + i * stride),
  );
  const value = (): number => {
    if (random.chance(0.4)) return base + random.below(64) * 4096 + random.below(4096);
    return random.chance(0.5) ? random.u32() : 2 ** random.below(32);
  };
  const data = new Uint8Array(8192);
  let digest = 0;
  for (let step = 0; step < ACCESSES; step++) {
    const offset = random.chance(0.9) ? random.pick(offsets) : random.below(4200) - 50;
    const size = random.pick([1, 2, 4, 4, 4, 8, 8, 3]);
    const source = requesterOf(random.below(8) * 33);
    const address = iova(random.chance(0.7) ? random.below(1 << 24) : random.u32() * 2 ** random.below(33));
    switch (random.below(8)) {
      case 0:
      case 1:
        digest = (Math.imul(digest, 31) + unit.read(offset, size)) | 0;
        break;
      case 2:
      case 3:
        unit.write(offset, size, value(), random.chance(0.7) ? 0 : random.u32());
        break;
      case 4:
        bus.write(source, address, data, 0, random.below(data.length));
        break;
      case 5:
        bus.read(source, address, data, 0, random.below(data.length));
        break;
      case 6:
        bus.send(source, iova(0xfee0_0000 + random.below(1 << 20)), random.u32() >>> random.below(33));
        break;
      default: {
        const outcome = unit.translate(
          source,
          random.below(1 << 20),
          random.u32() | 0,
          random.below(1 << 17),
          random.below(16),
        );
        digest = (Math.imul(digest, 31) + outcome) | 0;
      }
    }
    if (step % 5000 === 0) {
      const record = unit.save();
      unit.restore(record);
      expect(Buffer.compare(unit.save().state, record.state)).toBe(0);
      unit.describe(record);
    }
  }
  expect(unit.iotlb.size).toBeLessThanOrEqual(4096);
  return { digest, interrupts: world.interrupts.length };
}

describe('a unit driven at random', () => {
  it('answers every access and request, throws nothing, and does the same again for the same seed', () => {
    let interrupts = 0;
    for (let seed = 1; seed <= 6; seed++) {
      const first = fuzz(seed);
      expect(fuzz(seed), `seed ${seed}`).toEqual(first);
      interrupts += first.interrupts;
    }
    // It is no monologue: things happened.
    expect(interrupts).toBeGreaterThan(100);
  });

  it('survives damaged records', () => {
    const random = seededRandom(9);
    const world = new World();
    const record = world.unit.save();
    const silent = { message: () => {}, remapped: () => {}, notify: () => {} };
    for (let i = 0; i < 500; i++) {
      const state = record.state.slice();
      for (let n = random.between(1, 4); n > 0; n--) state[random.below(state.length)] = random.below(256);
      const unit = new VtdUnit('iommu0', { memory: world.memory, interrupts: silent });
      unit.describe({ ...record, state });
      let refused = false;
      try {
        unit.restore({ ...record, state });
      } catch (error) {
        refused = true;
        expect((error as { code?: string }).code).toMatch(/^iommu\//);
      }
      if (refused) continue;
      for (let n = 0; n < 20; n++) {
        unit.translate(random.below(65536), -1, random.u32() | 0, random.below(4), 3);
        unit.interrupt(random.below(65536), 0xfee0_0010 + random.below(4096) * 16, 0);
        unit.write(0x88, 4, random.below(128) * 16);
      }
    }
  });
});
