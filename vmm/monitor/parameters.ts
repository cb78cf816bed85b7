/**
 * Migration parameters and capabilities: one table each, from which the defaults, the argument schemas and the
 * answers of the query commands derive. Names, units and ranges are QEMU's (qapi/migration.json) where QEMU has the
 * thing.
 */
import { boolean, integer, optional, type Shape, struct } from './arguments.js';
import { QmpError } from './protocol.js';

/** Limits, as users and QMP clients set them. */
export interface MigrationParameters {
  /** Bytes per second over all channels; 0: no limit. */
  readonly 'max-bandwidth': number;
  /** Longest blackout aimed at, in milliseconds. */
  readonly 'downtime-limit': number;
  /** Data channels, if the capability `multifd` is on. */
  readonly 'multifd-channels': number;
  /** Auto-converge: percent of its time that a vCPU is first kept from running. */
  readonly 'cpu-throttle-initial': number;
  /** Auto-converge: percent added each time it wasn't enough. */
  readonly 'cpu-throttle-increment': number;
  readonly 'max-cpu-throttle': number;
  /** Pre-copy rounds after which the guest is stopped in any case. */
  readonly 'x-ferry-round-limit': number;
  /** Compare all of RAM, registers and device records after the stop. */
  readonly 'x-ferry-verify': boolean;
}

const PARAMETER_TABLE: {
  readonly [K in keyof MigrationParameters]: {
    readonly shape: Shape<MigrationParameters[K]>;
    readonly initial: MigrationParameters[K];
  };
} = {
  'max-bandwidth': { shape: integer(0, 2 ** 50, 'bytes per second'), initial: 0 },
  'downtime-limit': { shape: integer(0, 2_000_000, 'milliseconds'), initial: 300 },
  'multifd-channels': { shape: integer(1, 16, 'a number of channels'), initial: 2 },
  'cpu-throttle-initial': { shape: integer(1, 99, 'percent'), initial: 20 },
  'cpu-throttle-increment': { shape: integer(1, 99, 'percent'), initial: 10 },
  'max-cpu-throttle': { shape: integer(1, 99, 'percent'), initial: 99 },
  'x-ferry-round-limit': { shape: integer(1, 1000, 'a number of rounds'), initial: 30 },
  'x-ferry-verify': { shape: boolean(), initial: false },
};

export const PARAMETER_NAMES = Object.keys(PARAMETER_TABLE) as (keyof MigrationParameters)[];

export const INITIAL_PARAMETERS: MigrationParameters = Object.fromEntries(
  PARAMETER_NAMES.map((name) => [name, PARAMETER_TABLE[name].initial]),
) as unknown as MigrationParameters;

/** Arguments of `migrate-set-parameters`: any of them. */
export const parameterChanges = struct(
  Object.fromEntries(
    PARAMETER_NAMES.map((name) => [name, optional(PARAMETER_TABLE[name].shape as Shape<unknown>)]),
  ),
) as unknown as Shape<Partial<MigrationParameters>>;

/** Capabilities that can be switched here. */
export interface MigrationCapabilities {
  /** Send MIGRATION and MIGRATION_PASS events. */
  readonly events: boolean;
  /** Throttle a guest that dirties memory faster than it can be sent. */
  readonly 'auto-converge': boolean;
  /** Use `multifd-channels` data channels; else one. */
  readonly multifd: boolean;
}

export const INITIAL_CAPABILITIES: MigrationCapabilities = {
  events: false,
  'auto-converge': false,
  multifd: true,
};

/** QEMU's capabilities that this VMM doesn't have: they can be switched off, not on. */
const ABSENT_CAPABILITIES: readonly string[] = [
  'xbzrle',
  'rdma-pin-all',
  'zero-blocks',
  'postcopy-ram',
  'x-colo',
  'release-ram',
  'return-path',
  'pause-before-switchover',
  'dirty-bitmaps',
  'postcopy-blocktime',
  'late-block-activate',
  'x-ignore-shared',
  'validate-uuid',
  'background-snapshot',
  'zero-copy-send',
  'postcopy-preempt',
  'switchover-ack',
  'dirty-limit',
  'mapped-ram',
];

/** Judges a list of capability settings as a whole; nothing is changed unless all of it is right. */
export function capabilityChanges(
  settings: readonly { readonly capability: string; readonly state: boolean }[],
): Partial<MigrationCapabilities> {
  const changes: Record<string, boolean> = {};
  settings.forEach(({ capability, state }, index) => {
    if (Object.hasOwn(INITIAL_CAPABILITIES, capability)) {
      changes[capability] = state;
    } else if (!ABSENT_CAPABILITIES.includes(capability)) {
      throw new QmpError(
        `Parameter 'capabilities[${index}].capability' does not accept value '${capability.slice(0, 64)}'`,
      );
    } else if (state) {
      throw new QmpError(
        `Capability '${capability}' is not provided here; provided: ${Object.keys(INITIAL_CAPABILITIES).join(', ')}`,
      );
    }
  });
  return changes;
}

/** All capabilities with their states, those that are always off included, as `query-migrate-capabilities` lists. */
export function listCapabilities(
  capabilities: MigrationCapabilities,
): readonly { readonly capability: string; readonly state: boolean }[] {
  return [
    ...Object.entries(capabilities).map(([capability, state]) => ({ capability, state: Boolean(state) })),
    ...ABSENT_CAPABILITIES.map((capability) => ({ capability, state: false })),
  ];
}
