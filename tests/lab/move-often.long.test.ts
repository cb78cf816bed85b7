/** A guest that goes there and back between the same two real processes, again and again. */
import { afterEach, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { KERNEL_IMAGE } from '../../dist/lab/move/scenario.js';
import { spawnVmm, type Vmm } from '../../dist/lab/vmm-client/spawn.js';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function spawned(options: Parameters<typeof spawnVmm>[0]): Promise<Vmm> {
  const vmm = await spawnVmm(options);
  cleanups.push(() => vmm.quit());
  return vmm;
}

it('moves ten times, all of it compared before each commit, with its ledger clean', async () => {
  const append = 'workload=ledger status_ms=50';
  let source = await spawned({ guest: KERNEL_IMAGE, memoryBytes: 64 * MIB, append });
  let destination = await spawned({ incoming: 'defer' });
  await source.waitForConsole(/clean/);
  for (let i = 0; i < 10; i++) {
    await source.execute('migrate-set-parameters', { verify: 'full' });
    const record = await source.migrate(await destination.migrateIncoming('tcp:127.0.0.1:0'));
    expect(record.verification).toMatchObject({ mode: 'full', established: true });
    for (let line = 0; line < 2; line++) {
      await destination.waitForConsole(/clean/, { after: destination.console.length });
    }
    expect(destination.console.filter(({ text }) => /CORRUPT|panic/.test(text))).toEqual([]);
    expect(await source.runState()).toBe('postmigrate');
    [source, destination] = [destination, source];
  }
}, 240_000);
