/** Compiles a guest written in AssemblyScript to the WebAssembly module that `buildImage` takes. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GUEST_DATA_BASE } from '../../base/abi/image.js';
import { guestErrors } from './errors.js';

/**
 * No garbage collector and no allocator of the compiler's: a guest brings its own. Memory is as large as static data
 * needs, so that its size tells the toolchain where that data ends. Names stay in for crash reports. The toolchain
 * optimises once more, after inlining: more than the first level here takes seconds, and gives nothing to measure.
 */
const OPTIONS = [
  ...['--runtime', 'stub'],
  ...['--importMemory', '--noExportMemory', '--sharedMemory', '--maximumMemory', '65536'],
  ...['--memoryBase', String(GUEST_DATA_BASE)],
  ...['--enable', 'threads', '--enable', 'simd'],
  ...['--optimizeLevel', '1', '--shrinkLevel', '0', '--debug'],
];

/**
 * @param folder folder of the sources
 * @param entry the file in it that exports the guest's entry points
 * @returns the wasm binary; throws `guest/compile` with the compiler's messages
 */
export async function compileAssemblyScript(folder: string, entry: string): Promise<Uint8Array> {
  // Loaded when needed: it takes a while, and building a guest from WebAssembly must work without it.
  const { main } = await import('assemblyscript/asc');
  let binary: Uint8Array | undefined;
  const { error, stderr } = await main([entry, '--outFile', 'guest.wasm', ...OPTIONS], {
    readFile(file) {
      // Only the options above count, not those that editors and the plain compiler find beside the sources.
      if (file.endsWith('asconfig.json')) return null;
      const path = join(folder, file);
      return existsSync(path) ? readFileSync(path, 'utf8') : null;
    },
    writeFile(file, contents) {
      if (file === 'guest.wasm' && typeof contents !== 'string') binary = contents;
    },
    listFiles: () => [],
  });
  if (error !== null || binary === undefined) {
    const problem = stderr.toString().trim() || String(error);
    throw guestErrors.error('compile', { file: join(folder, entry), problem });
  }
  return binary;
}
