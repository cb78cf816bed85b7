// Bundles each program and each thread's entry into one file of dist/bin, so that it starts without looking up some two
// hundred modules; `ferry` keeps its commands apart, to load only the one asked for. Packages stay outside.
import { mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PROGRAMS = ['lab/ferry.ts', 'vmm/process/main.ts'];
const ALONE = [
  'vmm/machine/thread/device-worker.ts',
  'vmm/vcpu/thread/vcpu-worker.ts',
  'vmm/vcpu/thread/alarm-worker.ts',
  'vmm/threads/prealloc-worker.ts',
  'vmm/transfer/hash-worker.ts',
  'vmm/transfer/source-worker.ts',
  'vmm/transfer/destination-worker.ts',
  'lab/bench/transfer-process.ts',
  'lab/simulator/crew-worker.ts',
  'guest-fixtures/toolchain/finish-worker.ts',
];

const FOLDERS = ['base', 'devices', 'guest-fixtures/toolchain', 'iommu', 'lab', 'migration', 'vmm'];

const self = fileURLToPath(import.meta.url);
const root = fileURLToPath(new URL('..', import.meta.url));
const target = join(root, 'dist/bin');
const fresh = `${target}.${process.pid}`;

const modified = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/** When any source of what is bundled last changed. */
function sourcesModified() {
  const sources = FOLDERS.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => join(root, folder, file)),
  );
  return Math.max(...[...sources, self].map(modified));
}

async function bundle(rolldown, entries, codeSplitting) {
  const made = await rolldown({
    cwd: root,
    input: entries.map((entry) => join(root, entry)),
    platform: 'node',
    tsconfig: false,
    external: /^[^./]/,
    resolve: { extensionAlias: { '.js': ['.ts', '.js'] } },
    // Said by TypeScript, in the place where it wants it.
    checks: { invalidAnnotation: false },
  });
  await made.write({
    dir: fresh,
    format: 'esm',
    sourcemap: true,
    sourcemapExcludeSources: true,
    codeSplitting,
    entryFileNames: '[name].js',
    chunkFileNames: '[name]-[hash].js',
  });
  await made.close();
}

if (modified(join(target, 'ferry.js')) < sourcesModified()) {
  const { rolldown } = await import('rolldown');
  mkdirSync(fresh, { recursive: true });
  await Promise.all([
    bundle(rolldown, PROGRAMS, true),
    ...ALONE.map((entry) => bundle(rolldown, [entry], false)),
  ]);
  // Who starts a bundle meanwhile finds the old one or the new one. Parts of commands that nothing names any more go last.
  mkdirSync(target, { recursive: true });
  const names = new Set(readdirSync(fresh));
  for (const name of names) renameSync(join(fresh, name), join(target, name));
  for (const name of readdirSync(target)) if (!names.has(name)) rmSync(join(target, name));
  rmSync(fresh, { recursive: true });
}
