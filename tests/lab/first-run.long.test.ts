/** What `npm start` does for who has just come: builds what it runs, and nothing else, and moves a guest. */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const clone = mkdtempSync(join(tmpdir(), 'ferry-clone-'));

const run = (...args: string[]) =>
  spawnSync(process.execPath, args, { cwd: clone, encoding: 'utf8', maxBuffer: 2 ** 26 });

beforeAll(() => {
  const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  for (const file of files.split('\0')) {
    if (file !== '' && existsSync(join(ROOT, file))) cpSync(join(ROOT, file), join(clone, file));
  }
  symlinkSync(join(ROOT, 'node_modules'), join(clone, 'node_modules'));
});
afterAll(() => rmSync(clone, { recursive: true, force: true }));

describe('a fresh clone', () => {
  it('is built without types or modules, and moves a guest to VERIFIED', () => {
    const { scripts } = JSON.parse(readFileSync(join(clone, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    expect(scripts.start).toBe('node scripts/build.mjs --to-run && node dist/bin/ferry.js migrate');
    const built = run('scripts/build.mjs', '--to-run');
    expect(built.stderr).toBe('');
    expect(built.status).toBe(0);
    expect(built.stdout).toMatch(/built dist.guests.kernel\.img/);
    expect(existsSync(join(clone, 'dist/lab'))).toBe(false);
    const moved = run('dist/bin/ferry.js', 'migrate', '--json', '--memory', '64MiB', '--settle', '300ms');
    expect(moved.stderr).toBe('');
    expect(JSON.parse(moved.stdout)).toMatchObject({ verdict: { outcome: 'verified' } });
    expect(moved.status).toBe(0);
  });

  it('builds nothing a second time', () => {
    const again = run('scripts/build.mjs', '--to-run');
    expect([again.status, again.stdout, again.stderr]).toEqual([0, '', '']);
  });

  it('says whose code its bundles hold', () => {
    const licences = readFileSync(join(clone, 'dist/bin/LICENSES.txt'), 'utf8');
    for (const name of ['valibot', 'msgpackr']) expect(licences).toMatch(new RegExp(`^${name} \\d`, 'm'));
    expect(licences.match(/Permission is hereby granted/g)).toHaveLength(2);
  });
});
