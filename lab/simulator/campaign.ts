/** Many simulated migrations, one for each seed, and what came of them all. */
import type { ParameterValues } from '../../migration/parameters.js';
import { type Violation, violationsOf } from '../checkers/checkers.js';
import type { SideEnd } from '../checkers/happened.js';
import { type BootedGuest, bootGuest } from './booted-guest.js';
import { type Fault, nameOfFault } from './fault.js';
import { PLAIN, type Shape } from './shape.js';
import { shrinkPlan } from './shrink.js';
import { MemoryPool } from './vmm.js';
import { moveWhole, planOf, shapeOf, type WholeMove } from './whole-move.js';

export interface CampaignOptions {
  /** The guest that moves. */
  readonly image: Uint8Array;
  /** The same faults for every seed, each of which must strike; random ones if absent. */
  readonly plan?: readonly Fault[];
  readonly parameters?: Partial<ParameterValues>;
  /** One of them for every seed; a random one if absent. */
  readonly machine?: Shape;
}

export interface SeedFailure {
  readonly seed: number;
  readonly violations: readonly Violation[];
  /** By their names. */
  readonly plan: readonly string[];
  /** The shortest that still fails. */
  readonly shortest: readonly string[];
}

/** What came of so many seeds; plain data, to be merged with that of others. */
export interface Tally {
  seeds: number;
  virtualNs: number;
  /** How the migrations ended, at the source and at the destination. */
  readonly ends: Record<string, number>;
  /** Faults that struck, by kind, and those that had no occasion to. */
  readonly struck: Record<string, number>;
  readonly idle: Record<string, number>;
  readonly failures: SeedFailure[];
}

export const newTally = (): Tally => ({
  seeds: 0,
  virtualNs: 0,
  ends: {},
  struck: {},
  idle: {},
  failures: [],
});

/** Adds `more` to `tally`. */
export function addTally(tally: Tally, more: Tally): void {
  tally.seeds += more.seeds;
  tally.virtualNs += more.virtualNs;
  for (const part of ['ends', 'struck', 'idle'] as const) {
    for (const [name, count] of Object.entries(more[part])) add(tally[part], name, count);
  }
  tally.failures.push(...more.failures);
}

const add = (counts: Record<string, number>, name: string, count = 1): void => {
  counts[name] = (counts[name] ?? 0) + count;
};

/** What throws instead of coming to an end. */
const THREW = 'simulation';
/** A plan that was given, and had no occasion. */
const IDLE = 'plan';

export class Campaign {
  readonly #options: CampaignOptions;
  /** Of each machine that was needed so far. */
  readonly #booted = new Map<Shape, Promise<BootedGuest>>();
  readonly #memories = new MemoryPool();

  private constructor(options: CampaignOptions) {
    this.#options = options;
  }

  /** Boots the guest of the first machine; those of others when they are needed, once for all seeds. */
  static async open(options: CampaignOptions): Promise<Campaign> {
    const campaign = new Campaign(options);
    await campaign.#boot(options.machine ?? PLAIN);
    return campaign;
  }

  #boot(shape: Shape): Promise<BootedGuest> {
    let booted = this.#booted.get(shape);
    if (booted === undefined) {
      booted = bootGuest(this.#options.image, shape);
      this.#booted.set(shape, booted);
    }
    return booted;
  }

  /** The faults of `seed`. */
  planOf(seed: number): readonly Fault[] {
    return this.#options.plan ?? planOf(seed);
  }

  /** One migration under `plan`; `also` goes over the campaign's parameters. Rejects with what the simulation threw. */
  async move(
    seed: number,
    plan = this.planOf(seed),
    also: Partial<ParameterValues> = {},
  ): Promise<WholeMove> {
    const parameters = { ...this.#options.parameters, ...also };
    const booted = await this.#boot(this.#options.machine ?? shapeOf(seed, parameters));
    return moveWhole(seed, { booted, memories: this.#memories, plan, parameters });
  }

  /** Runs `seed` and counts it; a failure is told with the shortest plan that shows it too. */
  async run(seed: number, tally: Tally): Promise<void> {
    tally.seeds++;
    const plan = this.planOf(seed);
    const { move, violations } = await this.judge(seed, plan);
    if (move !== undefined) count(tally, plan, move);
    const idle = this.#options.plan === undefined ? [] : (move?.idle ?? []);
    const never = idle.map((fault) => ({ checker: IDLE, finding: `${nameOfFault(fault)} never struck` }));
    if (violations.length + never.length === 0) return;
    const checkers = new Set(violations.map(({ checker }) => checker));
    const fails = async (shorter: readonly Fault[]): Promise<boolean> =>
      (await this.judge(seed, shorter)).violations.some(({ checker }) => checkers.has(checker));
    const shortest = violations.length === 0 ? plan : await shrinkPlan(plan, fails);
    tally.failures.push({
      seed,
      violations: [...violations, ...never],
      plan: plan.map(nameOfFault),
      shortest: shortest.map(nameOfFault),
    });
  }

  /** One migration, and what is wrong with it; without one if the simulation threw. */
  async judge(
    seed: number,
    plan: readonly Fault[],
  ): Promise<{ readonly move: WholeMove | undefined; readonly violations: readonly Violation[] }> {
    const thrown: Violation[] = [];
    const threw = (error: unknown): void => {
      thrown.push({ checker: THREW, finding: error instanceof Error ? error.message : String(error) });
    };
    // What nobody waits for may throw as well.
    process.on('unhandledRejection', threw);
    try {
      const move = await this.move(seed, plan);
      return { move, violations: [...violationsOf(move.happened), ...thrown] };
    } catch (error) {
      threw(error);
      return { move: undefined, violations: thrown };
    } finally {
      process.off('unhandledRejection', threw);
    }
  }
}

function count(tally: Tally, plan: readonly Fault[], { happened, idle, virtualNs }: WholeMove): void {
  tally.virtualNs += virtualNs;
  add(tally.ends, `${endOf(happened.source)}, ${endOf(happened.destination)}`);
  for (const fault of plan) add(idle.includes(fault) ? tally.idle : tally.struck, fault.kind);
}

const endOf = ({ gone, status }: SideEnd): string => (gone ? 'gone' : (status ?? 'none'));
