// Bundles each program and each thread's entry into one file of dist/bin, so that it starts without looking up some two
// hundred modules; `ferry` keeps its commands apart, to load only the one asked for. Packages stay outside. With names, such as
// `crew-worker`, these threads' entries alone, whether or not anything changed.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const PROGRAMS = ['lab/ferry.ts', 'vmm/process/main.ts'];
// What is also compiled, with the engine's flags that a VMM sets, so that it starts from bytecode (vmm/process/compiled-ahead.ts).
const AHEAD = [
  'vmm/process/vmm.ts',
  'vmm/machine/thread/device-worker.ts',
  'vmm/vcpu/thread/vcpu-worker.ts',
  'vmm/vcpu/thread/alarm-worker.ts',
  'vmm/transfer/source-worker.ts',
  'vmm/transfer/destination-worker.ts',
];
const ALONE = [
  'vmm/threads/prealloc-worker.ts',
  'vmm/transfer/hash-worker.ts',
  'lab/bench/transfer-process.ts',
  'lab/simulator/crew-worker.ts',
  'lab/fuzz/fuzz-worker.ts',
  'guest-fixtures/toolchain/finish-worker.ts',
];

// Packages that these hold, or an engine would compile all of each at every start: what of them is used comes with the bytecode. Of
// msgpackr it is what runs without a native helper, which takes longer to load than it saves.
const INSIDE = {
  valibot: 'node_modules/valibot/dist/index.mjs',
  msgpackr: 'node_modules/msgpackr/index.js',
};
// Sets those flags; of use here alone.
const ENGINE = 'vmm/process/engine.ts';

const FOLDERS = ['base', 'devices', 'guest-fixtures/toolchain', 'iommu', 'lab', 'migration', 'vmm'];

const self = fileURLToPath(import.meta.url);
const root = fileURLToPath(new URL('..', import.meta.url));
const target = join(root, 'dist/bin');
const fresh = `${target}.${process.pid}`;

/** 0 of what is not there. */
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

/** Whose code is in the bundles, and under which terms. */
function writeLicences() {
  const texts = Object.keys(INSIDE).map((name) => {
    const folder = join(root, 'node_modules', name);
    const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
    return `${name} ${version}\n\n${readFileSync(join(folder, file), 'utf8').trim()}\n`;
  });
  writeFileSync(join(fresh, 'LICENSES.txt'), texts.join(`\n${'-'.repeat(80)}\n\n`));
}

/** Compiles what is compiled ahead, and writes for each the file that starts it. */
function compile() {
  const engine = pathToFileURL(join(fresh, 'engine.js')).href;
  const ahead = join(fresh, 'compiled-ahead.cjs');
  const names = readdirSync(fresh);
  const files = AHEAD.map((entry) => {
    const name = basename(entry, '.ts');
    const file = names.find((each) => each.startsWith(`${name}-`) && each.endsWith('.cjs'));
    const path = join(fresh, file);
    // What starts it gives it that function.
    writeFileSync(path, readFileSync(path, 'utf8').replace(/\bawait import\(/g, 'await importModule('));
    writeFileSync(
      join(fresh, `${name}.cjs`),
      `'use strict';\nmodule.exports = require('./compiled-ahead.cjs').runBundle(require.resolve('./${file}'));\n`,
    );
    return path;
  });
  const program = `
    import ahead from ${JSON.stringify(pathToFileURL(ahead).href)};
    import { compileAhead } from ${JSON.stringify(engine)};
    compileAhead();
    for (const file of ${JSON.stringify(files)}) ahead.compileBundle(file);`;
  execFileSync(process.execPath, ['--input-type=module', '--eval', program], { stdio: 'inherit' });
  for (const file of ['engine.js', 'engine.js.map']) rmSync(join(fresh, file));
}

const names = process.argv.slice(2);
if (names.length > 0) {
  const { bundle } = await import('./rolldown.mjs');
  const entries = ALONE.filter((entry) => names.includes(basename(entry, '.ts')));
  await Promise.all(entries.map((entry) => bundle(fresh, [entry])));
  for (const name of readdirSync(fresh)) renameSync(join(fresh, name), join(target, name));
  rmSync(fresh, { recursive: true });
} else if (modified(join(target, 'ferry.js')) < sourcesModified()) {
  const { bundle } = await import('./rolldown.mjs');
  mkdirSync(fresh, { recursive: true });
  await Promise.all([
    bundle(fresh, PROGRAMS, { codeSplitting: true }),
    ...ALONE.map((entry) => bundle(fresh, [entry])),
    bundle(fresh, [ENGINE]),
    bundle(fresh, ['vmm/process/compiled-ahead.ts'], { format: 'cjs', entryFileNames: '[name].cjs' }),
    // Bytecode fits one text, and the engine compares no more than lengths: so both are called after what is in them.
    ...AHEAD.map((entry) =>
      bundle(fresh, [entry], { format: 'cjs', entryFileNames: '[name]-[hash].cjs' }, INSIDE),
    ),
  ]);
  writeLicences();
  compile();
  // Who starts a bundle meanwhile finds the old one or the new one. Parts of commands that nothing names any more go last.
  mkdirSync(target, { recursive: true });
  const made = new Set(readdirSync(fresh));
  for (const name of made) renameSync(join(fresh, name), join(target, name));
  for (const name of readdirSync(target)) if (!made.has(name)) rmSync(join(target, name));
  rmSync(fresh, { recursive: true });
}
