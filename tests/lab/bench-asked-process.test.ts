/** Processes of a benchmark do not outlive it. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { builtFile, bundleOf } from '../../vmm/built.js';

const program = `
import { AskedProcess } from ${JSON.stringify(builtFile('lab/bench/asked-process.js').href)};
import { readFileSync } from 'node:fs';
const settings = { bytes: 131072, channels: 1, integrity: false, runPages: 0 };
const module = new URL(${JSON.stringify(bundleOf(new URL('file:///transfer-process.js')).href)});
await new AskedProcess(module, 'source', settings).ask({ step: 'open' });
const [child] = readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8').trim().split(' ');
console.log(child);
process.kill(process.pid, 'SIGKILL');`;

test('a process that is asked ends with who asks it, threads and all, however that ends', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ferry-asked-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'asks.mjs');
  writeFileSync(file, program);
  const child = await new Promise<string>((resolve) => {
    execFile(process.execPath, [file], (_error, stdout) => resolve(stdout.trim()));
  });
  expect(child).toMatch(/^[0-9]+$/);
  await expect.poll(() => existsSync(`/proc/${child}`), { timeout: 20_000 }).toBe(false);
});
