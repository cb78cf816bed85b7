/** The guest kernel as the compiler leaves it. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { compileAssemblyScript } from '../../guest-fixtures/toolchain/assemblyscript.js';

const KERNEL = fileURLToPath(new URL('../../guest-fixtures/kernel', import.meta.url));

const BUILT = fileURLToPath(new URL('../../dist/guests/kernel.wasm', import.meta.url));

/** Test files that share a process share what was compiled: a kernel takes seconds. */
const binaries = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();
const modules = new Map<string, Promise<WebAssembly.Module>>();

/** `entry`: `main.ts` is the kernel, `kunit/main.ts` its own tests. Not to be written to. */
export function kernelBinary(entry = 'main.ts'): Promise<Uint8Array<ArrayBuffer>> {
  return once(
    binaries,
    entry,
    async () =>
      (entry === 'main.ts' ? builtKernel() : undefined) ??
      ((await compileAssemblyScript(KERNEL, entry)) as Uint8Array<ArrayBuffer>),
  );
}

/** What the build compiled, unless a source is younger. */
function builtKernel(): Uint8Array<ArrayBuffer> | undefined {
  const built = statSync(BUILT, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const sources = readdirSync(KERNEL, { recursive: true, encoding: 'utf8' });
  const stale = sources.some((file) => statSync(join(KERNEL, file)).mtimeMs > built);
  return stale ? undefined : new Uint8Array(readFileSync(BUILT));
}

export function compileKernel(entry = 'main.ts'): Promise<WebAssembly.Module> {
  return once(modules, entry, async () => new WebAssembly.Module(await kernelBinary(entry)));
}

function once<T>(known: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const before = known.get(key);
  if (before !== undefined) return before;
  const made = make();
  known.set(key, made);
  return made;
}

/** Numbers of the sections of a wasm binary (core specification, 5.5.2). */
export function sectionsOf(binary: Uint8Array): number[] {
  const sections: number[] = [];
  let at = 8;
  while (at < binary.length) {
    sections.push(binary[at++]!);
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = binary[at++]!;
      length |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    at += length;
  }
  return sections;
}
