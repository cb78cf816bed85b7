/** An approach of one's own in VMM processes: loaded by command line and monitor, and a whole move by it. Needs the built tree. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { type Display, silentDisplay } from '../../dist/lab/move/display.js';
import { migrate } from '../../dist/lab/move/move.js';
import { spawnVmm, type Vmm } from '../../dist/lab/vmm-client/spawn.js';

const EXAMPLE = `module:${fileURLToPath(new URL('../../docs/examples/scan-late.mjs', import.meta.url))}`;
const TIMEOUT_MS = 60_000;

const folder = mkdtempSync(join(tmpdir(), 'ferry-own-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const vmms: Vmm[] = [];
afterEach(async () => {
  await Promise.all(vmms.splice(0).map((vmm) => vmm.quit()));
});

describe('an approach that is a module', () => {
  it(
    'moves a guest between two processes that have both loaded it, and is in the record by its name',
    async () => {
      const { verdict, record } = await migrate({
        memoryBytes: 64 * MIB,
        settleMs: 500,
        rate: 2000,
        tracking: EXAMPLE,
      });
      expect(verdict.checks.filter(({ outcome }) => outcome !== 'held')).toEqual([]);
      expect(record!.approaches).toMatchObject({ tracking: 'scan-late' });
      expect(record!.verification).toMatchObject({ mode: 'after', established: true, differences: [] });
    },
    TIMEOUT_MS,
  );

  it('is loaded when the monitor is told to, all or nothing, and known by its name from then on', async () => {
    const vmm = await spawnVmm({ incoming: 'defer', nic: 'vf' });
    vmms.push(vmm);
    const parameters = (): Promise<unknown> => vmm.execute('query-migrate-parameters');
    const set = (changes: Record<string, unknown>): Promise<unknown> =>
      vmm.execute('migrate-set-parameters', changes);
    await expect(set({ tracking: 'scan-late' })).rejects.toThrow(/must be one of auto, /);
    await expect(set({ tracking: 'module:./no-such.mjs', 'max-rounds': 3 })).rejects.toThrow(
      /module:\.\/no-such\.mjs: it can't be loaded/,
    );
    expect(await parameters()).toMatchObject({ tracking: 'auto', 'max-rounds': 30 });
    await set({ tracking: EXAMPLE, 'max-rounds': 3 });
    expect(await parameters()).toMatchObject({ tracking: 'scan-late', 'max-rounds': 3 });
    await set({ tracking: 'auto' });
    await set({ tracking: 'scan-late' });
    // The same again is no second approach of that name.
    await set({ tracking: EXAMPLE });
  });

  it('that is none ends a VMM before it has a guest, with the path', async () => {
    const none = spawnVmm({ incoming: 'defer', nic: 'vf', stop: EXAMPLE });
    await expect(none).rejects.toMatchObject({
      code: 'migration/own-approach',
      message: expect.stringMatching(/scan-late\.mjs: it exports no descriptor, neither as `stop`/),
    });
  });

  it('that does not go with another is refused before any process starts, with what would do', async () => {
    const file = join(folder, 'vanish.mjs');
    const steps = '{ quiesce: async () => {}, resume: async () => undefined }';
    writeFileSync(
      file,
      `export default { name: 'vanish', text: 'gone', leaves: 'nothing', make: () => (${steps}) };`,
    );
    const told: string[] = [];
    const display: Display = { ...silentDisplay, step: (text) => told.push(text) };
    await expect(migrate({ stop: `module:${file}`, start: 'device-state' }, display)).rejects.toMatchObject({
      code: 'migration/approach',
      message: expect.stringMatching(
        /start = device-state: stop = vanish leaves no device; this start goes with stop = device-state/,
      ),
    });
    expect(told).toEqual([]);
  });
});
