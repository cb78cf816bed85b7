/**
 * Runs bundles whose code was compiled when they were built: bytecode lies beside each as `NAME.code`, so that a process or a
 * thread that starts does not read and compile what thousands before it did. Made by `scripts/bundle.mjs`, which bundles
 * this file to be the first thing such a start loads.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { constants, Script } from 'node:vm';

const codeOf = (file: string): string => file.replace(/\.cjs$/, '.code');

/** The wrapper is CommonJS's own, on the first line, so that places in the code are those of the file. */
const wrapped = (text: string): string =>
  `(function (exports, require, module, __filename, __dirname) {${text}\n})`;

function load(file: string, cachedData?: Buffer): Script {
  return new Script(wrapped(readFileSync(file, 'utf8')), {
    filename: file,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    ...(cachedData === undefined ? {} : { cachedData }),
  });
}

/**
 * What a bundle (the absolute path of a CommonJS file) exports. Bytecode that is missing, or that another release of Node or an
 * engine with other flags made, is not used; the engine sees to that itself, and the bundle is compiled as any other file is.
 */
export function runBundle(file: string): unknown {
  const require = createRequire(file);
  // Before 20.12 Node can't give such a script the `import()` that files have.
  if (constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER === undefined) return require(file) as unknown;
  const module = { exports: {} };
  const run = load(file, bytecode(file)).runInThisContext() as (...given: unknown[]) => void;
  run(module.exports, require, module, file, dirname(file));
  return module.exports;
}

function bytecode(file: string): Buffer | undefined {
  try {
    return readFileSync(codeOf(file));
  } catch {
    return undefined;
  }
}

/** Compiles a bundle with the engine's flags as they are now, and writes the bytecode beside it. */
export function compileBundle(file: string): void {
  writeFileSync(codeOf(file), load(file).createCachedData());
}

/** Whether the engine takes the bytecode that lies beside a bundle, with its flags as they are now. */
export const takesBytecode = (file: string): boolean =>
  load(file, bytecode(file)).cachedDataRejected === false;
