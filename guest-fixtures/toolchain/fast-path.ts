/**
 * Frees woven functions of the checks they make all the time for the sake of the rare moment in which a call stack is
 * rewound.
 *
 * A woven function (see `weaveUnwinding`) is written so that it can be re-entered in its middle: around every stretch
 * of code it asks whether a rewind is under way. In loops that costs more than the loop. Here such a function becomes
 * two. One assumes that no rewind is under way, so that all those questions have known answers and vanish; only the one
 * question after each call remains, whether that call is unwinding. At its entry it hands over to the other if a rewind
 * is under way after all. The other is the woven function as it was, except that each of its loops is left after the
 * pass that was interrupted, for a copy of the loop that again assumes no rewind. So a guest runs at full speed also in
 * the very loop in which it was moved. Both are made from the same woven code and save the same frames; which of the two
 * is on the stack when it is unwound makes no difference.
 */
import {
  type Form,
  formsNamed,
  functionIdentifier,
  functionParts,
  parseForm,
  printForm,
  type TopLevel,
  topLevelForms,
} from './wat.js';

const STATE = '$__asyncify_state';
const NORMAL = '0';
const UNWINDING = '1';
const REWINDING = '2';

type Node = string | Form;

const state = ['global.get', STATE];
const constant = (value: string): Form => ['i32.const', value];
const isForm = (node: Node | undefined, head: string): node is Form =>
  node !== undefined && typeof node !== 'string' && node[0] === head;
const isState = (node: Node | undefined): boolean => isForm(node, 'global.get') && node[1] === STATE;
const isConstant = (node: Node | undefined, value: string): boolean =>
  isForm(node, 'i32.const') && node[1] === value;

/**
 * `form` as it is when no rewind is under way: the state is NORMAL everywhere but right behind a call, where it may be
 * UNWINDING, and that is the only thing woven code asks there.
 */
function assumeNormal(form: Form): Form {
  if (isForm(form, 'i32.eq') && isState(form[1])) {
    if (isConstant(form[2], UNWINDING)) return form;
    return constant(isConstant(form[2], NORMAL) ? '1' : '0');
  }
  if (isState(form)) return constant(NORMAL);
  return form.map((node) => (typeof node === 'string' ? node : assumeNormal(node)));
}

/** Loops within loops that are copied; a loop has as many copies as loops around it, so deeper ones stay as they are. */
const LOOP_DEPTH_MAX = 6;

/** `form` with every loop left for its copy without questions once the interrupted pass is over. */
function leaveLoops(form: Form, depth = 0): Form {
  const innerDepth = form[0] === 'loop' ? depth + 1 : depth;
  const inner = form.map((node) => (typeof node === 'string' ? node : leaveLoops(node, innerDepth)));
  const label = form[1];
  if (innerDepth > LOOP_DEPTH_MAX) return inner;
  // A loop without a label never goes round. binaryen quotes no label that it made itself.
  if (form[0] !== 'loop' || typeof label !== 'string' || !/^\$[^"]+$/.test(label)) return inner;
  const done = `${label}:done`;
  const result = form.filter((node) => isForm(node, 'result'));
  const body = inner.slice(2).filter((node) => !isForm(node, 'result'));
  const interruptedPass =
    result.length === 0 ? [...body, ['br', done]] : [...body.slice(0, -1), ['br', done, body.at(-1)!]];
  return [
    'block',
    done,
    ...result,
    // What went back to the loop's head now leaves this block, for the copy.
    ['block', label, ['br_if', label, ['i32.eqz', state]], ...interruptedPass],
    assumeNormal(form),
  ];
}

/**
 * True if the questions of a woven function are where they are expected: the first one behind each call that may unwind
 * is whether it does, and that is asked nowhere else.
 */
function isRegular(form: Form, mayUnwind: (callee: string) => boolean): boolean {
  let called = false;
  let regular = true;
  const walk = (node: Form): void => {
    if (isState(node)) {
      regular &&= !called;
      return;
    }
    if (isForm(node, 'i32.eq') && isState(node[1]) && isConstant(node[2], UNWINDING)) {
      regular &&= called;
      called = false;
      return;
    }
    for (const child of node) if (typeof child !== 'string') walk(child);
    if (node[0] === 'call_indirect' || (node[0] === 'call' && mayUnwind(node[1] as string))) {
      regular &&= !called;
      called = true;
    }
  };
  walk(form);
  return regular && !called;
}

const REWIND_SUFFIX = ':rewind';

/** The identifier of the re-enterable version of `identifier`. */
const rewindable = (identifier: string): string =>
  identifier.endsWith('"') ? `${identifier.slice(0, -1)}${REWIND_SUFFIX}"` : `${identifier}${REWIND_SUFFIX}`;

/** The name that the function had before it was split. */
export const sourceName = (name: string): string =>
  name.endsWith(REWIND_SUFFIX) ? name.slice(0, -REWIND_SUFFIX.length) : name;

/** The text of the two functions that a `func` form becomes, or of itself if it is not what we know how to split. */
function splitFunction(text: string, top: TopLevel, mayUnwind: (callee: string) => boolean): string {
  const form = parseForm(text, top);
  if (!isRegular(form, mayUnwind)) return printForm(form);
  const { identifier, head, body } = functionParts(form);
  const params = formsNamed(head, 'param').map(([, name]) => ['local.get', name!]);
  const goOn = ['call', rewindable(identifier), ...params];
  const hasResult = formsNamed(head, 'result').length > 0;
  const handOver = [
    'if',
    ['i32.eq', state, constant(REWINDING)],
    ['then', ...(hasResult ? [['return', goOn]] : [goOn, ['return']])],
  ];
  return [
    printForm(['func', identifier, ...head, handOver, ...body.map(assumeNormal)]),
    printForm(['func', rewindable(identifier), ...head, ...body.map((part) => leaveLoops(part))]),
  ].join('\n');
}

/** The identifiers of all functions that ask for the state; asyncify's own few, which set it, aside. */
function wovenFunctions(text: string, forms: readonly TopLevel[]): Set<string> {
  const identifiers = forms
    .filter(
      ({ head, start, end }) => head === 'func' && text.slice(start, end).includes(`global.get ${STATE}`),
    )
    .map((top) => functionIdentifier(text, top));
  return new Set(identifiers.filter((identifier) => !identifier.startsWith('$asyncify_')));
}

/** A woven module, as binaryen prints it, with its functions split. */
export function splitFunctions(text: string): string {
  const forms = topLevelForms(text);
  const woven = wovenFunctions(text, forms);
  const mayUnwind = (callee: string): boolean => woven.has(callee) || callee === '$ferry:exit';
  const parts = forms.map((top) => {
    const identifier = top.head === 'func' ? functionIdentifier(text, top) : '';
    return woven.has(identifier) ? splitFunction(text, top, mayUnwind) : text.slice(top.start, top.end);
  });
  return `(module\n${parts.join('\n')}\n)`;
}
