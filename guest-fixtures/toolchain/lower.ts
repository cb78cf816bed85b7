/**
 * Rewrites the functions of a guest: every access to memory becomes a call of a helper (see `access.ts`), a safepoint
 * goes to every loop head and to the entry of every function that calls another, and whatever could not be stopped,
 * moved or tracked is refused by name.
 */
import { type Access, describeAccess } from './access.js';
import { guestErrors } from './errors.js';
import { SAFEPOINT } from './runtime.js';
import { eachToken, plainName, type TopLevel } from './wat.js';

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

/**
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
  const lowered = functions.map((form) => lowerFunction(name, text, form, leaves, accesses));
  return { text: lowered.join('\n'), accesses };
}

/** One function; walks its tokens, copying text from `copied` on whenever something is inserted or replaced. */
function lowerFunction(
  name: string,
  text: string,
  form: TopLevel,
  leaves: ReadonlySet<string>,
  accesses: Map<string, Access>,
): string {
  const pieces: string[] = [];
  let copied = form.start;
  /** Index in `pieces` of the place for the safepoint at the function's entry. */
  let entry = -1;
  let callsOthers = false;
  let functionName = '';
  let depth = 0;
  /** A `(` was seen, its head comes next. */
  let opened = -1;
  /** Depth of the loop whose head ends here, or 0: its safepoint goes before the first token of its body. */
  let loopDepth = 0;
  /** Depth of a declaration such as `(param i32)`, or 0. */
  let declaration = 0;
  let results = 0;
  let pending: { instruction: string; at: number; immediates: string[] } | undefined;
  let expectCallee = false;

  const refuse = (instruction: string, problem: string): Error =>
    guestErrors.error('instruction', { name, function: functionName, instruction, problem });
  const insert = (at: number, piece: string): void => {
    pieces.push(text.slice(copied, at), piece);
    copied = at;
  };
  const endImmediates = (at: number): void => {
    if (pending === undefined) return;
    const access = describeAccess(pending.instruction, pending.immediates);
    if (access === undefined) throw refuse(pending.instruction, refusal(pending.instruction));
    accesses.set(access.helper, access);
    pieces.push(text.slice(copied, pending.at), `call ${access.helper} `);
    copied = at;
    pending = undefined;
  };
  const head = (token: string, start: number, at: number): void => {
    if (DECLARATIONS.has(token)) {
      if (token === 'param' && depth > 2) throw refuse('a block with parameters', refusal(token));
      declaration = depth;
      results = token === 'result' ? 0 : Number.NEGATIVE_INFINITY;
      return;
    }
    if (loopDepth !== 0) {
      insert(start, SAFEPOINT);
      loopDepth = 0;
    }
    if (depth === 2 && entry < 0) {
      insert(start, '');
      entry = pieces.length - 1;
    }
    if (token === 'loop') loopDepth = depth;
    else if (token === 'call') expectCallee = true;
    else if (token === 'call_indirect') callsOthers = true;
    else if (token in BULK) {
      pieces.push(text.slice(copied, at), `call ${BULK[token]}`);
      copied = at + token.length;
    } else if (/load|store|\.atomic\./.test(token)) pending = { instruction: token, at, immediates: [] };
    else if (!CONTROL.has(token) && (!NUMERIC.test(token) || token.includes('relaxed'))) {
      throw refuse(token, refusal(token));
    }
  };

  eachToken(text, form.start, form.end, (token, at) => {
    if (token === '(') {
      endImmediates(at);
      depth++;
      opened = at;
      return;
    }
    if (token === ')') {
      endImmediates(at);
      if (loopDepth === depth) {
        insert(at, SAFEPOINT);
        loopDepth = 0;
      }
      if (declaration === depth) declaration = 0;
      depth--;
      opened = -1;
      return;
    }
    if (opened >= 0) {
      const start = opened;
      opened = -1;
      if (depth > 1) head(token, start, at);
    } else if (depth === 1) functionName = plainName(token);
    else if (pending !== undefined) pending.immediates.push(token);
    else if (expectCallee) {
      expectCallee = false;
      callsOthers ||= !leaves.has(token);
    } else if (declaration === depth && !token.startsWith('$')) {
      if (!VALUE_TYPES.has(token)) throw refuse(`a value of type ${token}`, refusal('ref'));
      if (++results > 1) throw refuse('several results', refusal('tuple'));
    }
  });
  pieces.push(text.slice(copied, form.end));
  if (entry >= 0 && callsOthers) pieces[entry] = SAFEPOINT;
  return pieces.join('');
}
