/**
 * SIMD kernels on guest RAM. Each is a small WebAssembly text file in this folder that imports the memory it works
 * on, in place and without a copy; `scripts/build-kernels.mjs` compiles them at build time.
 */
import { readFileSync } from 'node:fs';
import { builtFile } from '../built.js';

const modules = new Map<string, WebAssembly.Module>();

/** The compiled kernel `name`, read once per thread. */
export function kernelModule(name: string): WebAssembly.Module {
  let module = modules.get(name);
  if (module === undefined) {
    module = new WebAssembly.Module(readFileSync(builtFile(`vmm/kernels/${name}.wasm`)));
    modules.set(name, module);
  }
  return module;
}

/** Instantiates kernel `name` on `memory` and returns its functions; the caller names their shape. */
export function kernelOn<Exports>(name: string, memory: WebAssembly.Memory): Exports {
  const instance = new WebAssembly.Instance(kernelModule(name), { env: { memory } });
  return instance.exports as unknown as Exports;
}
