// How the build makes JavaScript of TypeScript without checking its types: bundles, straight from the sources.
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

export const root = fileURLToPath(new URL('..', import.meta.url));

/**
 * Bundles `entries` (paths from the root) into the folder `dir`; `output` goes before what is usual here. Packages stay outside but
 * for those that `inside` names, each with the file that is taken for it, from the root.
 */
export async function bundle(dir, entries, output = {}, inside = {}) {
  const made = await rolldown({
    cwd: root,
    input: entries.map((entry) => join(root, entry)),
    platform: 'node',
    tsconfig: false,
    external: (id) => /^[^./]/.test(id) && inside[id] === undefined,
    resolve: {
      extensionAlias: { '.js': ['.ts', '.js'] },
      alias: Object.fromEntries(Object.entries(inside).map(([name, file]) => [name, join(root, file)])),
    },
    // Said by TypeScript, in the place where it wants it.
    checks: { invalidAnnotation: false },
  });
  await made.write({
    dir,
    format: 'esm',
    sourcemap: true,
    sourcemapExcludeSources: true,
    codeSplitting: false,
    entryFileNames: '[name].js',
    chunkFileNames: '[name]-[hash].js',
    ...output,
  });
  await made.close();
}
