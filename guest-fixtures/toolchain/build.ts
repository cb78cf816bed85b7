/** Turns a WebAssembly module that follows the guest interface into a bootable image. */
import { createHash } from 'node:crypto';
import { IRQ_ENABLED_REGISTER } from '../../base/abi/code-variant.js';
import { type CodeVariant, GUEST_DATA_BASE, type RegisterInfo } from '../../base/abi/image.js';
import { encodeImage } from '../../base/abi/image-encode.js';
import type { ImageData, Sha256 } from '../../base/abi/image-parse.js';
import { invariant } from '../../base/errors.js';
import { ACCESS_MODULE, type Access, accessImport, COPY_CHUNK, FILL_CHUNK, variantParts } from './access.js';
import { type FinishedModule, finishModule, readModule, weaveUnwinding } from './binaryen.js';
import { liftData } from './data.js';
import { guestErrors } from './errors.js';
import { sourceName, splitFunctions } from './fast-path.js';
import { finishVariants } from './finish-variants.js';
import {
  checkInterface,
  type GuestInterface,
  importedFunction,
  leafFunctions,
  platformFunctions,
  readInterface,
} from './interface.js';
import { lowerFunctions } from './lower.js';
import { RUNTIME_GLOBALS, runtimeFunctions, runtimeImports } from './runtime.js';
import { plainName, type TopLevel, topLevelForms } from './wat.js';

export const sha256: Sha256 = (bytes) => createHash('sha256').update(bytes).digest();

export interface BuildOptions {
  /** The guest's name, as it appears in reports; usually the file name without its extension. */
  readonly name: string;
}

/** What all variants of a guest have in common. */
interface CommonParts {
  readonly registers: readonly RegisterInfo[];
  readonly data: readonly ImageData[];
  readonly dataEnd: number;
  readonly smp: boolean;
}

/** The variants of one guest before they are packed. */
export interface BuiltGuest extends CommonParts {
  readonly variants: Readonly<Record<CodeVariant, FinishedModule>>;
}

/** A guest whose variants are still text, their small helpers not yet inlined. */
interface UnfinishedGuest extends CommonParts {
  readonly texts: Readonly<Record<CodeVariant, string>>;
}

/**
 * Builds the image of `source`, a wasm binary or WebAssembly text. Same source and name, same bytes. Rejects with a
 * `FerryError` that says what is wrong with the module (`guest/...`) or that it is too large (`image/malformed`).
 */
export async function buildImage(source: Uint8Array | string, options: BuildOptions): Promise<Uint8Array> {
  const { registers, dataEnd, smp, data, variants } = await finishGuest(source, options).catch((cause) => {
    throw told(cause, options);
  });
  const { run, log, postcopy } = variants;
  return encodeImage(
    {
      meta: { name: options.name, registers, dataEnd, smp, functionNames: commonNames([run, log, postcopy]) },
      data,
      code: { run: run.binary, log: log.binary, postcopy: postcopy.binary },
    },
    sha256,
  );
}

/** All steps but the packing; the last of them in threads, where that is worth it. */
async function finishGuest(source: Uint8Array | string, options: BuildOptions): Promise<BuiltGuest> {
  const { texts, ...common } = writeVariants(source, options);
  const variants = await finishVariants(texts);
  checkVariants(variants, common.registers);
  return { ...common, variants };
}

/** The same in this thread; throws as `buildImage` rejects. */
export function buildGuest(source: Uint8Array | string, options: BuildOptions): BuiltGuest {
  try {
    const { texts, ...common } = writeVariants(source, options);
    const { run, log, postcopy } = texts;
    const variants = { run: finishModule(run), log: finishModule(log), postcopy: finishModule(postcopy) };
    checkVariants(variants, common.registers);
    return { ...common, variants };
  } catch (cause) {
    throw told(cause, options);
  }
}

/** binaryen and we recurse along with the code. */
const told = (cause: unknown, { name }: BuildOptions): unknown =>
  cause instanceof RangeError
    ? guestErrors.error('module', { name, problem: 'its code is nested too deeply' }, cause)
    : cause;

function writeVariants(source: Uint8Array | string, { name }: BuildOptions): UnfinishedGuest {
  const reader = readModule(name, source);
  let whole: GuestInterface;
  let wholeData: ImageData[];
  let text: string;
  try {
    const wholeText = reader.text();
    const forms = topLevelForms(wholeText);
    whole = readInterface(name, wholeText, forms);
    wholeData = liftData(name, wholeText, forms);
    text = reader.keepOnly(whole.otherExports);
  } finally {
    reader.dispose();
  }
  const staticEnd = whole.staticEnd ?? whole.memoryPages * 65536;
  const dataEnd = wholeData.reduce(
    (end, { gpa, bytes }) => Math.max(end, gpa + bytes.length),
    Math.max(GUEST_DATA_BASE, staticEnd),
  );
  const common = commonModule(name, text, dataEnd);
  const woven = splitFunctions(weaveUnwinding(common.text));
  const forms = topLevelForms(woven).map(({ start, end }) => woven.slice(start, end));
  const variant = (kind: CodeVariant): string => variantModule(forms, kind, common.accesses);
  return {
    registers: common.registers,
    data: wholeData,
    dataEnd,
    smp: whole.entries.has('secondary_start'),
    texts: { run: variant('run'), log: variant('log'), postcopy: variant('postcopy') },
  };
}

interface CommonModule {
  readonly text: string;
  readonly registers: readonly RegisterInfo[];
  readonly accesses: readonly Access[];
}

/** The guest with its runtime, memory accesses still to be defined. */
function commonModule(name: string, text: string, dataEnd: number): CommonModule {
  const forms = topLevelForms(text);
  const guest = readInterface(name, text, forms);
  checkInterface(name, guest);
  const platform = platformFunctions(guest);
  const textOf = (head: string): string[] =>
    forms.filter((form) => form.head === head).map((form) => text.slice(form.start, form.end));
  const functions = forms.filter((form): form is TopLevel => form.head === 'func');
  const lowered = lowerFunctions(name, text, functions, leafFunctions(platform));
  const accesses = [...lowered.accesses.values(), COPY_CHUNK, FILL_CHUNK];
  const imported = [...platform].map(([identifier, member]) => importedFunction(identifier, member));

  const entryExports = [...guest.entries].map(([entry, identifier]) =>
    entry === 'start_kernel' && guest.start !== undefined
      ? `(func $ferry:start_kernel (export "start_kernel") (param $boot_params i32)
           (call ${guest.start}) (call ${identifier} (local.get $boot_params)))`
      : `(export "${entry}" (func ${identifier}))`,
  );
  const registers = nameRegisters(guest);
  const registerExports = registers.map(
    ({ info, identifier }) => `(export ${JSON.stringify(info.name)} (global ${identifier}))`,
  );
  const parts = [
    ...textOf('type'),
    runtimeImports(Math.ceil(dataEnd / 65536)),
    ...imported.map((one) => one.import),
    ...accesses.map(accessImport),
    RUNTIME_GLOBALS,
    ...textOf('global'),
    ...textOf('table'),
    ...textOf('elem'),
    lowered.text,
    ...imported.map((one) => one.definition),
    runtimeFunctions(guest.entries.get('irq_entry')!),
    ...entryExports,
    ...registerExports,
  ];
  return {
    text: `(module\n${parts.join('\n')}\n)`,
    registers: registers.map(({ info }) => info),
    accesses,
  };
}

/** Every mutable global under a name that no other export has. */
function nameRegisters(guest: GuestInterface): { info: RegisterInfo; identifier: string }[] {
  const taken = new Set<string>(guest.entries.keys());
  const mutable = guest.globals.filter((global) => global.mutable);
  const all = [
    { identifier: `$${IRQ_ENABLED_REGISTER}`, type: 'i32' },
    ...mutable.map(({ identifier, type }) => ({ identifier, type })),
  ];
  return all.map(({ identifier, type }) => {
    let name = plainName(identifier);
    while (taken.has(name)) name += '.global';
    taken.add(name);
    return { info: { name, type: type as RegisterInfo['type'] }, identifier };
  });
}

/** One code variant: the forms of the woven text with the imported access helpers exchanged for definitions. */
function variantModule(woven: readonly string[], kind: CodeVariant, accesses: readonly Access[]): string {
  const { imports, functions } = variantParts(kind, accesses);
  const kept = woven.filter((form) => !form.startsWith(`(import "${ACCESS_MODULE}"`));
  const firstDefinition = kept.findIndex((form) => !/^\((type|import)/.test(form));
  return [
    '(module',
    ...kept.slice(0, firstDefinition),
    imports,
    ...kept.slice(firstDefinition),
    functions,
    ')',
  ].join('\n');
}

function checkVariants(variants: BuiltGuest['variants'], registers: readonly RegisterInfo[]): void {
  for (const { binary } of Object.values(variants)) checkBinary(binary, registers);
}

/** What we wrote must be what the vCPU expects: the engine accepts it and every register is exported. */
function checkBinary(binary: Uint8Array, registers: readonly RegisterInfo[]): void {
  const module = new WebAssembly.Module(binary as Uint8Array<ArrayBuffer>);
  const globals = WebAssembly.Module.exports(module).filter((one) => one.kind === 'global');
  invariant(
    sameList(globals.map((one) => one.name).sort(), registers.map((register) => register.name).sort()),
    'a code variant exports exactly the registers',
  );
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    invariant(from === 'ferry', `a code variant imports from the platform only, not ${from}.${name}`);
  }
}

/**
 * Function names by index as far as all variants agree; helpers that only some variants have come last. Both versions of
 * a function have its name.
 */
function commonNames(variants: readonly FinishedModule[]): string[] {
  const [first, ...others] = variants.map((variant) => variant.functionNames);
  const end = first!.findIndex((name, i) => others.some((names) => names[i] !== name));
  return first!.slice(0, end < 0 ? undefined : end).map(sourceName);
}

const sameList = (left: readonly string[], right: readonly string[]): boolean =>
  left.length === right.length && left.every((item, i) => item === right[i]);
