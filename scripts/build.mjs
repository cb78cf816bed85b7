// What the build makes of what the compiler wrote, beside each other: of that the guest's image takes most of the time, and a
// good part of it one core.
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const SCRIPTS = ['build-guests.mjs', 'bundle.mjs', 'build-schema.mjs', 'build-kernels.mjs'];

/** Resolves with the exit status of a script; what it says is said to whoever builds. */
function run(script) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [script], { cwd: root, stdio: 'inherit' });
    child.once('error', reject);
    child.once('exit', (status) => resolve(status ?? 1));
  });
}

const statuses = await Promise.all(SCRIPTS.map((script) => run(join(root, 'scripts', script))));
process.exitCode = statuses.find((status) => status !== 0) ?? 0;
