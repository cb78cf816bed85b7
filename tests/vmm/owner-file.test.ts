/** Who has the guest, on disk: state by state, and by VMM processes of which one is killed when it matters. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { FaultProxy } from '../../dist/lab/faults/link/proxy.js';
import { type SpawnOptions, spawnVmm, type Vmm } from '../../dist/lab/vmm-client/spawn.js';
import type { DestinationState, SourceState } from '../../migration/states.js';
import { type OwnerEntry, OwnerFile } from '../../vmm/process/owner-file.js';

const folder = mkdtempSync(join(tmpdir(), 'ferry-owner-'));
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const entry = (path: string): OwnerEntry => JSON.parse(readFileSync(path, 'utf8')) as OwnerEntry;

describe('a file of who has the guest', () => {
  let count = 0;
  const fresh = (): string => join(folder, `owner-${count++}`);
  const fail = (error: Error): void => {
    throw error;
  };
  const open = (path: string, starts: boolean): OwnerFile => {
    const file = new OwnerFile(path, starts, fail);
    cleanups.push(() => file.close());
    return file;
  };
  const about = { otherSide: 'tcp:10.0.0.2:4444', migrationId: 'abc' };

  /** What the file says after each state. */
  function saysOfSource(file: OwnerFile, path: string, states: readonly SourceState[]): string[] {
    return states.map((state) => {
      file.moved({ role: 'source', state, ...about });
      return entry(path).guest;
    });
  }

  function saysOfDestination(file: OwnerFile, path: string, states: readonly DestinationState[]): string[] {
    return states.map((state) => {
      file.moved({ role: 'destination', state, ...about });
      return entry(path).guest;
    });
  }

  it('says what the source may claim after each state', () => {
    const path = fresh();
    const file = open(path, true);
    expect(entry(path).guest).toBe('here');
    expect(saysOfSource(file, path, ['setup', 'active', 'pre-switchover', 'device'])).toEqual(
      Array(4).fill('here'),
    );
    expect(saysOfSource(file, path, ['committed', 'device', 'failed'])).toEqual(['unknown', 'here', 'here']);
    expect(saysOfSource(file, path, ['setup', 'committed', 'unacknowledged'])).toEqual([
      'here',
      'unknown',
      'unknown',
    ]);
    expect(entry(path)).toMatchObject(about);
    // People have found out, and let it go on here.
    file.runs();
    expect(entry(path).guest).toBe('here');
    expect(saysOfSource(file, path, ['setup', 'committed', 'completed'])).toEqual([
      'here',
      'unknown',
      'elsewhere',
    ]);
  });

  it('says what the destination has promised, and takes it back where it never will run the guest', () => {
    const path = fresh();
    const file = open(path, false);
    expect(saysOfDestination(file, path, ['setup', 'active', 'device', 'prepared', 'failed'])).toEqual([
      ...['none', 'none', 'none'],
      ...['unknown', 'none'],
    ]);
    expect(saysOfDestination(file, path, ['setup', 'active', 'device', 'failed'])).toEqual(
      Array(4).fill('none'),
    );
    expect(saysOfDestination(file, path, ['setup', 'prepared', 'committed', 'completed'])).toEqual([
      ...['none', 'unknown'],
      ...['here', 'here'],
    ]);
    // It was given to this side, which could not let it run: nobody else has it.
    expect(saysOfDestination(file, path, ['setup', 'prepared', 'committed', 'failed']).at(-1)).toBe('here');
  });

  it('lets no second copy start, and a guest come back', () => {
    const path = fresh();
    const first = open(path, true);
    saysOfSource(first, path, ['setup', 'committed']);
    expect(() => open(path, true)).toThrow(/may have it, since migration abc/);
    saysOfSource(first, path, ['completed']);
    expect(() => open(path, true)).toThrow(/was moved to tcp:10\.0\.0\.2:4444/);
    expect(entry(path).guest).toBe('elsewhere');
    const again = open(path, false);
    expect(entry(path).guest).toBe('elsewhere');
    expect(saysOfDestination(again, path, ['setup', 'prepared', 'failed'])).toEqual([
      ...['elsewhere', 'unknown'],
      'elsewhere',
    ]);
    expect(saysOfDestination(again, path, ['setup', 'prepared', 'committed']).at(-1)).toBe('here');
    // It ended with its VMM, and may be started anew.
    expect(() => open(path, true)).not.toThrow();
  });

  it('is one sector, and nothing that somebody else wrote', () => {
    const path = fresh();
    open(path, true).moved({
      ...{ role: 'source', state: 'committed', migrationId: 'f'.repeat(32) },
      otherSide: `unix:/${'x'.repeat(500)}`,
    });
    expect(statSync(path).size).toBe(512);
    for (const text of ['my notes', '{}', '{"guest":"mine","otherSide":"","migrationId":"","since":""}']) {
      const other = fresh();
      writeFileSync(other, text);
      expect(() => open(other, true)).toThrow(/no VMM wrote what is in it/);
      expect(readFileSync(other, 'utf8')).toBe(text);
    }
    expect(() => open(join(folder, 'no', 'file'), true)).toThrow(
      expect.objectContaining({ code: 'vmm/owner-file' }),
    );
  });
});

describe('--owner-file', () => {
  const KERNEL = fileURLToPath(new URL('../../dist/guests/kernel.img', import.meta.url));
  const LEDGER = { guest: KERNEL, memoryBytes: 64 * MIB, append: 'workload=ledger status_ms=100' } as const;

  async function start(options: SpawnOptions): Promise<Vmm> {
    const vmm = await spawnVmm(options);
    cleanups.push(() => vmm.kill());
    return vmm;
  }

  it('keeps a source that was killed before its commit was answered from being started again', async () => {
    const [here, there] = [join(folder, 'here'), join(folder, 'there')];
    const [source, destination] = await Promise.all([
      start({ ...LEDGER, ownerFile: here }),
      start({ incoming: 'tcp:127.0.0.1:0', ownerFile: there }),
    ]);
    expect([entry(here).guest, entry(there).guest]).toEqual(['here', 'none']);
    const proxy = await FaultProxy.open(await destination.incomingAddress(), [
      { at: { message: 'running' }, does: { kind: 'swallow' } },
    ]);
    cleanups.push(() => proxy.close());
    const moved = source.migrate(proxy.address).catch(() => undefined);
    await destination.waitForConsole(/ledger: .*clean/);
    expect(entry(here)).toMatchObject({ guest: 'unknown', otherSide: proxy.address });
    expect(entry(there).guest).toBe('here');
    await source.kill();
    await moved;
    await expect(start({ ...LEDGER, ownerFile: here })).rejects.toMatchObject({
      code: 'vmm/guest-elsewhere',
      facts: { guest: 'unknown', otherSide: proxy.address },
    });
    // The other one is moved whole; its file says so, and it ends.
    const next = await start({ incoming: 'tcp:127.0.0.1:0', ownerFile: here });
    await destination.migrate(await next.incomingAddress());
    expect([entry(there).guest, entry(here).guest]).toEqual(['elsewhere', 'here']);
  });
});
