/** Comparisons along which not the approaches differ but what they meet: each approach in each of several circumstances. */
import type { Descriptor, Effort } from '../../../migration/approach.js';
import type { Approaches } from '../../../migration/approaches.js';
import type { NicKind } from '../../../vmm/process/nic-options.js';
import type { MigrateOptions, Scenario } from '../../move/scenario.js';
import type { Comparison } from '../figures.js';

export interface Circumstance {
  /** In the table, in a few words. */
  readonly name: string;
  readonly text: string;
  /** What `migrate` is asked for because of it. `nic`: of the machine, as the approach needs it. */
  readonly options: (nic: NicKind) => Partial<MigrateOptions>;
}

export interface CircumstanceAxis {
  /** As `--axis` has it. */
  readonly name: string;
  /** What differs, as the head of a column. */
  readonly head: string;
  readonly circumstances: readonly Circumstance[];
  /** What a move is asked for here where the user does not say. */
  readonly usual?: Partial<MigrateOptions>;
  /** Whose approaches take part; what goes with each the machine chooses. */
  readonly effort: Effort;
  /** What is wrong with how it ended, of endings that are right elsewhere; undefined if nothing is. */
  readonly wrong?: (
    circumstance: Circumstance,
    approach: Descriptor,
    cell: Cell,
    asked: MigrateOptions,
  ) => string | undefined;
}

/**
 * `without-device`: the guest was moved and is well, but does not use its device there, and `reason` says why. `refused`: the
 * guest is at the source as before, its network with it, and `reason` says why. `failed`: it ended otherwise than a migration may,
 * or otherwise than the approach says of itself.
 */
export type CellEnding = 'verified' | 'fell-back' | 'without-device' | 'refused' | 'failed';

/** How far it had come when it was refused. */
export type Phase = 'unsent' | 'running' | 'stood-still' | 'committed';

/** One approach in one circumstance. */
export interface Cell {
  readonly circumstance: string;
  readonly approach: string;
  /** As they were chosen, or fallen back to. */
  readonly approaches: Approaches | undefined;
  readonly ending: CellEnding;
  /** Those that others gave way to, in their order. */
  readonly fellBackTo: readonly string[];
  /** Undefined of what was not refused. */
  readonly phase: Phase | undefined;
  readonly reason: string | undefined;
  /** From the command to the end. */
  readonly totalNs: number | undefined;
  /** CPU time of the vCPUs, from the command until traffic flowed again. */
  readonly guestCpuNs: number | undefined;
}

/** Raised with each change of what follows. */
export const CIRCUMSTANCES_VERSION = 2;

export interface CircumstanceTable {
  readonly version: typeof CIRCUMSTANCES_VERSION;
  readonly axis: string;
  readonly head: string;
  readonly effort: Effort;
  readonly host: Comparison['host'];
  readonly scenario: Omit<Scenario, Effort>;
  readonly approaches: readonly string[];
  readonly circumstances: readonly Pick<Circumstance, 'name' | 'text'>[];
  readonly cells: readonly Cell[];
}
