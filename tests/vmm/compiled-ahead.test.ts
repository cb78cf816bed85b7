/** Bytecode beside bundles: asked of the engine itself, in processes of its own, since its flags are the process's. */
import { execFile } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';
import { builtFile } from '../../vmm/built.js';

const folder = mkdtempSync(join(tmpdir(), 'ferry-ahead-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const bin = fileURLToPath(builtFile('bin/'));
const AHEAD = JSON.stringify(builtFile('bin/compiled-ahead.cjs').href);
const ENGINE = JSON.stringify(builtFile('vmm/process/engine.js').href);

/** What a program prints as JSON that may use `ahead`, `compileAhead` and `file`. */
async function ask(file: string, program: string): Promise<unknown> {
  const text = `import ahead from ${AHEAD}; import { compileAhead, holdOptimiser, migrationMoved } from ${ENGINE};
    const file = ${JSON.stringify(file)}; ${program}`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', text]);
  return JSON.parse(stdout);
}

const taken = 'console.log(ahead.takesBytecode(file));';

function bundle(name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
}

it('lies beside each bundle that is compiled ahead, for the release of Node that built it', () => {
  const starts = readdirSync(bin).filter(
    (name) => /^[a-z-]+\.cjs$/.test(name) && name !== 'compiled-ahead.cjs',
  );
  expect(starts.sort()).toEqual([
    'alarm-worker.cjs',
    'destination-worker.cjs',
    'device-worker.cjs',
    'source-worker.cjs',
    'vcpu-worker.cjs',
    'vmm.cjs',
  ]);
  for (const start of starts) {
    const named = /resolve\('\.\/([^']+)'/.exec(readFileSync(join(bin, start), 'utf8'))?.[1] ?? '';
    expect([
      start,
      existsSync(join(bin, named)),
      existsSync(join(bin, named.replace(/cjs$/, 'code'))),
    ]).toEqual([start, true, true]);
  }
});

it('is taken by a VMM’s engine, also after a migration, and not by one with other flags', async () => {
  const file = join(folder, 'vmm.cjs');
  const built = readdirSync(bin).find((name) => /^vmm-.*\.cjs$/.test(name));
  copyFileSync(join(bin, built!), file);
  await ask(file, 'compileAhead(); ahead.compileBundle(file); console.log(1);');
  expect(await ask(file, `compileAhead(); ${taken}`)).toBe(true);
  expect(await ask(file, taken)).toBe(false);
  // While the optimiser is held the flags are others: what starts then is compiled as if there were no bytecode.
  const held = 'compileAhead(); holdOptimiser();';
  expect(await ask(file, `${held} ${taken}`)).toBe(false);
  const until = 'while (!ahead.takesBytecode(file)) await new Promise((resolve) => setTimeout(resolve, 20));';
  expect(await ask(file, `${held} migrationMoved('completed'); ${until} ${taken}`)).toBe(true);
});

it('is what runs: even for another text of the same length, which is why names carry what texts hold', async () => {
  const answer = 'compileAhead(); console.log(JSON.stringify(ahead.runBundle(file).f()));';
  const file = bundle('small.cjs', "exports.f = () => 'one';\n");
  await ask(file, 'compileAhead(); ahead.compileBundle(file); console.log(1);');
  bundle('small.cjs', "exports.f = () => 'two';\n");
  expect(await ask(file, answer)).toBe('one');
  expect(await ask(file, answer.replace('compileAhead();', ''))).toBe('two');
  bundle('small.cjs', "exports.f = () => 'three';\n");
  expect(await ask(file, answer)).toBe('three');
});

it('is no condition: a bundle runs without it as with it, and has what files have', async () => {
  const file = bundle(
    'alone.cjs',
    `exports.all = async () => [typeof require('node:fs').readFileSync, (await importModule('node:path')).basename(__filename), __dirname];\n`,
  );
  const all = 'compileAhead(); console.log(JSON.stringify(await ahead.runBundle(file).all()));';
  const expected = ['function', 'alone.cjs', folder];
  expect(await ask(file, all)).toEqual(expected);
  await ask(file, 'compileAhead(); ahead.compileBundle(file); console.log(1);');
  expect(await ask(file, all)).toEqual(expected);
  // No bundle imports by itself.
  const built = readdirSync(bin).filter((name) => /-.*\.cjs$/.test(name) && name !== 'compiled-ahead.cjs');
  for (const name of built) expect(readFileSync(join(bin, name), 'utf8'), name).not.toMatch(/\bimport\(/);
});
