/** Exit statuses: real commands end with the class that the one table has, and every help lists what can come. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { EXIT_STATUS, EXIT_WORDS, type ExitClass } from '../../base/exit-status.js';
import { KERNEL_IMAGE } from '../../dist/lab/move/scenario.js';

const FERRY = fileURLToPath(new URL('../../dist/lab/ferry.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'ferry-status-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const MONITOR = ['--monitor', `unix:${join(folder, 'm.sock')}`];

function run(args: readonly string[]): { status: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [FERRY, ...args], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  return { status, out: stdout, err: stderr };
}

const damaged = join(folder, 'damaged.img');
const image = readFileSync(KERNEL_IMAGE);
image[image.length - 100]! ^= 1;
writeFileSync(damaged, image);

describe('a command', () => {
  it.each([
    ['usage', ['migrate', '--memory', 'lots'], 'lab/usage'],
    ['refused', ['guest', 'inspect', damaged], 'image/hash'],
    ['refused', ['inspect', damaged], 'lab/recording-unreadable'],

    ['environment', ['guest', 'inspect', join(folder, 'none.img')], 'lab/file-failed'],
    ['environment', ['vmm', '--guest', join(folder, 'none.img'), ...MONITOR], 'vmm/image-unreadable'],
    ['guest', ['vmm', '--guest', KERNEL_IMAGE, '--append', 'workload=nope'], 'vmm/guest-panic'],
  ] as const)(
    'that ends with %s has its status, and the code in words and in JSON: %j',
    (exit, args, code) => {
      const words = run(args);
      expect(words.status).toBe(EXIT_STATUS[exit]);
      expect(words.err).toMatch(new RegExp(`\\[${code}[\\w/-]*\\]`));
      const json = run([...args, '--json']);
      expect(json.status).toBe(EXIT_STATUS[exit]);
      const { error } = JSON.parse(json.err.trim().split('\n').at(-1)!) as { error: Record<string, unknown> };
      expect(error.code).toMatch(code);
      expect(error).toMatchObject({ exit, exitStatus: EXIT_STATUS[exit] });
    },
  );

  it('that did not compare what it moved says that it is not verified', () => {
    const { status } = run([
      'migrate',
      '--nic',
      'none',
      '--verify',
      'off',
      '--settle',
      '100ms',
      '--memory',
      '64MiB',
    ]);
    expect(status).toBe(EXIT_STATUS['not-verified']);
  });

  it.each([
    ['migrate', ['refused', 'failed', 'unknown-owner', 'not-verified', 'environment', 'guest']],
    ['vmm', ['refused', 'failed', 'environment', 'guest']],
    ['inspect', ['refused', 'not-verified']],
    ['fuzz', ['not-verified']],
  ] as const)('ferry %s --help lists the statuses that can come, and no others', (command, classes) => {
    const { out } = run([command, '--help']);
    for (const exit of Object.keys(EXIT_STATUS) as ExitClass[]) {
      const listed = out.includes(`${String(EXIT_STATUS[exit]).padEnd(4)} ${EXIT_WORDS[exit]}`);
      const expected =
        exit === 'usage' || exit === 'defect' || (classes as readonly ExitClass[]).includes(exit);
      expect(listed, exit).toBe(expected);
    }
  });
});
