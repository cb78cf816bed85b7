/**
 * What is moved and how: the options of `ferry migrate` and of the library's `migrate`, with their defaults, and what
 * they become on the guest's kernel command line and in the monitor's parameters.
 */
import { fileURLToPath } from 'node:url';
import { MIB } from '../../base/units.js';
import type { VerifyMode } from '../../migration/parameters.js';

export const WORKLOADS = ['idle', 'ledger', 'stress', 'mixed'] as const;
export type Workload = (typeof WORKLOADS)[number];

/** Options of a move. All have defaults. */
export interface MigrateOptions {
  /** Guest image; the project's own guest kernel if absent. */
  readonly guest?: string;
  /** Guest RAM in bytes; 256 MiB if absent. */
  readonly memoryBytes?: number;
  readonly vcpus?: number;
  /** What the guest does meanwhile; `ledger` if absent. */
  readonly workload?: Workload;
  /** Bytes per second that `stress` and `mixed` dirty; 50 MiB/s if absent, 0 = as fast as they can. */
  readonly dirtyRate?: number;
  /** Bytes that `stress` and `mixed` dirty over and over, or the size of the ledger; the guest's choice if absent. */
  readonly workingSetBytes?: number;
  /** Data channels; 2 if absent. */
  readonly channels?: number;
  /** Bytes per second over all channels; no limit if absent. */
  readonly maxBandwidth?: number;
  /** Blackout to aim for in milliseconds; 10 if absent. */
  readonly downtimeLimitMs?: number;
  /** What is compared before commit; `full` if absent. */
  readonly verify?: VerifyMode;
  /** Seed of the guest's random numbers; random if absent (the result names it). */
  readonly seed?: number;
  /** How long the guest works before it is moved, and is watched afterwards, in milliseconds; 1500 if absent. */
  readonly settleMs?: number;
  /** Keep a recording of the migration stream in this directory. */
  readonly recordTo?: string;
}

export type Scenario = {
  readonly [K in keyof Omit<MigrateOptions, 'workingSetBytes' | 'maxBandwidth' | 'recordTo'>]-?: NonNullable<
    MigrateOptions[K]
  >;
} & Pick<MigrateOptions, 'workingSetBytes' | 'maxBandwidth' | 'recordTo'>;

/** The guest kernel that comes with the project. */
export const KERNEL_IMAGE = fileURLToPath(new URL('../../guests/kernel.img', import.meta.url));

export function scenarioOf(options: MigrateOptions): Scenario {
  return {
    guest: KERNEL_IMAGE,
    memoryBytes: 256 * MIB,
    vcpus: 1,
    workload: 'ledger',
    dirtyRate: 50 * MIB,
    channels: 2,
    downtimeLimitMs: 10,
    verify: 'full',
    seed: Math.floor(Math.random() * 2 ** 32),
    settleMs: 1500,
    ...definedOnly(options),
  };
}

function definedOnly(options: MigrateOptions): MigrateOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** Milliseconds between two status lines of the guest, so that a short watch sees several. */
export const STATUS_PERIOD_MS = 250;

/** The guest's kernel command line. */
export function commandLine(scenario: Scenario): string {
  const words = [`workload=${scenario.workload}`, `status_ms=${STATUS_PERIOD_MS}`];
  if (scenario.workload === 'stress' || scenario.workload === 'mixed') {
    words.push(`dirty_rate=${Math.round(scenario.dirtyRate)}`);
  }
  if (scenario.workingSetBytes !== undefined) words.push(`working_set=${scenario.workingSetBytes}`);
  return words.join(' ');
}

/** What `migrate-set-parameters` is given, by QMP names. */
export function monitorParameters(scenario: Scenario): Record<string, number | string> {
  return {
    'multifd-channels': scenario.channels,
    'downtime-limit': scenario.downtimeLimitMs,
    verify: scenario.verify,
    ...(scenario.maxBandwidth === undefined ? {} : { 'max-bandwidth': scenario.maxBandwidth }),
  };
}
