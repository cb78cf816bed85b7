// Runs the tests on other releases of Node than the one at hand: `npm run test:nodes`, or `npm run test:nodes -- 24 tests/vmm`.
// npm carries Node's binaries as packages, one for each platform; they are kept below node_modules/.cache.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const RELEASES = ['22', '24'];

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const vitest = join(root, 'node_modules/vitest/vitest.mjs');

/** The binary of the newest Node of a release. Ends the process if it can't be had. */
function nodeOf(release) {
  const name = `node-${process.platform}-${process.arch}`;
  const folder = join(root, 'node_modules/.cache/nodes', release);
  const binary = join(folder, 'node_modules', name, 'bin/node');
  if (!existsSync(binary)) {
    mkdirSync(folder, { recursive: true });
    const options = ['--prefix', folder, '--no-save', '--no-package-lock', '--no-audit', '--no-fund'];
    const { status } = spawnSync('npm', ['install', ...options, `${name}@${release}`], { stdio: 'inherit' });
    if (status !== 0 || !existsSync(binary)) {
      console.error(`Node ${release} can't be had: npm has no usable package ${name}@${release}`);
      process.exit(1);
    }
  }
  return binary;
}

const given = process.argv.slice(2);
const asked = given.filter((argument) => /^\d+$/.test(argument));
const filters = given.filter((argument) => !/^\d+$/.test(argument));
const failed = [];
for (const release of asked.length > 0 ? asked : RELEASES) {
  const node = nodeOf(release);
  const version = spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout?.trim();
  console.log(`\nNode ${version}`);
  // What the tests start by the name of `node` is that one as well.
  const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` };
  const { status } = spawnSync(node, [vitest, 'run', ...filters], { cwd: root, stdio: 'inherit', env });
  if (status !== 0) failed.push(version ?? release);
}
if (failed.length > 0) {
  console.error(`\nThe tests fail on Node ${failed.join(', ')}`);
  process.exit(1);
}
