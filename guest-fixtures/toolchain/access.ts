/**
 * The instructions that reach memory, and what each code variant makes of them.
 *
 * Every one of them is lowered to a call of a helper with the same operands, imported from the module ACCESS_MODULE
 * while the call stack's saving is woven in, and defined differently in each variant afterwards. So all variants share
 * one stack format, only the guest's own accesses are hooked, never those of the woven-in code, and a page is marked
 * after all operands are computed: nothing can publish and clear the dirty map between mark and store.
 */
import type { CodeVariant } from '../../base/abi/image.js';
import { unreachable } from '../../base/errors.js';

export const ACCESS_MODULE = 'ferry.access';

/** Bytes that a copy or fill moves between two safepoints; a few microseconds of work. */
export const CHUNK_BYTES = 256 * 1024;

export type AccessKind = 'load' | 'store' | 'update' | 'copy' | 'fill';

/** One form of access: the instruction with its immediates. */
export interface Access {
  /** Identifier of its helper, with `$`. */
  readonly helper: string;
  readonly instruction: string;
  readonly immediates: readonly string[];
  readonly kind: AccessKind;
  readonly params: readonly string[];
  readonly result: string | undefined;
  /** Bytes touched at the address; 0 for copy and fill, whose size is an operand. */
  readonly bytes: number;
  /** Atomic accesses trap unless aligned, so they never cross a page boundary. */
  readonly atomic: boolean;
}

type Shape = Pick<Access, 'kind' | 'params' | 'result' | 'bytes' | 'atomic'>;

const TYPE_BYTES: Readonly<Record<string, number>> = { i32: 4, i64: 8, f32: 4, f64: 8, v128: 16 };

const PLAIN = /^(i32|i64|f32|f64|v128)\.(load|store)(8|16|32)?(_[su])?$/;
const ATOMIC = /^(i32|i64)\.atomic\.(load|store)(8|16|32)?(_u)?$/;
const UPDATE = /^(i32|i64)\.atomic\.rmw(8|16|32)?\.(add|sub|and|or|xor|xchg|cmpxchg)(_u)?$/;
const VECTOR_LOAD = /^v128\.load(8|16|32|64)_(splat|zero)$/;
const VECTOR_EXTEND = /^v128\.load(8x8|16x4|32x2)_[su]$/;
const VECTOR_LANE = /^v128\.(load|store)(8|16|32|64)_lane$/;

/** What `instruction` does to memory; undefined if it doesn't reach memory or is not known. */
export function accessShape(instruction: string): Shape | undefined {
  let match = PLAIN.exec(instruction) ?? ATOMIC.exec(instruction);
  if (match !== null) {
    const [, type = '', operation, bits] = match;
    const bytes = bits === undefined ? TYPE_BYTES[type]! : Number(bits) / 8;
    const atomic = instruction.includes('.atomic.');
    return operation === 'load'
      ? { kind: 'load', params: ['i32'], result: type, bytes, atomic }
      : { kind: 'store', params: ['i32', type], result: undefined, bytes, atomic };
  }
  match = UPDATE.exec(instruction);
  if (match !== null) {
    const [, type = '', bits, operation] = match;
    const bytes = bits === undefined ? TYPE_BYTES[type]! : Number(bits) / 8;
    const params = operation === 'cmpxchg' ? ['i32', type, type] : ['i32', type];
    return { kind: 'update', params, result: type, bytes, atomic: true };
  }
  match = VECTOR_LOAD.exec(instruction);
  if (match !== null) {
    return { kind: 'load', params: ['i32'], result: 'v128', bytes: Number(match[1]) / 8, atomic: false };
  }
  if (VECTOR_EXTEND.test(instruction)) {
    return { kind: 'load', params: ['i32'], result: 'v128', bytes: 8, atomic: false };
  }
  match = VECTOR_LANE.exec(instruction);
  if (match !== null) {
    const bytes = Number(match[2]) / 8;
    const params = ['i32', 'v128'];
    return match[1] === 'load'
      ? { kind: 'load', params, result: 'v128', bytes, atomic: false }
      : { kind: 'store', params, result: undefined, bytes, atomic: false };
  }
  return undefined;
}

/** The access made by `instruction` with these immediates (`offset=16`, `align=1`, a lane number). */
export function describeAccess(instruction: string, immediates: readonly string[]): Access | undefined {
  const shape = accessShape(instruction);
  if (shape === undefined) return undefined;
  const helper = `$ferry:${[instruction, ...immediates].join('/')}`;
  return { ...shape, helper, instruction, immediates };
}

const chunk = (kind: 'copy' | 'fill'): Access => ({
  kind,
  helper: `$ferry:${kind}_chunk`,
  instruction: `memory.${kind}`,
  immediates: [],
  params: ['i32', 'i32', 'i32'],
  result: undefined,
  bytes: 0,
  atomic: false,
});

/** `memory.copy` and `memory.fill` of at most CHUNK_BYTES; the runtime's loops around them serve longer ones. */
export const COPY_CHUNK = chunk('copy');
export const FILL_CHUNK = chunk('fill');

const signature = (access: Access): string =>
  access.params.map((type, i) => ` (param $${i} ${type})`).join('') +
  (access.result === undefined ? '' : ` (result ${access.result})`);

/** The helper as an import, for the time until its body is known. */
export const accessImport = (access: Access): string =>
  `(import "${ACCESS_MODULE}" "${access.helper.slice(1)}" (func ${access.helper}${signature(access)}))`;

/** The helper's definition in one code variant. */
const accessFunction = (access: Access, hooks: AccessHooks): string => {
  const operands = access.params.map((_, i) => `(local.get $${i})`).join(' ');
  const instruction = `(${[access.instruction, ...access.immediates].join(' ')} ${operands})`;
  return `(func ${access.helper}${signature(access)} ${hooks(access)} ${instruction})`;
};

/** Text of what a variant does before an access; operands are locals $0, $1, $2. */
type AccessHooks = (access: Access) => string;

const offsetOf = (access: Access): number => {
  const immediate = access.immediates.find((word) => word.startsWith('offset='));
  return immediate === undefined ? 0 : Number(immediate.slice('offset='.length));
};

const first = (access: Access): string => {
  const offset = offsetOf(access);
  return offset === 0 ? '(local.get $0)' : `(i32.add (local.get $0) (i32.const ${offset}))`;
};
const last = (access: Access): string =>
  `(i32.add (local.get $0) (i32.const ${(offsetOf(access) + access.bytes - 1) % 2 ** 32}))`;

/** Address of the byte of `map` that stands for the page of `address`. */
const mapByte = (map: string, address: string): string =>
  `(i32.add (global.get $ferry:${map}) (i32.shr_u ${address} (i32.const 12)))`;

const mayCross = (access: Access): boolean => !access.atomic && access.bytes > 1;
const writes = (access: Access): boolean => access.kind !== 'load';

/** Whether the access, of more than one byte, reaches into the next page: rarely, so a branch beats a second mark. */
const crosses = (access: Access): string =>
  `(i32.gt_u (i32.and ${first(access)} (i32.const 4095)) (i32.const ${4096 - access.bytes}))`;

const mark = (access: Access): string => {
  if (access.bytes === 0) return '(call $ferry:mark_range (local.get $0) (local.get $2))';
  const one = (address: string): string => `(i32.store8 ${mapByte('dirty_map', address)} (i32.const 1))`;
  return mayCross(access)
    ? `${one(first(access))} (if ${crosses(access)} (then ${one(last(access))}))`
    : one(first(access));
};

const require = (access: Access): string => {
  if (access.bytes === 0) {
    const target = '(call $ferry:fetch_range (local.get $0) (local.get $2))';
    return access.kind === 'copy'
      ? `${target} (call $ferry:fetch_range (local.get $1) (local.get $2))`
      : target;
  }
  const present = (address: string): string => `(i32.load8_u ${mapByte('present_map', address)})`;
  const absent = mayCross(access)
    ? `(i32.eqz (i32.and ${present(first(access))} ${present(last(access))}))`
    : `(i32.eqz ${present(first(access))})`;
  return `(if ${absent} (then (call $ferry:fetch_range ${first(access)} (i32.const ${access.bytes}))))`;
};

/* A page range that leaves memory ends in a trap, here or at the access itself, before any data is stored. */

const MARK_RANGE = `
(func $ferry:mark_range (param $at i32) (param $size i32)
  (if (i32.eqz (local.get $size)) (then (return)))
  (memory.fill
    ${mapByte('dirty_map', '(local.get $at)')}
    (i32.const 1)
    (i32.add (i32.const 1)
      (i32.sub
        (i32.shr_u (i32.add (local.get $at) (i32.sub (local.get $size) (i32.const 1))) (i32.const 12))
        (i32.shr_u (local.get $at) (i32.const 12))))))
`;

const FETCH_RANGE = `
(func $ferry:fetch_range (param $at i32) (param $size i32) (local $page i32) (local $last i32)
  (if (i32.eqz (local.get $size)) (then (return)))
  (local.set $page (i32.shr_u (local.get $at) (i32.const 12)))
  (local.set $last
    (i32.shr_u (i32.add (local.get $at) (i32.sub (local.get $size) (i32.const 1))) (i32.const 12)))
  (loop $next
    (if (i32.eqz (i32.load8_u (i32.add (global.get $ferry:present_map) (local.get $page))))
      (then (call $ferry:post_fault (local.get $page))))
    (if (i32.lt_u (local.get $page) (local.get $last))
      (then
        (local.set $page (i32.add (local.get $page) (i32.const 1)))
        (br $next)))))
`;

/** What makes a code variant of the common module: imports, and definitions of all access helpers. */
export interface VariantParts {
  readonly imports: string;
  readonly functions: string;
}

const DIRTY_MAP = '(import "ferry" "dirty_map" (global $ferry:dirty_map i32))';
const PRESENT_MAP = '(import "ferry" "present_map" (global $ferry:present_map i32))';

export function variantParts(variant: CodeVariant, accesses: readonly Access[]): VariantParts {
  const define = (hooks: AccessHooks): string =>
    accesses.map((access) => accessFunction(access, hooks)).join('\n');
  switch (variant) {
    case 'run':
      return { imports: '', functions: define(() => '') };
    case 'log':
      return {
        imports: DIRTY_MAP,
        functions: define((access) => (writes(access) ? mark(access) : '')) + MARK_RANGE,
      };
    case 'postcopy':
      return {
        imports: DIRTY_MAP + PRESENT_MAP,
        functions:
          define((access) => (writes(access) ? require(access) + mark(access) : require(access))) +
          MARK_RANGE +
          FETCH_RANGE,
      };
    default:
      return unreachable(variant);
  }
}
