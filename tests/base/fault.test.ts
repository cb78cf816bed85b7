import { describe, expect, it } from 'vitest';
import { FaultPlan, NO_FAULTS } from '../../base/fault.js';
import { seededRandom } from '../../base/random.js';

describe('fault plan', () => {
  it('never strikes when nothing is armed', () => {
    expect(NO_FAULTS.strikes('iommu/flush-skipped')).toBeUndefined();
    expect(NO_FAULTS.unfired()).toEqual([]);
  });

  it('fires at the named site, after the visits to skip, and as often as told', () => {
    const plan = new FaultPlan([{ site: 'migration/copy-before-drain', after: 2, count: 2, argument: 42 }]);
    expect(plan.strikes('migration/last-pass-skipped')).toBeUndefined();
    const struck = Array.from({ length: 6 }, () => plan.strikes('migration/copy-before-drain')?.argument);
    expect(struck).toEqual([undefined, undefined, 42, 42, undefined, undefined]);
    expect(plan.armed).toBe(false);
    expect(plan.unfired()).toEqual([]);
  });

  it('names the rules that never fired', () => {
    const plan = new FaultPlan([
      { site: 'migration/last-pass-skipped' },
      { site: 'iommu/flush-skipped', after: 1 },
    ]);
    plan.strikes('iommu/flush-skipped');
    expect(plan.unfired().map(({ site }) => site)).toEqual([
      'migration/last-pass-skipped',
      'iommu/flush-skipped',
    ]);
    plan.strikes('iommu/flush-skipped');
    expect(plan.unfired().map(({ site }) => site)).toEqual(['migration/last-pass-skipped']);
  });

  it('draws probabilities from the seed, so that a run can be repeated', () => {
    const pattern = (seed: number) => {
      const rules = [{ site: 'iommu/flush-skipped', probability: 0.3, count: 1000 }] as const;
      const plan = new FaultPlan(rules, seededRandom(seed));
      return Array.from({ length: 200 }, () => (plan.strikes('iommu/flush-skipped') ? 1 : 0));
    };
    expect(pattern(1)).toEqual(pattern(1));
    expect(pattern(1)).not.toEqual(pattern(2));
    const hits = pattern(1).reduce<number>((sum, hit) => sum + hit, 0);
    expect(hits).toBeGreaterThan(30);
    expect(hits).toBeLessThan(90);
  });

  it('lets one rule fire a visit, in the order given', () => {
    const plan = new FaultPlan([
      { site: 'migration/copy-before-drain', argument: 1 },
      { site: 'migration/copy-before-drain', argument: 2 },
    ]);
    const struck = Array.from({ length: 3 }, () => plan.strikes('migration/copy-before-drain')?.argument);
    expect(struck).toEqual([1, 2, undefined]);
  });

  it('refuses rules that can mean nothing', () => {
    expect(() => new FaultPlan([{ site: 'iommu/flush-skipped', count: 0 }])).toThrow();
    expect(() => new FaultPlan([{ site: 'iommu/flush-skipped', probability: 0.5 }])).toThrow(/seeded/);
  });
});
