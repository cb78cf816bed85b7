/**
 * Checks a module against the guest interface (`base/abi/platform.ts`) and gathers what the other steps need of it:
 * its imports, entry points, globals and the end of its static data.
 */
import { guestErrors } from './errors.js';
import { BUILT_INS } from './runtime.js';
import { type Form, formsNamed, parseForm, plainName, stringText, type TopLevel, wordsOf } from './wat.js';

/** Signature as `params -> results`. */
const FUNCTION_IMPORTS: Readonly<Record<string, string>> = {
  mmio_read: 'i32 i32 -> i32',
  mmio_write: 'i32 i32 i32 -> ',
  clock_ns: ' -> f64',
  timer_program: 'f64 -> ',
  halt: ' -> ',
  irq_save: ' -> i32',
  irq_restore: 'i32 -> ',
  cpu_id: ' -> i32',
};

/** Entry points; all take one i32 and return nothing. */
export const ENTRY_POINTS = ['start_kernel', 'secondary_start', 'irq_entry'] as const;
export type EntryPoint = (typeof ENTRY_POINTS)[number];

const REGISTER_TYPES = ['i32', 'i64', 'f32', 'f64'];

/** Names that the toolchain and asyncify give to what they add. */
const RESERVED_NAMES = /^(ferry:|ferry_irq_enabled$|asyncify_|__asyncify_)/;

export interface GuestGlobal {
  readonly identifier: string;
  readonly type: string;
  readonly mutable: boolean;
  /** Value if it is a constant i32, unsigned. */
  readonly value: number | undefined;
}

export interface GuestInterface {
  /** Imported functions: identifier -> name in the guest interface. */
  readonly imports: ReadonlyMap<string, string>;
  /** Entry point -> identifier of the function. */
  readonly entries: ReadonlyMap<EntryPoint, string>;
  /** Other exports, which a guest doesn't need, by export name. */
  readonly otherExports: readonly string[];
  readonly globals: readonly GuestGlobal[];
  /** Identifier of the start function. */
  readonly start: string | undefined;
  /** Where static data, zero-initialised included, ends, as far as the module tells. */
  readonly staticEnd: number | undefined;
  /** The memory's initial size in pages of 64 KiB. */
  readonly memoryPages: number;
}

/** Throws `guest/interface` or `guest/module`. `text` is the module as binaryen prints it. */
export function readInterface(name: string, text: string, forms: readonly TopLevel[]): GuestInterface {
  const refuse = (problem: string): Error => guestErrors.error('module', { name, problem });
  const imports = new Map<string, string>();
  const entries = new Map<EntryPoint, string>();
  const otherExports: string[] = [];
  const globals: GuestGlobal[] = [];
  const exportedGlobals = new Map<string, string>();
  const signatures = new Map<string, string>();
  const memories: number[] = [];
  let start: string | undefined;

  for (const top of forms) {
    if (top.head === 'func') {
      const [identifier, signature] = functionHeader(text, top);
      signatures.set(identifier, signature);
      continue;
    }
    if (top.head === 'data') continue;
    const form = parseForm(text, top);
    switch (top.head) {
      case 'type':
        if (formsNamed(form, 'func').length !== 1) throw refuse('it declares types other than functions');
        break;
      case 'import': {
        const member = form[3] as Form;
        const source = `${stringText(form[1] as string)}.${stringText(form[2] as string)}`;
        if (member[0] === 'memory') memories.push(memoryPages(name, member));
        else if (member[0] === 'func') {
          imports.set(member[1] as string, checkImport(name, source, signatureOf(member)));
        } else throw interfaceError(name, `it imports ${source}, a ${String(member[0])}`);
        break;
      }
      case 'memory':
        memories.push(memoryPages(name, form));
        break;
      case 'global':
        globals.push(readGlobal(form));
        break;
      case 'export': {
        const exported = stringText(form[1] as string);
        const member = form[2] as Form;
        if (member[0] === 'func' && isEntryPoint(exported)) entries.set(exported, member[1] as string);
        else {
          otherExports.push(exported);
          if (member[0] === 'global') exportedGlobals.set(exported, member[1] as string);
        }
        break;
      }
      case 'start':
        start = form[1] as string;
        break;
      case 'table':
        if (form.includes('i64') || form.at(-1) !== 'funcref') throw refuse('its table holds no functions');
        break;
      case 'elem':
        if (formsNamed(form, 'i32.const').length !== 1) throw refuse('its table is filled while it runs');
        break;
      default:
        throw refuse(`it has a ${top.head}`);
    }
  }

  for (const identifier of [...signatures.keys(), ...globals.map((global) => global.identifier)]) {
    const plain = plainName(identifier);
    if (RESERVED_NAMES.test(plain)) throw refuse(`the name ${plain} is reserved`);
  }
  if (memories.length !== 1) throw refuse(`it has ${memories.length} memories instead of one`);
  checkEntries(name, entries, imports, signatures);
  for (const global of globals) {
    if (global.mutable && !REGISTER_TYPES.includes(global.type)) {
      throw refuse(
        `global ${plainName(global.identifier)} of type ${global.type} can't be saved as a register`,
      );
    }
  }
  if (start !== undefined && entries.has('secondary_start')) {
    throw refuse('it has a start function, which would initialise the globals of the first vCPU only');
  }
  return {
    imports,
    entries,
    otherExports,
    globals,
    start,
    staticEnd: staticEnd(globals, exportedGlobals),
    memoryPages: memories[0]!,
  };
}

const isEntryPoint = (name: string): name is EntryPoint => (ENTRY_POINTS as readonly string[]).includes(name);

const interfaceError = (name: string, problem: string): Error =>
  guestErrors.error('interface', { name, problem });

const signatureOf = (form: Form): string =>
  `${wordsOf(formsNamed(form, 'param'))
    .filter((word) => !word.startsWith('$'))
    .join(' ')} -> ${wordsOf(formsNamed(form, 'result')).join(' ')}`;

/** Identifier and signature, from the head of a `func` form only: its body may be deep. */
function functionHeader(text: string, top: TopLevel): [string, string] {
  const header =
    /^\(func ("[^"]*"|\$"(?:[^"\\]|\\.)*"|[^\s()]+)((?:\s*\((?:type|param|result)[^()]*\))*)/.exec(
      text.slice(top.start, Math.min(top.end, top.start + 65536)),
    );
  const [, identifier = '$?', declarations = ''] = header ?? [];
  return [
    identifier,
    signatureOf(parseForm(`(func ${declarations})`, { start: 0, end: declarations.length + 7 })),
  ];
}

function checkImport(name: string, source: string, signature: string): string {
  const [, member = ''] = /^ferry\.(.*)$/.exec(source) ?? [];
  const expected = Object.hasOwn(FUNCTION_IMPORTS, member) ? FUNCTION_IMPORTS[member] : undefined;
  if (expected === undefined) {
    throw interfaceError(name, `it imports ${source}, which the platform does not have`);
  }
  if (signature !== expected) {
    throw interfaceError(name, `it imports ${source} as (${signature}) instead of (${expected})`);
  }
  return member;
}

function checkEntries(
  name: string,
  entries: ReadonlyMap<EntryPoint, string>,
  imports: ReadonlyMap<string, string>,
  signatures: ReadonlyMap<string, string>,
): void {
  for (const entry of ENTRY_POINTS) {
    const identifier = entries.get(entry);
    if (identifier === undefined) {
      if (entry === 'secondary_start') continue;
      throw interfaceError(name, `it does not export the function ${entry}`);
    }
    if (imports.has(identifier)) throw interfaceError(name, `it exports an import as ${entry}`);
    const signature = signatures.get(identifier);
    if (signature !== 'i32 -> ') {
      throw interfaceError(name, `it exports ${entry} as (${signature}) instead of (i32 -> )`);
    }
  }
}

function memoryPages(name: string, form: Form): number {
  if (form.includes('i64')) throw guestErrors.error('module', { name, problem: 'its memory is 64-bit' });
  const pages = form.find((word) => typeof word === 'string' && /^\d+$/.test(word));
  return Number(pages);
}

function readGlobal(form: Form): GuestGlobal {
  const declared = form[2]!;
  const mutable = typeof declared !== 'string' && declared[0] === 'mut';
  const type = mutable ? declared[1] : declared;
  const init = form[3];
  const constant = Array.isArray(init) && init[0] === 'i32.const' ? Number(init[1]) >>> 0 : undefined;
  return {
    identifier: form[1] as string,
    type: typeof type === 'string' ? type : 'reference',
    mutable,
    value: mutable ? undefined : constant,
  };
}

/**
 * The end of static data from the constant that linkers provide: LLVM's exported `__heap_base` or `__data_end`,
 * AssemblyScript's `~lib/memory/__heap_base`.
 */
function staticEnd(
  globals: readonly GuestGlobal[],
  exported: ReadonlyMap<string, string>,
): number | undefined {
  const constant = (identifier: string | undefined): number | undefined =>
    globals.find((global) => global.identifier === identifier)?.value;
  return (
    constant(exported.get('__heap_base')) ??
    constant(globals.find((global) => plainName(global.identifier).endsWith('/__heap_base'))?.identifier) ??
    constant(exported.get('__data_end'))
  );
}

/** Functions that never lead to a safepoint: all imports but `halt`. */
export function leafFunctions(imports: ReadonlyMap<string, string>): Set<string> {
  return new Set([...imports].filter(([, member]) => member !== 'halt').map(([identifier]) => identifier));
}

/** The text that stands for an imported function in every variant: the import itself, or what replaces it. */
export function importedFunction(identifier: string, member: string): { import: string; definition: string } {
  const builtIn = Object.hasOwn(BUILT_INS, member) ? BUILT_INS[member] : undefined;
  if (builtIn !== undefined) return { import: '', definition: builtIn(identifier) };
  const [params = '', results = ''] = FUNCTION_IMPORTS[member]!.split(' -> ');
  const signature = `${params && `(param ${params})`} ${results && `(result ${results})`}`;
  return { import: `(import "ferry" "${member}" (func ${identifier} ${signature}))`, definition: '' };
}
