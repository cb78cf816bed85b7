/** The guest kernel as the compiler leaves it. */
import { fileURLToPath } from 'node:url';
import { compileAssemblyScript } from '../../guest-fixtures/toolchain/assemblyscript.js';

const KERNEL = fileURLToPath(new URL('../../guest-fixtures/kernel', import.meta.url));

/** `entry`: `main.ts` is the kernel, `kunit/main.ts` its own tests. */
export async function kernelBinary(entry = 'main.ts'): Promise<Uint8Array<ArrayBuffer>> {
  return (await compileAssemblyScript(KERNEL, entry)) as Uint8Array<ArrayBuffer>;
}

export async function compileKernel(entry?: string): Promise<WebAssembly.Module> {
  return new WebAssembly.Module(await kernelBinary(entry));
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
