// Builds all there is in dist, side by side, since most of it is made straight from the sources: of all that the guest's image takes
// most of the time, and a good part of that one core.
//
//     node scripts/build.mjs              all of it; types are checked
//     node scripts/build.mjs --to-run     what the `ferry` command needs to move a guest, for who has just come: no types, no modules
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const TYPESCRIPT = ['node_modules/typescript/bin/tsc', '-b'];
const TO_RUN = [['scripts/build-guests.mjs'], ['scripts/bundle.mjs'], ['scripts/build-kernels.mjs']];

/** Resolves with the exit status of a script; what it says is said to whoever builds. */
function run([script, ...options]) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, script), ...options], { cwd: root, stdio: 'inherit' });
    child.once('error', reject);
    child.once('exit', (status) => resolve(status ?? 1));
  });
}

/** The schema is made by what the compiler has made. */
async function modules() {
  return (await run(TYPESCRIPT)) || (await run(['scripts/build-schema.mjs']));
}

const toRun = process.argv.includes('--to-run');
const statuses = await Promise.all([...TO_RUN.map(run), ...(toRun ? [] : [modules()])]);
process.exitCode = statuses.find((status) => status !== 0) ?? 0;
