import { describe, expect, it } from 'vitest';
import { fuzzVtd } from '../../iommu/fuzz.js';
import { reg } from '../../iommu/registers.js';

describe('VT-d under a hostile driver', () => {
  it('answers everything, with bounded work, writes nowhere it may not, and the run goes deep', () => {
    for (let seed = 1; seed <= 5; seed++) {
      const report = fuzzVtd(seed, 20_000);
      expect(report.failures).toEqual([]);
      expect(report.translated).toBeGreaterThan(500);
      expect(report.blocked).toBeGreaterThan(500);
      expect(report.guardedWrites).toBeGreaterThan(100);
      expect(report.remapped).toBeGreaterThan(20);
      expect(report.posted).toBeGreaterThan(20);
      expect(report.descriptors).toBeGreaterThan(200);
      expect(report.queueErrors).toBeGreaterThan(100);
    }
  });

  it('one seed is one run', () => {
    expect(fuzzVtd(42, 5000)).toEqual(fuzzVtd(42, 5000));
    expect(fuzzVtd(42, 5000).hash).not.toBe(fuzzVtd(43, 5000).hash);
  });

  it.each([
    [
      'throws',
      /threw Error: broken/,
      (unit) => {
        unit.interrupt = () => {
          throw new Error('broken');
        };
      },
    ],
    [
      'answers what no register holds',
      /read -1 from/,
      (unit) => {
        unit.read = () => -1;
      },
    ],
    [
      'finds the page after the one that was cached',
      /let through to guarded page \d+, which nothing names/,
      (unit) => {
        const { target } = unit.iotlb;
        unit.iotlb.target = (...args) => target.apply(unit.iotlb, args) + 4096;
      },
    ],
    [
      'caches a translation without its rights',
      /let through to read-only guarded page/,
      (unit) => {
        const { find } = unit.iotlb;
        unit.iotlb.find = (tag, key, seed, low, high) => find.call(unit.iotlb, tag, key, seed, low, high, 0);
      },
    ],
    [
      'goes on recording after an overflow',
      /after the log had overflown|fault events/,
      (unit) => {
        const { record } = unit.faults;
        unit.faults.record = (...args) => {
          const { PFO } = reg.FSTS.fields;
          unit.registers.setField(reg.FSTS, PFO, 0);
          record.apply(unit.faults, args);
          unit.registers.set(reg.FRCD_LOW, args[1], 0);
          unit.registers.setField(reg.FSTS, PFO, 1);
        };
      },
    ],
    [
      'sends an event for every fault',
      /fault events, and nobody looked yet/,
      (unit) => {
        const { record } = unit.faults;
        unit.faults.record = (...args) => {
          record.apply(unit.faults, args);
          unit.registers.set(reg.FSTS, 0);
          unit.faults.raiseError(reg.FSTS.fields.IQE);
        };
      },
    ],
    [
      'works through its queue without end',
      /look-ups in host memory/,
      (unit) => {
        const { advance } = unit.queue;
        unit.queue.advance = () => {
          unit.queue.advance = advance;
          for (let i = 0; i < 100_000; i++) unit.contexts.resolve(i & 0xffff, -1);
          advance.call(unit.queue);
        };
      },
    ],
    [
      'saves what it does not restore',
      /saves another state/,
      (unit) => {
        unit.restore = () => {
          unit.faults.next = (unit.faults.next + 1) % 8;
        };
      },
    ],
  ] satisfies readonly [string, RegExp, Parameters<typeof fuzzVtd>[2]][])(
    'a unit that %s is noticed (the check can fail)',
    (_what, expected, tamper) => {
      const { failures } = fuzzVtd(1, 20_000, tamper);
      expect(failures.join('\n')).toMatch(expected);
    },
  );
});
