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
const RESERVED_NAMES = /^(ferry:|ferry_irq_enabled$|asyncify_|__asyncify_)|:rewind$/;

export interface GuestGlobal {
  readonly identifier: string;
  readonly type: string;
  readonly mutable: boolean;
  /** Value if it is a constant i32, unsigned. */
  readonly value: number | undefined;
}

/** An import other than the memory. */
interface GuestImport {
  /** `module.name` */
  readonly source: string;
  readonly kind: string;
  readonly signature: string;
}

export interface GuestInterface {
  /** By identifier; `checkInterface` says whether the platform has them. */
  readonly imports: ReadonlyMap<string, GuestImport>;
  /** Defined functions: identifier -> signature. */
  readonly signatures: ReadonlyMap<string, string>;
  /** Entry point -> identifier of the function. */
  readonly entries: ReadonlyMap<EntryPoint, string>;
  /** Other exports, which a guest doesn't need, by export name. */
  readonly otherExports: readonly string[];
  readonly globals: readonly GuestGlobal[];
  /** Identifier of the start function. */
  readonly start: string | undefined;
  /** Where static data, zero-initialised included, ends, as far as the module tells. */
  readonly staticEnd: number | undefined;
  /** The memory's initial size in pages of 64 KiB; 0 if it has none. */
  readonly memoryPages: number;
}

/** Reads what a module declares; throws `guest/module` for what no guest can have. `text` is as binaryen prints it. */
export function readInterface(name: string, text: string, forms: readonly TopLevel[]): GuestInterface {
  const refuse = (problem: string): Error => guestErrors.error('module', { name, problem });
  const imports = new Map<string, GuestImport>();
  const signatures = new Map<string, string>();
  const entries = new Map<EntryPoint, string>();
  const otherExports: string[] = [];
  const globals: GuestGlobal[] = [];
  const exportedGlobals = new Map<string, string>();
  const memories: number[] = [];
  let start: string | undefined;

  for (const top of forms) {
    if (top.head === 'func') signatures.set(...functionHeader(text, top));
    // Bodies may be deep and segments large; all else is read as a tree.
    if (top.head === 'func' || top.head === 'data') continue;
    const form = parseForm(text, top);
    switch (top.head) {
      case 'type':
        if (formsNamed(form, 'func').length !== 1) throw refuse('it declares types other than functions');
        break;
      case 'import': {
        const member = form[3] as Form;
        const kind = String(member[0]);
        const source = `${stringText(form[1] as string)}.${stringText(form[2] as string)}`;
        if (kind === 'memory') memories.push(memoryPages(name, member));
        else imports.set(String(member[1]), { source, kind, signature: signatureOf(member) });
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
        const [kind, identifier] = form[2] as Form;
        if (kind === 'func' && isEntryPoint(exported)) entries.set(exported, identifier as string);
        else otherExports.push(exported);
        if (kind === 'global') exportedGlobals.set(exported, identifier as string);
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
  if (memories.length > 1) throw refuse('it has several memories');
  return {
    imports,
    signatures,
    entries,
    otherExports,
    globals,
    start,
    staticEnd: staticEnd(globals, exportedGlobals),
    memoryPages: memories[0] ?? 0,
  };
}

/** Throws `guest/interface` or `guest/module` unless the machine can offer what `guest` asks and start what it has. */
export function checkInterface(name: string, guest: GuestInterface): void {
  const refuse = (problem: string): Error => guestErrors.error('module', { name, problem });
  for (const identifier of [
    ...guest.signatures.keys(),
    ...guest.globals.map((global) => global.identifier),
  ]) {
    const plain = plainName(identifier);
    if (RESERVED_NAMES.test(plain)) throw refuse(`the name ${plain} is reserved`);
  }
  for (const global of guest.globals) {
    if (global.mutable && !REGISTER_TYPES.includes(global.type)) {
      throw refuse(
        `global ${plainName(global.identifier)} of type ${global.type} can't be saved as a register`,
      );
    }
  }
  if (guest.start !== undefined && guest.entries.has('secondary_start')) {
    throw refuse('it has a start function, which would initialise the globals of the first vCPU only');
  }
  for (const imported of guest.imports.values()) checkImport(name, imported);
  checkEntries(name, guest);
}

/** Name in the guest interface of each imported function, by identifier. For an interface that was checked. */
export const platformFunctions = (guest: GuestInterface): Map<string, string> =>
  new Map([...guest.imports].map(([identifier, { source }]) => [identifier, source.slice('ferry.'.length)]));

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

function checkImport(name: string, { source, kind, signature }: GuestImport): void {
  if (kind !== 'func') throw interfaceError(name, `it imports ${source}, a ${kind}`);
  const [, member = ''] = /^ferry\.(.*)$/.exec(source) ?? [];
  const expected = Object.hasOwn(FUNCTION_IMPORTS, member) ? FUNCTION_IMPORTS[member] : undefined;
  if (expected === undefined) {
    throw interfaceError(name, `it imports ${source}, which the platform does not have`);
  }
  if (signature !== expected) {
    throw interfaceError(name, `it imports ${source} as (${signature}) instead of (${expected})`);
  }
}

function checkEntries(name: string, { entries, imports, signatures }: GuestInterface): void {
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

/** Functions that never lead to a safepoint: all of the platform's but `halt`. */
export function leafFunctions(platform: ReadonlyMap<string, string>): Set<string> {
  return new Set([...platform].filter(([, member]) => member !== 'halt').map(([identifier]) => identifier));
}

/** The text that stands for an imported function in every variant: the import itself, or what replaces it. */
export function importedFunction(identifier: string, member: string): { import: string; definition: string } {
  const builtIn = Object.hasOwn(BUILT_INS, member) ? BUILT_INS[member] : undefined;
  if (builtIn !== undefined) return { import: '', definition: builtIn(identifier) };
  const [params = '', results = ''] = FUNCTION_IMPORTS[member]!.split(' -> ');
  const signature = `${params && `(param ${params})`} ${results && `(result ${results})`}`;
  return { import: `(import "ferry" "${member}" (func ${identifier} ${signature}))`, definition: '' };
}
