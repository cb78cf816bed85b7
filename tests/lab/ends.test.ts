/** How things end that go wrong around a move: in words, in time, and with nothing left behind. */

import { mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { EXIT_STATUS } from '../../base/exit-status.js';
import { MIB } from '../../base/units.js';
import { explain } from '../../dist/lab/commands/inspect.js';
import { migrate } from '../../dist/lab/index.js';
import { KERNEL_IMAGE, type MigrateOptions } from '../../dist/lab/move/scenario.js';
import { QmpClient } from '../../dist/lab/vmm-client/qmp-client.js';
import { spawnVmm } from '../../dist/lab/vmm-client/spawn.js';
import { startFerry } from '../processes.js';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'ferry-ends-'));
  cleanups.push(() => rmSync(made, { recursive: true }));
  return made;
}

describe('values that a move can not have', () => {
  const wrong: readonly (readonly [string, object])[] = [
    ['workload', { workload: 'nope' }],
    ['nope', { nope: 1 }],
    ['settleMs', { settleMs: Number.NaN }],
    ['settleMs', { settleMs: -5 }],
    ['flows.0', { flows: ['x'] }],
    ['flows', { flows: ['echo', 'echo'] }],
    ['nic', { nic: 'q' }],
    ['dirtyRate', { dirtyRate: -3, workload: 'stress' }],
    ['channels', { channels: 99 }],
    ['memoryBytes', { memoryBytes: 64 * MIB + 1 }],
    ['seed', { seed: 0.5 }],
  ];
  it.each(wrong)('are refused by the name of the option: %s %j', async (name, options) => {
    await expect(migrate(options as MigrateOptions)).rejects.toMatchObject({
      code: 'lab/usage',
      message: expect.stringMatching(new RegExp(`^${name}: `)),
    });
  });
});

describe('whoever waits for a guest’s console', () => {
  it('hears at once that the guest has crashed, and what it said last', async () => {
    const append = 'workload=ledger working_set=62914560';
    const vmm = await spawnVmm({ guest: KERNEL_IMAGE, memoryBytes: 64 * MIB, append });
    cleanups.push(() => vmm.quit());
    await expect(vmm.waitForConsole(/never/)).rejects.toMatchObject({
      code: 'lab/guest-ended',
      message: expect.stringMatching(/panic.*does not fit/),
    });
    await expect(vmm.waitForConsole(/never/), 'and later as well').rejects.toMatchObject({
      code: 'lab/guest-ended',
    });
    await expect(vmm.waitForConsole(/Out of memory/)).resolves.toBeDefined();
  });
});

describe('a VMM that lives and does not answer', () => {
  it('is ended all the same', async () => {
    const vmm = await spawnVmm({ incoming: 'tcp:127.0.0.1:0' });
    process.kill(vmm.pid, 'SIGSTOP');
    expect(await vmm.quit()).toMatchObject({ signal: 'SIGKILL' });
  });
});

describe('a recording', () => {
  it('of a migration that went well is whole, every time, and holds nothing of the one before', async () => {
    const recordTo = join(folder(), 'recording');
    const options: MigrateOptions = { nic: 'none', memoryBytes: 64 * MIB, settleMs: 200, recordTo };
    for (const channels of [4, 2]) {
      const { verdict } = await migrate({ ...options, channels });
      expect(verdict.outcome).toBe('verified');
      const files = readdirSync(recordTo).sort();
      expect(files).toHaveLength(1 + channels);
      for (const file of files) expect(explain(join(recordTo, file)).sound, file).toBe(true);
    }
  });

  it.each([
    ['/proc/nowhere', 'transfer/recording-failed'],
    ['FILE', 'transfer/recording-failed'],
  ])('that can not be made at %s is found out before anything is moved', async (place, code) => {
    const file = join(folder(), 'file');
    writeFileSync(file, '');
    const recordTo = place === 'FILE' ? file : place;
    await expect(migrate({ nic: 'none', memoryBytes: 64 * MIB, recordTo })).rejects.toMatchObject({ code });
  });
});

/** Runs `ferry` with nobody at its standard output, or with `stdout`. */
async function run(
  args: readonly string[],
  stdout: number | 'pipe',
): Promise<{ status: number | null; words: string }> {
  const started = startFerry(args, { stdio: ['ignore', stdout, 'pipe'] });
  started.child.stdout?.destroy();
  const { status, stderr } = await started.ended();
  return { status, words: stderr };
}

describe('a VMM started by hand', () => {
  it('says why its guest was not moved, as JSON lines if asked to, and its console too', async () => {
    const monitor = `unix:${join(folder(), 'm.sock')}`;
    const args = [
      'vmm',
      '--json',
      '--guest',
      KERNEL_IMAGE,
      '--append',
      'workload=idle',
      '--monitor',
      monitor,
    ];
    const { out, err } = startFerry(args);
    await out.find(/^\{"console":".*Ferry version/);
    const client = await QmpClient.connect(monitor);
    await client.execute('migrate', { uri: 'tcp:127.0.0.1:1' });
    await err.find(/^\{"notice":"the guest was not moved: .*nobody listens there/);
    await client.execute('quit');
    client.close();
  });
});

describe('a word that is no command', () => {
  it.each([
    ['guest', 'bild'],
    ['bench', 'nope'],
  ])('is named: ferry %s %s', async (group, word) => {
    const { status, words } = await run([group, word], 'pipe');
    expect(status).toBe(2);
    expect(words).toMatch(`unknown command '${word}'`);
  });
});

describe('output that nobody takes', () => {
  it('ends a command as SIGPIPE would, without a word', async () => {
    expect(await run(['guest', 'inspect', KERNEL_IMAGE], 'pipe')).toEqual({ status: 141, words: '' });
    expect(await run(['migrate', '--nic', 'none'], 'pipe')).toEqual({ status: 141, words: '' });
  });

  it('or has no room is one error in words', async () => {
    const { status, words } = await run(['guest', 'inspect', KERNEL_IMAGE], openSync('/dev/full', 'w'));
    expect(status).toBe(EXIT_STATUS.environment);
    expect(words).toMatch(
      /^ferry: standard output can't be written: no space is left \[lab\/file-failed\]\n/,
    );
    expect(words).not.toMatch(/ at |node:/);
  });
});
