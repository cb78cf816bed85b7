/** The package as it is published, installed beside its dependencies and nothing else. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXIT_STATUS } from '../../base/exit-status.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'ferry-package-'));
const modules = join(folder, 'node_modules');
const installed = join(modules, 'vf-ferry');

interface PackageJson {
  readonly bin: { readonly ferry: string };
  readonly dependencies: Readonly<Record<string, string>>;
}

/** Blocks of code in a document of the package that begin so. */
const codeIn = (document: string, begin: string): readonly string[] =>
  [...readFileSync(join(installed, document), 'utf8').matchAll(/```js\n([^`]*)```/g)]
    .map(([, code]) => code!)
    .filter((code) => code.startsWith(begin));

/** Runs the installed command. */
function ferry(...args: string[]) {
  const { bin } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as PackageJson;
  return spawnSync(process.execPath, [join(installed, bin.ferry), ...args], {
    cwd: folder,
    encoding: 'utf8',
  });
}

beforeAll(() => {
  const pack = ['pack', '--json', '--silent', '--ignore-scripts', '--offline', '--pack-destination', folder];
  const [{ filename }] = JSON.parse(execFileSync('npm', pack, { cwd: ROOT, encoding: 'utf8' }));
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', join(folder, filename), '-C', installed, '--strip-components=1']);
  const { dependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as PackageJson;
  for (const name of Object.keys(dependencies)) {
    mkdirSync(dirname(join(modules, name)), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the installed package', () => {
  it('moves a guest to VERIFIED, with nothing built and no package of development', () => {
    const { status, stdout, stderr } = ferry(
      'migrate',
      '--json',
      '--nic',
      'none',
      '--memory',
      '64MiB',
      '--settle',
      '300ms',
    );
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({ verdict: { outcome: 'verified' } });
    expect(status).toBe(0);
  });

  it('runs an experiment in a test suite of node:test, as the docs show it, and fails with what does not hold', () => {
    const [example] = codeIn('docs/experiments.md', 'import { test } from');
    const file = join(folder, 'experiment.test.mjs');
    const run = (text: string) => {
      writeFileSync(file, text);
      return spawnSync(process.execPath, ['--test', file], { cwd: folder, encoding: 'utf8' });
    };
    const good = run(example!);
    expect(good.stdout).toMatch(/# pass 1\b|ℹ pass 1\b/);
    expect(good.status).toBe(0);
    const wrong = run(example!.replace("guest: 'source'", "guest: 'destination'"));
    expect(wrong.stdout).toContain('keeper: source has the guest in the end, and not destination');
    expect(wrong.status).toBe(1);
  });

  it('says what a campaign over many machines needs where that is missing', () => {
    const { status, stderr } = ferry(
      '--json',
      'simulate',
      '--seeds',
      '0..9',
      '--queue',
      'redis://127.0.0.1:1',
    );
    expect(JSON.parse(stderr)).toMatchObject({
      error: { code: 'lab/package-missing', facts: { name: 'bullmq' } },
    });
    expect(status).toBe(EXIT_STATUS.environment);
  });

  it('says what building a guest needs where that is missing', () => {
    const guest = join(folder, 'guest.wat');
    writeFileSync(guest, '(module)');
    const { status, stderr } = ferry('--json', 'guest', 'build', guest);
    expect(JSON.parse(stderr)).toMatchObject({
      error: { code: 'lab/package-missing', facts: { name: 'binaryen' } },
    });
    expect(status).toBe(EXIT_STATUS.environment);
  });
});
