/**
 * Reading WebAssembly text as binaryen prints it: folded S-expressions, operands in evaluation order. The toolchain
 * rewrites guests in this form, because here an instruction becomes a call of a helper by exchanging its name.
 */
import { invariant } from '../../base/errors.js';

/** A parenthesised form, or a word or string literal (with its quotes) as it stands in the text. */
export type Form = readonly (string | Form)[];

const TOKEN = /\(;[\s\S]*?;\)|;;[^\n]*|"(?:[^"\\]|\\.)*"|\(|\)|[^\s()";]+(?:"(?:[^"\\]|\\.)*")?/g;

/** Calls `visit` with each token of [from, to) and where it starts. Comments and white space are skipped. */
export function eachToken(
  text: string,
  from: number,
  to: number,
  visit: (token: string, at: number) => void,
): void {
  const pattern = new RegExp(TOKEN);
  pattern.lastIndex = from;
  for (let match = pattern.exec(text); match !== null && match.index < to; match = pattern.exec(text)) {
    const token = match[0];
    if (!token.startsWith(';;') && !token.startsWith('(;')) visit(token, match.index);
  }
}

/** One form at the top level of a module, such as `(func $f ...)`. */
export interface TopLevel {
  readonly head: string;
  readonly start: number;
  readonly end: number;
}

/** The forms inside `(module ...)`, in order. */
export function topLevelForms(text: string): TopLevel[] {
  const forms: TopLevel[] = [];
  let depth = 0;
  let start = 0;
  let head = '';
  eachToken(text, 0, text.length, (token, at) => {
    if (token === '(') {
      depth++;
      if (depth === 2) {
        start = at;
        head = '';
      }
    } else if (token === ')') {
      if (depth === 2) forms.push({ head, start, end: at + 1 });
      depth--;
    } else if (depth === 2 && head === '') head = token;
  });
  invariant(depth === 0, 'binaryen prints balanced parentheses');
  return forms;
}

/** The tree of one form. For forms of bounded depth: imports, exports, globals, not function bodies. */
export function parseForm(text: string, { start, end }: Pick<TopLevel, 'start' | 'end'>): Form {
  const open: (string | Form)[][] = [[]];
  eachToken(text, start, end, (token) => {
    if (token === '(') open.push([]);
    else if (token === ')') {
      const closed = open.pop()!;
      open.at(-1)!.push(closed);
    } else open.at(-1)!.push(token);
  });
  const form = open[0]![0];
  invariant(open.length === 1 && Array.isArray(form), 'a form is one parenthesised expression');
  return form;
}

/** A form as text; a word in it may be text of any length. */
export const printForm = (form: Form): string =>
  `(${form.map((part) => (typeof part === 'string' ? part : printForm(part))).join(' ')})`;

const FUNCTION_DECLARATIONS: readonly unknown[] = ['type', 'param', 'result', 'local'];

/** A `func` form taken apart: its declarations, and the expressions of its body. */
export function functionParts(form: Form): {
  readonly identifier: string;
  readonly head: readonly Form[];
  readonly body: readonly Form[];
} {
  const [, identifier, ...parts] = form as readonly [string, string, ...Form[]];
  const end = parts.findIndex(([head]) => !FUNCTION_DECLARATIONS.includes(head));
  const headEnd = end < 0 ? parts.length : end;
  return { identifier, head: parts.slice(0, headEnd), body: parts.slice(headEnd) };
}

/** All members of `form` that are themselves forms starting with `head`. */
export const formsNamed = (form: Form, head: string): Form[] =>
  form.filter((member): member is Form => typeof member !== 'string' && member[0] === head);

/** The words after the head of each of these forms: `(param i32) (param i64 f32)` -> i32, i64, f32. */
export const wordsOf = (forms: readonly Form[]): string[] =>
  forms.flatMap((form) => form.slice(1).filter((member): member is string => typeof member === 'string'));

/** The bytes that a string literal (with its quotes) stands for. */
export function stringBytes(literal: string): Uint8Array {
  const source = new TextEncoder().encode(literal.slice(1, -1));
  const bytes = new Uint8Array(source.length);
  let length = 0;
  for (let i = 0; i < source.length; i++) {
    let byte = source[i]!;
    if (byte === 0x5c) {
      const letter = String.fromCharCode(source[i + 1]!);
      const plain = SIMPLE_ESCAPES[letter];
      byte = plain ?? Number.parseInt(letter + String.fromCharCode(source[i + 2]!), 16);
      i += plain === undefined ? 2 : 1;
    }
    bytes[length++] = byte;
  }
  return bytes.subarray(0, length);
}

const SIMPLE_ESCAPES: Readonly<Record<string, number>> = { t: 9, n: 10, r: 13, '"': 34, "'": 39, '\\': 92 };

/** A string literal as text. */
export const stringText = (literal: string): string => new TextDecoder().decode(stringBytes(literal));

/** An identifier for people: `$main/foo` -> `main/foo`, `$"a b"` -> `a b`. */
export function plainName(identifier: string): string {
  const name = identifier.slice(1);
  return name.startsWith('"') ? stringText(name) : name;
}

/** The identifier of a `func` form, with `$`. */
export function functionIdentifier(text: string, { start, end }: TopLevel): string {
  const head = /^\(func\s+(\$"(?:[^"\\]|\\.)*"|\$[^\s()]+)/.exec(
    text.slice(start, Math.min(end, start + 4096)),
  );
  invariant(head !== null, 'binaryen names every function');
  return head[1]!;
}
