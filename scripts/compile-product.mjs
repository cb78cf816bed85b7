// Before the tests: what they test is the compiled product (see vitest.config.ts), which must be that of the sources as they are.
// What is compiled already takes half a second. Errors are printed, and the tests run all the same, on what could be made of it.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

export default function compileProduct() {
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  spawnSync(process.execPath, [tsc, '-b', 'lab'], { cwd: root, stdio: 'inherit' });
}
