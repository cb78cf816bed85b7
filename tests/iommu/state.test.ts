import { describe, expect, it } from 'vitest';
import { isFerryError } from '../../base/errors.js';
import { reg } from '../../iommu/registers.js';
import { VtdUnit } from '../../iommu/unit.js';
import { IRE, iotlbGlobal, READ, SIRTP, World, WRITE } from './world.js';

const DEVICE = 0x0310;

function busy() {
  const w = new World();
  w.start(true);
  w.startQueue(true);
  const table = w.allocate();
  w.setPasid(DEVICE, 0, { type: 2, second: table, levels: 4 });
  w.mapSecond(table, 4, 0x1000n, 0x2000n);
  w.write64(reg.IRTA.offset, BigInt(w.allocate()) | 7n);
  w.command(SIRTP);
  w.command(IRE);
  w.submit(iotlbGlobal);
  w.dma(DEVICE, 0x9000n, WRITE);
  w.write32(reg.FEADDR.offset, 0xfee0_2000);
  return w;
}

/** Another unit over the same memory. */
function twin(w: World, options: ConstructorParameters<typeof VtdUnit>[2] = {}): VtdUnit {
  const interrupts = { message: () => {}, remapped: () => {}, notify: () => {} };
  return new VtdUnit('iommu0', { memory: w.memory, interrupts }, options);
}

describe('a saved unit', () => {
  it('goes on where it was: tables, queue, faults, interrupts', () => {
    const w = busy();
    const record = w.unit.save();
    const other = twin(w);
    other.restore(record);
    expect(other.save()).toEqual(record);
    expect(other.translate(DEVICE, -1, 0x1234, 0, READ)).toBe(0);
    expect(other.result[0]).toBe(0x2234);
    expect(other.read(reg.IQH.offset, 4)).toBe(w.unit.read(reg.IQH.offset, 4));
    expect(other.read(reg.FSTS.offset, 4)).toBe(2);
    expect(other.remapper.entryCount).toBe(256);
    // The next fault goes to the next record.
    other.translate(DEVICE + 1, -1, 0x9000, 0, READ);
    expect(other.read(reg.FRCD_HIGH.offset + 16 + 4, 4) >>> 31).toBe(1);
    const tail = w.unit.read(reg.IQT.offset, 4);
    w.set64(w.queueBase + tail, iotlbGlobal[0]);
    other.write(reg.IQT.offset, 4, tail + 32);
    expect(other.read(reg.IQH.offset, 4)).toBe(tail + 32);
  });

  it('forgets what it cached, and nothing else', () => {
    const w = busy();
    w.dma(DEVICE, 0x1000n, READ);
    const record = w.unit.save();
    w.unit.restore(record);
    expect(w.unit.iotlb.size).toBe(0);
    expect(w.unit.save()).toEqual(record);
  });

  it('keeps the latched root, not one that software wrote later without the command', () => {
    const w = busy();
    w.write64(reg.RTADDR.offset, 0xffff_f000n);
    const other = twin(w);
    other.restore(w.unit.save());
    expect(other.translate(DEVICE, -1, 0x1000, 0, READ)).toBe(0);
  });

  it('saves whatever a hostile driver wrote', () => {
    const w = new World();
    w.write64(reg.RTADDR.offset, 0xffff_ffff_ffff_ffffn);
    w.write64(reg.IRTA.offset, 0xffff_ffff_ffff_ffffn);
    w.write64(reg.IQA.offset, 0xffff_ffff_ffff_ffffn);
    w.command(0x4500_0000);
    const record = w.unit.save();
    const other = twin(w);
    other.restore(record);
    expect(other.save()).toEqual(record);
  });

  it('refuses another version, damage and other capabilities, and stays as it was', () => {
    const w = busy();
    const record = w.unit.save();
    const other = twin(w);
    const before = other.save();
    const refuses = (bad: typeof record, code: string, text: RegExp): void => {
      let thrown: unknown;
      try {
        other.restore(bad);
      } catch (error) {
        thrown = error;
      }
      expect(isFerryError(thrown, code)).toBe(true);
      expect((thrown as Error).message).toMatch(text);
      expect(other.save()).toEqual(before);
    };
    const changed = (at: number, value: number): typeof record => {
      const state = record.state.slice();
      state[at] = value;
      return { ...record, state };
    };
    refuses({ ...record, version: 2 }, 'iommu/record-version', /version 2/);
    refuses({ ...record, state: record.state.subarray(0, 5) }, 'iommu/record-damaged', /5 bytes/);
    refuses({ ...record, state: record.state.subarray(0, -4) }, 'iommu/record-damaged', /registers/);
    refuses(changed(7, 0xff), 'iommu/record-damaged', /above 64 bits/);
    refuses(changed(24, 9), 'iommu/record-damaged', /mode 9/);
    refuses(changed(25, 8), 'iommu/record-damaged', /fault record/);
    refuses(changed(26, 8), 'iommu/record-damaged', /queue/);
    refuses(twin(w, { secondStageDirty: false }).save(), 'iommu/capability-difference', /ECAP/);
  });

  it('is described in register names, whatever its bytes', () => {
    const w = busy();
    const lines = new Map(w.unit.describe(w.unit.save()));
    expect(lines.get('GSTS')).toMatch(/TE=1/);
    expect(lines.get('FRCD_HIGH[0]')).toMatch(/SS_PERMISSION/);
    for (const length of [0, 3, 33, 100]) {
      expect(() =>
        w.unit.describe({ name: 'x', version: 9, state: new Uint8Array(length).fill(255) }),
      ).not.toThrow();
    }
  });

  it('resets to power-on state', () => {
    const w = busy();
    w.unit.reset();
    expect(w.unit.save()).toEqual(twin(w).save());
    expect(w.dma(DEVICE, 0x5555n, READ)).toBe(0x5555n);
  });
});
