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

/** A program that looks, one after the other, whether a function that is called often enough is optimised within so many ms. */
const optimised = (...steps: readonly (readonly [first: string, withinMs: number])[]): string => `
  const isOptimised = async (withinMs) => {
    const hot = new Function('let x = 0; for (let i = 0; i < 1e3; i++) x = (x + i) | 0; return x;');
    const until = performance.now() + withinMs;
    // The engine does it on another thread, when it gets a turn.
    do {
      for (let i = 0; i < 500; i++) hot();
      await new Promise((resolve) => setTimeout(resolve, 1));
    } while (!%ActiveTierIsTurbofan(hot) && performance.now() < until);
    return %ActiveTierIsTurbofan(hot);
  };
  const found = [];
  let from = performance.now();
  ${steps.map(([first, withinMs]) => `${first}\nfound.push(await isOptimised(${withinMs}));`).join('\n')}
  console.log(JSON.stringify(found));`;

it('optimises nothing from the last round on, or once the guest’s code is here, until the migration is over and a moment longer', async () => {
  for (const [hold, over] of [
    ['holdOptimiser();', 'migrationMoved("completed");'],
    ['migrationMoved("pre-switchover");', 'migrationMoved("failed");'],
    ['migrationMoved("pre-switchover");', 'migrationMoved("cancelled");'],
  ] as const) {
    const program = optimised([hold, 200], [over, 200], ['', 20_000]);
    // A host may be so busy that the moment is over before it was looked.
    const soon = 'found[1] &&= performance.now() - from < 1000;';
    const told = await ask(
      program
        .replace(over, `from = performance.now(); ${over}`)
        .replace('console.log', `${soon}\nconsole.log`),
    );
    expect([hold, over, told]).toEqual([hold, over, [false, false, true]]);
  }
  // Left alone, it does.
  expect(await ask(optimised(['', 20_000]))).toEqual([true]);
});

it('optimises nothing in a migration that begins in that moment', async () => {
  const [hold, over] = ['migrationMoved("pre-switchover");', 'migrationMoved("completed");'];
  expect(await ask(optimised([`${hold} ${over} ${hold}`, 3000]))).toEqual([false]);
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
