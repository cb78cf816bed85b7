/**
 * Runs bundles whose code was compiled when they were built: bytecode lies beside each as `NAME.code`, so that a process or a
 * thread that starts does not read and compile what thousands before it did. Made by `scripts/bundle.mjs`, which bundles
 * this file to be the first thing such a start loads.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { Script } from 'node:vm';

const codeOf = (file: string): string => file.replace(/\.cjs$/, '.code');

/**
 * The wrapper is CommonJS's own, on the first line, so that places in the code are those of the file; and `importModule`, which the
 * build writes for `import`: Node 20 has none for scripts that come with bytecode.
 */
const wrapped = (text: string): string =>
  `(function (exports, require, module, __filename, __dirname, importModule) {${text}\n})`;

function load(file: string, cachedData?: Buffer): Script {
  const text = wrapped(readFileSync(file, 'utf8'));
  return new Script(text, { filename: file, ...(cachedData === undefined ? {} : { cachedData }) });
}

const importModule = (specifier: string): Promise<unknown> => import(specifier);

/**
 * What a bundle (the absolute path of a CommonJS file) exports. Bytecode that is missing, or that another release of Node or an
 * engine with other flags made, is not used; the engine sees to that itself, and the bundle is compiled as any other file is.
 */
export function runBundle(file: string): unknown {
  const require = createRequire(file);
  const module = { exports: {} };
  const run = load(file, bytecode(file)).runInThisContext() as (...given: unknown[]) => void;
  run(module.exports, require, module, file, dirname(file), importModule);
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
