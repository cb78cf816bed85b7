/**
 * Migration parameters and capabilities as QMP shows them. The parameters' names, units, ranges and defaults are
 * declared in `migration/parameters.ts`; here they become argument schemas and answers. What QEMU treats as a
 * capability (auto-converge) is one here as well, wherever its value is kept.
 */
import {
  isCapability,
  type MigrationParameters,
  type Parameter,
  type ParameterValues,
  parameterTable,
  TEXT_CHARACTERS_MAX,
} from '../../migration/parameters.js';
import { MODULE_PREFIX } from '../../migration/registry.js';
import { boolean, builtin, integer, oneOf, optional, type Shape, string, struct } from './arguments.js';
import { fixedParameterShapes, fixedParameterValues } from './fixed-parameters.js';
import { QmpError } from './protocol.js';

type Name = keyof ParameterValues;

/** Those that QMP has as parameters. */
const NAMES = (Object.keys(parameterTable) as Name[]).filter((name) => !isCapability(parameterTable[name]));

function shapeOf(parameter: Parameter): Shape<number | boolean | string> {
  switch (parameter.type) {
    case 'number':
      return integer(parameter.min, parameter.max, parameter.unit);
    case 'boolean':
      return boolean();
    case 'text':
      return unsettable(string(TEXT_CHARACTERS_MAX));
    case 'choice':
      return parameter.effort === undefined
        ? oneOf(...parameter.choices)
        : { ...string(), words: `${parameter.choices.join('|')}|${MODULE_PREFIX}PATH` };
  }
}

/** `null` says the same as nothing, as QEMU has it (its StrOrNull). */
function unsettable(shape: Shape<string>): Shape<string> {
  return {
    ...shape,
    type: { kind: 'alternate', types: [shape.type, builtin('null')] },
    check: (value, path) => (value === null ? '' : shape.check(value, path)),
  };
}

const checkChanges = struct({
  ...Object.fromEntries(
    NAMES.map((name) => [parameterTable[name].qmpName, optional(shapeOf(parameterTable[name]))]),
  ),
  ...fixedParameterShapes,
});

/**
 * Arguments of `migrate-set-parameters`: any of them, by QMP's names; checked, by the names of the table. Which approaches
 * there are the parameters themselves know.
 */
export const parameterChanges: Shape<Partial<ParameterValues>> = {
  optional: false,
  words: checkChanges.words,
  type: checkChanges.type,
  check(value, path) {
    const given = checkChanges.check(value, path);
    return Object.fromEntries(
      NAMES.filter((name) => Object.hasOwn(given, parameterTable[name].qmpName)).map((name) => [
        name,
        given[parameterTable[name].qmpName],
      ]),
    );
  },
};

/** The answer of `query-migrate-parameters`. */
export function listParameters(values: Readonly<ParameterValues>): Readonly<Record<string, unknown>> {
  return {
    ...Object.fromEntries(NAMES.map((name) => [parameterTable[name].qmpName, values[name]])),
    ...fixedParameterValues,
  };
}

/** Capabilities that this VMM has. */
export interface MigrationCapabilities {
  /** Send MIGRATION and MIGRATION_PASS events. */
  readonly events: boolean;
  /** Throttle a guest that dirties memory faster than it can be sent. */
  readonly 'auto-converge': boolean;
  /** Several data channels: `multifd-channels` says how many. Off: one. */
  readonly multifd: boolean;
  /** The destination answers on the connection of the migration: always. */
  readonly 'return-path': true;
}

export function capabilitiesOf(events: boolean, parameters: MigrationParameters): MigrationCapabilities {
  const { autoConverge, multifd } = parameters.values;
  return { events, 'auto-converge': autoConverge, multifd, 'return-path': true };
}

/** QEMU's capabilities that this VMM doesn't have: they can be switched off, not on. */
const ABSENT_CAPABILITIES: readonly string[] = [
  'xbzrle',
  'rdma-pin-all',
  'zero-blocks',
  'postcopy-ram',
  'x-colo',
  'release-ram',
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

/** What can be switched; a member for each that is. */
interface CapabilityChanges {
  events?: boolean;
  autoConverge?: boolean;
  multifd?: boolean;
}

/** All that QMP knows, by name: also those that can only be off. */
export const capabilityName: Shape<string> = {
  ...string(64),
  type: {
    kind: 'enum',
    values: ['events', 'auto-converge', 'multifd', 'return-path', ...ABSENT_CAPABILITIES],
  },
};

/** Judges a list of capability settings as a whole; what it returns can all be done. */
export function capabilityChanges(
  settings: readonly { readonly capability: string; readonly state: boolean }[],
): CapabilityChanges {
  const changes: CapabilityChanges = {};
  settings.forEach(({ capability, state }, index) => {
    if (capability === 'events') {
      changes.events = state;
    } else if (capability === 'auto-converge') {
      changes.autoConverge = state;
    } else if (capability === 'multifd') {
      changes.multifd = state;
    } else if (capability === 'return-path') {
      if (!state) {
        throw new QmpError(
          "Capability 'return-path' is always on here: no guest is given away before the destination has agreed",
        );
      }
    } else if (!ABSENT_CAPABILITIES.includes(capability)) {
      const path = `capabilities[${index}].capability`;
      throw new QmpError(`Parameter '${path}' does not accept value '${capability.slice(0, 64)}'`);
    } else if (state) {
      throw new QmpError(
        `Capability '${capability}' is not provided here; provided are events, auto-converge, multifd, return-path`,
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
