/**
 * QEMU's migration parameters that have one possible value here: what this VMM does anyway. Managers set them together
 * with others in one call, and read them back; the call is taken as long as it asks for nothing that is not done.
 */
import { MIB } from '../../base/units.js';
import { ANNOUNCE_RHYTHM } from '../../devices/ethernet/announcer.js';
import { builtin, optional, type Shape } from './arguments.js';
import { QmpError } from './protocol.js';

type Value = string | number | boolean;

interface FixedParameter {
  readonly value: Value;
  /** Why no other value: completes "refused: ". */
  readonly why: string;
}

const RHYTHM = 'the rhythm of announcements is fixed';
const UNCOMPRESSED = 'pages are sent as they are';
const NO_DIRTY_LIMIT = 'all vCPUs are throttled alike';
const NO_POSTCOPY = 'no guest runs at the destination before its memory is there';

/** By QEMU's names, in its units: milliseconds, bytes per second. */
export const FIXED_PARAMETERS: Readonly<Record<string, FixedParameter>> = {
  'announce-initial': { value: ANNOUNCE_RHYTHM.initialMs, why: RHYTHM },
  'announce-max': { value: ANNOUNCE_RHYTHM.pauseMsMax, why: RHYTHM },
  'announce-rounds': { value: ANNOUNCE_RHYTHM.rounds, why: RHYTHM },
  'announce-step': { value: ANNOUNCE_RHYTHM.stepMs, why: RHYTHM },
  'cpu-throttle-tailslow': { value: false, why: 'throttling grows by equal steps' },
  'avail-switchover-bandwidth': { value: 0, why: 'the bandwidth of the switchover is always measured' },
  'max-postcopy-bandwidth': { value: 0, why: NO_POSTCOPY },
  'multifd-compression': { value: 'none', why: UNCOMPRESSED },
  'multifd-zlib-level': { value: 1, why: UNCOMPRESSED },
  'multifd-qatzip-level': { value: 1, why: UNCOMPRESSED },
  'multifd-zstd-level': { value: 1, why: UNCOMPRESSED },
  'xbzrle-cache-size': { value: 64 * MIB, why: UNCOMPRESSED },
  'x-checkpoint-delay': { value: 20_000, why: 'no guest is kept at two VMMs at once' },
  'x-vcpu-dirty-limit-period': { value: 1000, why: NO_DIRTY_LIMIT },
  'vcpu-dirty-limit': { value: 1, why: NO_DIRTY_LIMIT },
  'zero-page-detection': { value: 'multifd', why: 'the data channels look for zero pages' },
  mode: { value: 'normal', why: 'a guest is moved to another VMM, and not kept over a restart' },
  'direct-io': { value: false, why: 'a guest is moved over sockets, not into files' },
};

const BUILTINS = { string: 'str', number: 'int', boolean: 'bool' } as const;

const typeName = (value: Value): string => (typeof value === 'number' ? 'integer' : typeof value);

function shapeOf(name: string): Shape<Value> {
  const { value: fixed, why } = FIXED_PARAMETERS[name]!;
  const own = builtin(BUILTINS[typeof fixed as keyof typeof BUILTINS]);
  return {
    optional: false,
    words: String(fixed),
    type: own,
    check(value, path) {
      if (value === fixed) return fixed;
      if (typeof value !== typeof fixed) {
        throw new QmpError(`Invalid parameter type for '${path}', expected: ${typeName(fixed)}`);
      }
      const given = JSON.stringify(value).slice(0, 64);
      throw new QmpError(
        `Parameter '${path}' is ${JSON.stringify(fixed)} here, and ${given} refused: ${why}`,
      );
    },
  };
}

/** Members of the arguments of `migrate-set-parameters`, beside the parameters that can be set. */
export const fixedParameterShapes: Readonly<Record<string, Shape<Value | undefined>>> = Object.fromEntries(
  Object.keys(FIXED_PARAMETERS).map((name) => [name, optional(shapeOf(name))]),
);

/** As `query-migrate-parameters` lists them. */
export const fixedParameterValues: Readonly<Record<string, Value>> = Object.fromEntries(
  Object.entries(FIXED_PARAMETERS).map(([name, { value }]) => [name, value]),
);
