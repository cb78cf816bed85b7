/**
 * Faults on purpose. Most enter at seams (transport, clock, DMA port, process) by replacing the argument; a small
 * closed list of named sites covers the defects that no seam can express, each of which a check must catch.
 *
 * A core takes a `FaultPlan` and asks it at a site; with nothing armed the answer is one comparison:
 *
 *     if (faults.strikes('iommu/flush-skipped') === undefined) flush();
 */
import { invariant } from './errors.js';
import type { SeededRandom } from './random.js';

export const FAULT_SITES = {
  /** Dirty bits are cleared but the IOTLB is not invalidated. */
  'iommu/flush-skipped': 'the scan does not invalidate after clearing dirty bits',
  /** A page is copied before the invalidation after its clearing has drained. */
  'migration/copy-before-drain': 'pages are copied before the drain has completed',
  'migration/device-untracked': 'what the assigned device writes is not tracked',
  'migration/last-pass-skipped': 'the last pass over dirty pages is skipped',
  'nic/step-fails': 'the hardware fails at a step between states of VFIO',
  'nic/ring-index-off-by-one': 'a ring index is restored off by one',
  'nic/rings-unsnooped': 'the ring snooper leaves out the rings themselves',
  'nic/log-range-missed': 'the device log misses ranges that were mapped later',
} as const;

export type FaultSite = keyof typeof FAULT_SITES;

export interface FaultRule {
  readonly site: FaultSite;
  /** How often the rule fires; 1 unless given. */
  readonly count?: number;
  /** Visits to the site that pass before the rule may fire; 0 unless given. */
  readonly after?: number;
  /** Chance of firing at each visit, drawn from the plan's own stream; 1 unless given. */
  readonly probability?: number;
  /** What the site makes of it, as the site's description says. */
  readonly argument?: number;
}

/** The answer of a site that was struck. */
export interface FaultVerdict {
  readonly site: FaultSite;
  readonly argument: number;
}

interface ArmedRule {
  readonly rule: FaultRule;
  readonly verdict: FaultVerdict;
  skips: number;
  left: number;
  fired: number;
}

export class FaultPlan {
  /** False when no rule can fire any more; sites in hot loops may look at it first. */
  armed: boolean;
  private readonly rules: readonly ArmedRule[];
  private readonly random: SeededRandom | undefined;

  /** `random` is needed only when a rule has a probability. */
  constructor(rules: readonly FaultRule[], random?: SeededRandom) {
    this.random = random?.fork('faults');
    this.rules = rules.map((rule) => {
      const { count = 1, after = 0, probability = 1 } = rule;
      invariant(rule.site in FAULT_SITES, `unknown fault site ${rule.site}`);
      invariant(Number.isInteger(count) && count >= 1, `${rule.site}: count ${count}`);
      invariant(Number.isInteger(after) && after >= 0, `${rule.site}: after ${after}`);
      invariant(
        probability === 1 || random !== undefined,
        `${rule.site}: a probability needs a seeded stream`,
      );
      const verdict = { site: rule.site, argument: rule.argument ?? 0 };
      return { rule, verdict, skips: after, left: count, fired: 0 };
    });
    this.armed = this.rules.length > 0;
  }

  /** Called at a site. The verdict if a rule fires here and now, else undefined; at most one rule fires a visit. */
  strikes(site: FaultSite): FaultVerdict | undefined {
    return this.armed ? this.judge(site) : undefined;
  }

  /** Rules that never fired: a run that ends with any of them has tested nothing and fails. */
  unfired(): readonly FaultRule[] {
    return this.rules.filter(({ fired }) => fired === 0).map(({ rule }) => rule);
  }

  private judge(site: FaultSite): FaultVerdict | undefined {
    let struck: FaultVerdict | undefined;
    let left = 0;
    for (const armed of this.rules) {
      if (armed.rule.site === site && armed.left > 0 && struck === undefined) {
        if (armed.skips > 0) armed.skips--;
        else if ((armed.rule.probability ?? 1) === 1 || this.random!.chance(armed.rule.probability!)) {
          armed.left--;
          armed.fired++;
          struck = armed.verdict;
        }
      }
      left += armed.left;
    }
    this.armed = left > 0;
    return struck;
  }
}

/** The plan of every run that injects nothing. */
export const NO_FAULTS = new FaultPlan([]);
