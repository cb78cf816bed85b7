// Compiles every vmm/kernels/*.wat to dist/vmm/kernels/*.wasm, so that the VMM at run time needs no assembler.
// A kernel imports guest RAM as `env.memory` (shared, up to 65536 pages); see vmm/kernels/load.ts.
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const source = fileURLToPath(new URL('../vmm/kernels/', import.meta.url));
const target = fileURLToPath(new URL('../dist/vmm/kernels/', import.meta.url));
const self = fileURLToPath(import.meta.url);

const modified = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

const stale = readdirSync(source)
  .filter((file) => file.endsWith('.wat'))
  .map((file) => ({ wat: source + file, wasm: target + file.replace(/\.wat$/, '.wasm') }))
  .filter(({ wat, wasm }) => modified(wasm) < Math.max(modified(wat), modified(self)));

if (stale.length > 0) {
  const { default: binaryen } = await import('binaryen');
  const features = binaryen.Features;
  mkdirSync(target, { recursive: true });
  for (const { wat, wasm } of stale) {
    const module = binaryen.parseText(readFileSync(wat, 'utf8'));
    module.setFeatures(
      features.MVP |
        features.Atomics |
        features.BulkMemory |
        features.BulkMemoryOpt |
        features.MutableGlobals |
        features.NontrappingFPToInt |
        features.SIMD128 |
        features.SignExt,
    );
    if (!module.validate()) throw new Error(`${wat} is not valid`);
    const bytes = module.emitBinary();
    if (!WebAssembly.validate(bytes)) throw new Error(`${wat} compiles to what this Node does not accept`);
    writeFileSync(wasm, bytes);
    module.dispose();
  }
}
