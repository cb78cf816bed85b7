/**
 * Rewrites the functions of a guest: every access to memory becomes a call of a helper (see `access.ts`), a safepoint
 * goes to every loop head and to the entry of every function that calls another, and whatever could not be stopped,
 * moved or tracked is refused by name.
 */
import { type Access, accessShape, describeAccess } from './access.js';
import { guestErrors } from './errors.js';
import { SAFEPOINT } from './runtime.js';
import { type Form, functionParts, parseForm, plainName, printForm, type TopLevel } from './wat.js';

export interface LoweredFunctions {
  readonly text: string;
  /** The helpers that `text` calls, by identifier. */
  readonly accesses: ReadonlyMap<string, Access>;
}

const CONTROL = new Set(
  (
    'block loop if then else br br_if br_table return call call_indirect drop select nop unreachable ' +
    'local.get local.set local.tee global.get global.set memory.size atomic.fence'
  ).split(' '),
);
const DECLARATIONS = new Set(['type', 'param', 'result', 'local']);
const VALUE_TYPES = new Set(['i32', 'i64', 'f32', 'f64', 'v128']);
/** Instructions with such names reach memory in ways that we don't know, or depend on the processor. */
const UNSUITABLE = /load|store|atomic|relaxed/;
const NUMERIC = /^(i32|i64|f32|f64|v128|i8x16|i16x8|i32x4|i64x2|f32x4|f64x2)\./;

/** Long copies and fills become loops with safepoints, so that they can be interrupted and moved half-way. */
const BULK: Readonly<Record<string, string>> = {
  'memory.copy': '$ferry:copy',
  'memory.fill': '$ferry:fill',
};

/** Why an instruction that is valid WebAssembly has no place in a guest. */
function refusal(instruction: string): string {
  if (instruction === 'memory.grow') return 'RAM has the size that the machine was given';
  if (/^memory\.atomic\.(wait|notify)/.test(instruction)) {
    return 'a vCPU that waits outside a safepoint could not be stopped; halt instead';
  }
  if (/^(memory\.init|data\.drop)$/.test(instruction)) {
    return 'initial data must be in active segments, which the image loads once';
  }
  if (instruction.startsWith('return_call')) return 'a tail call leaves no frame that could be rewound';
  if (/^(table|elem|ref|call_ref)/.test(instruction)) {
    return "references and changing tables are state that can't be saved";
  }
  if (instruction.startsWith('tuple')) return 'a saved call stack has room for one value at a time';
  if (/^(try|throw|rethrow|catch|delegate|pop)/.test(instruction)) {
    return "a call stack can't be unwound through exceptions";
  }
  if (instruction.includes('relaxed')) return 'its result differs between processors';
  return "the toolchain doesn't know how to instrument it";
}

/** What lowering one function needs and finds. */
interface Scope {
  readonly leaves: ReadonlySet<string>;
  readonly accesses: Map<string, Access>;
  readonly refuse: (instruction: string, problem: string) => Error;
  /** Whether the function calls one that is no leaf. */
  callsOthers: boolean;
}

/**
 * @param name the guest's, for errors
 * @param text module text as binaryen prints it
 * @param functions its `func` forms
 * @param leaves identifiers of functions that never reach a safepoint: what the platform provides
 */
export function lowerFunctions(
  name: string,
  text: string,
  functions: readonly TopLevel[],
  leaves: ReadonlySet<string>,
): LoweredFunctions {
  const accesses = new Map<string, Access>();
  const lowered = functions.map((top) => {
    const { identifier, head, body } = functionParts(parseForm(text, top));
    const scope: Scope = {
      leaves,
      accesses,
      refuse: (instruction, problem) =>
        guestErrors.error('instruction', { name, function: plainName(identifier), instruction, problem }),
      callsOthers: false,
    };
    for (const declaration of head) checkTypes(declaration, scope);
    const code = body.map((expression) => lower(expression, scope));
    return printForm(['func', identifier, ...head, ...(scope.callsOthers ? [SAFEPOINT] : []), ...code]);
  });
  return { text: lowered.join('\n'), accesses };
}

function lower(form: Form, scope: Scope): Form {
  const instruction = form[0] as string;
  if (DECLARATIONS.has(instruction)) {
    if (instruction === 'param') throw scope.refuse('a block with parameters', refusal('tuple'));
    checkTypes(form, scope);
    return form;
  }
  if (!isKnown(instruction)) throw scope.refuse(instruction, refusal(instruction));
  const words = form.slice(1).filter((part): part is string => typeof part === 'string');
  const operands = form
    .filter((part): part is Form => typeof part !== 'string')
    .map((operand) => lower(operand, scope));
  const bulk = BULK[instruction];
  if (bulk !== undefined) return ['call', bulk, ...operands];
  const access = describeAccess(instruction, words);
  if (access !== undefined) {
    scope.accesses.set(access.helper, access);
    return ['call', access.helper, ...operands];
  }
  if (instruction === 'loop') {
    const results = operands.filter(([head]) => head === 'result');
    return ['loop', ...words, ...results, SAFEPOINT, ...operands.slice(results.length)];
  }
  if (instruction === 'call') scope.callsOthers ||= !scope.leaves.has(words[0]!);
  if (instruction === 'call_indirect') scope.callsOthers = true;
  return [instruction, ...words, ...operands];
}

const isKnown = (instruction: string): boolean =>
  CONTROL.has(instruction) ||
  BULK[instruction] !== undefined ||
  accessShape(instruction) !== undefined ||
  (NUMERIC.test(instruction) && !UNSUITABLE.test(instruction));

/** Refuses a declaration such as `(param $p i32)` or `(result i64)` with values that can't be saved. */
function checkTypes(declaration: Form, scope: Scope): void {
  if (declaration[0] === 'type') return;
  const types = declaration.slice(1).filter((word) => typeof word !== 'string' || !word.startsWith('$'));
  for (const type of types) {
    if (typeof type !== 'string') throw scope.refuse(String(type[0]), refusal(String(type[0])));
    if (!VALUE_TYPES.has(type)) throw scope.refuse(`a value of type ${type}`, refusal('ref'));
  }
  if (declaration[0] === 'result' && types.length > 1)
    throw scope.refuse('several results', refusal('tuple'));
}
