import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import { MIB } from '../../base/units.js';
import { KERNEL_IMAGE } from '../../lab/move/scenario.js';
import { spawnVmm, type Vmm } from '../../lab/vmm-client/spawn.js';

const run = promisify(execFile);
const RAM_BYTES = 256 * MIB;

const built = (path: string): string => JSON.stringify(new URL(`../../dist/${path}`, import.meta.url).href);

test('RAM that was touched is resident, with what was in it', async () => {
  // In a process of its own: what a whole process has resident is told, and in this one others come and go.
  const script = `
    import { allocateRam } from ${built('vmm/ram/guest-ram.js')};
    import { preallocate } from ${built('vmm/threads/prealloc.js')};
    const memory = allocateRam(${RAM_BYTES});
    const words = new Uint32Array(memory.buffer);
    words[0] = 0xffff_ffff;
    words[1024] = 5;
    const before = process.memoryUsage.rss();
    await preallocate(memory);
    const grown = process.memoryUsage.rss() - before;
    console.log(JSON.stringify({ grown, words: [words[0], words[1024], words[2048]] }));`;
  const folder = mkdtempSync(join(tmpdir(), 'ferry-prealloc-'));
  try {
    const file = join(folder, 'touched.mjs');
    writeFileSync(file, script);
    const { stdout } = await run(process.execPath, [file]);
    const { grown, words } = JSON.parse(stdout);
    expect(grown).toBeGreaterThan(RAM_BYTES * 0.9);
    expect(words).toEqual([0xffff_ffff, 5, 0]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

describe('a VMM', () => {
  const vmms: Vmm[] = [];
  const spawned = async (options: Parameters<typeof spawnVmm>[0]): Promise<Vmm> => {
    const vmm = await spawnVmm({ memoryBytes: RAM_BYTES, prealloc: true, ...options });
    vmms.push(vmm);
    return vmm;
  };
  const resident = async (vmm: Vmm): Promise<number> => (await vmm.memory()).residentBytes;
  afterAll(() => Promise.all(vmms.map((vmm) => vmm.quit())));

  test('with prealloc has all of its RAM when it is ready, for a guest that boots, comes, or comes back', async () => {
    const source = await spawned({ guest: KERNEL_IMAGE, append: 'workload=idle status_ms=100' });
    expect(await resident(source)).toBeGreaterThan(RAM_BYTES);
    const destination = await spawned({ incoming: 'tcp:127.0.0.1:0' });
    expect(await resident(destination)).toBeGreaterThan(RAM_BYTES);
    await source.migrate(await destination.incomingAddress());
    // What the guest left is given up before, or this would be twice as much.
    const address = await source.migrateIncoming('tcp:127.0.0.1:0');
    const again = await resident(source);
    expect(again).toBeGreaterThan(RAM_BYTES);
    expect(again).toBeLessThan(2 * RAM_BYTES);
    const after = source.console.length;
    await destination.migrate(address);
    await source.waitForConsole(/idle: up/, { after });
  });
});
