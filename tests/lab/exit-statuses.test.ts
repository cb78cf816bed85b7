/** Exit statuses: real commands end with the class that the one table has. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { EXIT_STATUS } from '../../base/exit-status.js';
import { KERNEL_IMAGE } from '../../dist/lab/move/scenario.js';

const FERRY = fileURLToPath(new URL('../../dist/bin/ferry.js', import.meta.url));
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

  it('whose guest crashes shows what it said last once, where its console is shown', () => {
    const args = ['migrate', '--nic', 'none', '--memory', '64MiB', '--workload', 'stress'];
    const { status, out, err } = run([...args, '--working-set', '62MiB']);
    expect(status).toBe(EXIT_STATUS.guest);
    expect(out.match(/ panic - not syncing: Out of memory.* does not fit .* bytes$/gm)).toHaveLength(1);
    expect(err).toMatch(/^ferry: the guest reported a panic \[lab\/guest-ended\]\n/);
  });

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
});
