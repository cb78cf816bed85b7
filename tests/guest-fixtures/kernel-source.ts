/** The guest kernel as the compiler leaves it, compiled once per test file. */
import { fileURLToPath } from 'node:url';
import { compileAssemblyScript } from '../../guest-fixtures/toolchain/assemblyscript.js';

const KERNEL = fileURLToPath(new URL('../../guest-fixtures/kernel', import.meta.url));

/** `entry`: `main.ts` is the kernel, `kunit/main.ts` its own tests. */
export async function compileKernel(entry = 'main.ts'): Promise<WebAssembly.Module> {
  return new WebAssembly.Module((await compileAssemblyScript(KERNEL, entry)) as Uint8Array<ArrayBuffer>);
}
