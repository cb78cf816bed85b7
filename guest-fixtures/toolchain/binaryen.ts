/**
 * The few things the toolchain asks of binaryen. binaryen keeps pass options in globals, so every step sets all that it
 * depends on and runs to its end without yielding.
 */
import binaryen from 'binaryen';
import { guestErrors } from './errors.js';

type Module = InstanceType<typeof binaryen.Module>;

/**
 * What guests may use, named one by one: with everything on, binaryen writes kinds of imports that Node 20 rejects, and
 * each feature is something that instrumentation must know.
 */
const FEATURES =
  binaryen.Features.MutableGlobals |
  binaryen.Features.SignExt |
  binaryen.Features.NontrappingFPToInt |
  binaryen.Features.BulkMemory |
  binaryen.Features.BulkMemoryOpt |
  binaryen.Features.SIMD128 |
  binaryen.Features.Atomics;

/** What is read so that it can be refused by name. */
const READABLE_FEATURES =
  FEATURES |
  binaryen.Features.Multivalue |
  binaryen.Features.ReferenceTypes |
  binaryen.Features.TailCall |
  binaryen.Features.ExceptionHandling;

/**
 * Nodes of a function that is inlined wherever it is called: enough for a store that marks one page or two, and for a
 * load that checks two. Stores of the postcopy variant, which do all of it, stay calls: the variant runs for moments only,
 * and inlining them would make it half as large again. Guests come with their own small functions inlined already.
 */
const INLINE_NODES_MAX = 36;

const message = (error: unknown): string => {
  const text =
    typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error);
  return text.replace(/^Fatal: /, '').trim();
};

const isBinary = (source: Uint8Array): boolean => source[0] === 0 && source[1] === 0x61;

/**
 * Reads a module and prints it as text with everything left out that nothing reachable from `keepExports` uses.
 * `select` is given the full text first and returns the names of exports to drop. Throws `guest/not-wasm`.
 */
export function readModule(name: string, source: Uint8Array | string): Reader {
  const refuse = (cause: unknown): unknown =>
    cause instanceof RangeError
      ? cause
      : guestErrors.error('not-wasm', { name, problem: message(cause) }, cause);
  let module: Module;
  try {
    if (typeof source === 'string' || !isBinary(source)) {
      const text =
        typeof source === 'string' ? source : new TextDecoder('utf-8', { fatal: true }).decode(source);
      module = binaryen.parseText(text);
    } else {
      new WebAssembly.Module(source as Uint8Array<ArrayBuffer>);
      module = binaryen.readBinary(source);
    }
    // binaryen's own validator would only print to standard error; the engine says what is wrong, and must accept it.
    module.setFeatures(READABLE_FEATURES);
    new WebAssembly.Module(module.emitBinary() as Uint8Array<ArrayBuffer>);
  } catch (cause) {
    throw refuse(cause);
  }
  return {
    text: () => module.emitText(),
    keepOnly(otherExports) {
      for (const exported of otherExports) module.removeExport(exported);
      module.runPasses(['remove-unused-module-elements']);
      return module.emitText();
    },
    dispose: () => module.dispose(),
  };
}

export interface Reader {
  /** The whole module as text. */
  text(): string;
  /** Drops these exports and then everything that is no longer reachable; the rest as text. */
  keepOnly(otherExports: readonly string[]): string;
  dispose(): void;
}

function withModule<T>(text: string, use: (module: Module) => T): T {
  const module = binaryen.parseText(text);
  module.setFeatures(FEATURES);
  const debugInfo = binaryen.getDebugInfo();
  try {
    binaryen.setOptimizeLevel(2);
    binaryen.setShrinkLevel(0);
    binaryen.setDebugInfo(true);
    binaryen.setAlwaysInlineMaxSize(INLINE_NODES_MAX);
    binaryen.setFlexibleInlineMaxSize(INLINE_NODES_MAX);
    binaryen.setOneCallerInlineMaxSize(INLINE_NODES_MAX);
    binaryen.clearPassArguments();
    return use(module);
  } finally {
    binaryen.clearPassArguments();
    binaryen.setDebugInfo(debugInfo);
    module.dispose();
  }
}

/** Weaves in saving and restoring of the call stack around everything that can lead to `ferry.exit`. */
export function weaveUnwinding(text: string): string {
  return withModule(text, (module) => {
    binaryen.setPassArgument('asyncify-imports', 'ferry.exit');
    module.runPasses(['asyncify']);
    return module.emitText();
  });
}

export interface FinishedModule {
  readonly binary: Uint8Array;
  /** By function index, imports first. */
  readonly functionNames: readonly string[];
}

/** Inlines the small helpers, tidies up after them, and writes the binary. */
export function finishModule(text: string): FinishedModule {
  return withModule(text, (module) => {
    module.runPasses(['inlining-optimizing']);
    const names: { name: string; imported: boolean }[] = [];
    for (let i = 0; i < module.getNumFunctions(); i++) {
      const info = binaryen.getFunctionInfo(module.getFunctionByIndex(i));
      names.push({ name: info.name, imported: info.module !== '' && info.module !== null });
    }
    const ordered = [...names.filter((f) => f.imported), ...names.filter((f) => !f.imported)];
    return { binary: module.emitBinary(), functionNames: ordered.map((f) => f.name) };
  });
}
