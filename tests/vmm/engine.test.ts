/** What the engine is asked for: asked of the engine itself, in a process of its own. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, expect, it } from 'vitest';
import { builtFile, bundleOf, compiledOf } from '../../vmm/built.js';

const folder = mkdtempSync(join(tmpdir(), 'ferry-engine-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const ENGINE = JSON.stringify(pathToFileURL(builtFile('vmm/process/engine.js').pathname).href);

/** Runs a program that may ask V8 about functions (`%GetOptimizationStatus`), and gives what it prints as JSON. */
async function ask(program: string): Promise<unknown> {
  writeFileSync(
    join(folder, 'called-by-nobody.mjs'),
    'export const f = () => [1, 2, 3].map((x) => x * 2);\n',
  );
  const file = join(folder, 'program.mjs');
  writeFileSync(file, `import { compileAhead, holdOptimiser, migrationMoved } from ${ENGINE};\n${program}`);
  const { stdout } = await promisify(execFile)(process.execPath, ['--allow-natives-syntax', file]);
  return JSON.parse(stdout);
}

const status = (first: string): string => `${first}
const { f } = await import('./called-by-nobody.mjs');
console.log(%GetOptimizationStatus(f));`;

it('compiles what nobody has called yet', async () => {
  const left = await ask(status(''));
  expect(left).toBe(await ask(status('migrationMoved("active");')));
  expect(left).not.toBe(await ask(status('compileAhead();')));
});

it('optimises nothing from the last round on, or once the guest’s code is here, until the migration is over', async () => {
  const program = (hold: string, over: string): string => `
    const isOptimised = async () => {
      const hot = new Function('let x = 0; for (let i = 0; i < 1e3; i++) x = (x + i) | 0; return x;');
      const until = performance.now() + 10_000;
      for (let i = 0; i < 500; i++) hot();
      // The engine does it on another thread, when it gets a turn.
      while (expected && !%ActiveTierIsTurbofan(hot) && performance.now() < until) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        for (let i = 0; i < 100; i++) hot();
      }
      return %ActiveTierIsTurbofan(hot);
    };
    let expected = false;
    ${hold}
    const held = await isOptimised();
    expected = true;
    ${over}
    console.log(JSON.stringify([held, await isOptimised()]));`;
  for (const [hold, over] of [
    ['holdOptimiser();', 'migrationMoved("completed");'],
    ['migrationMoved("pre-switchover");', 'migrationMoved("failed");'],
    ['migrationMoved("pre-switchover");', 'migrationMoved("cancelled");'],
  ] as const) {
    expect([hold, over, await ask(program(hold, over))]).toEqual([hold, over, [false, true]]);
  }
  // Left alone, it does.
  expect(await ask(program('expected = true;', ''))).toEqual([true, true]);
});

it('is asked before a VMM’s code is loaded', async () => {
  const loaded = (load: string): string => `
    import { createRequire } from 'node:module';
    import { loadVmm } from ${JSON.stringify(builtFile('vmm/process/load.js').href)};
    console.log(%GetOptimizationStatus((${load}).runVmm));`;
  const start = JSON.stringify(compiledOf(new URL('file:///vmm.js')).pathname);
  expect(await ask(loaded('loadVmm()'))).not.toBe(
    await ask(loaded(`createRequire(import.meta.url)(${start})`)),
  );
  // And nothing of the VMM's is loaded with the entry itself.
  const entry = readFileSync(bundleOf(new URL('file:///main.js')), 'utf8');
  const modules = [...entry.matchAll(/^import .* from "(.*)"/gm)].map(([, name]) => name);
  expect(modules).toEqual([expect.stringMatching(/^\.\/load-/)]);
});
