/** What VMMs started by hand say at the ends of moves that went wrong, and that what they advise works. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { FaultProxy } from '../../dist/lab/faults/link/proxy.js';
import { KERNEL_IMAGE } from '../../dist/lab/move/scenario.js';
import { QmpClient } from '../../dist/lab/vmm-client/qmp-client.js';
import { spawnVmm, type Vmm } from '../../dist/lab/vmm-client/spawn.js';
import type { MigrationInfo } from '../../vmm/monitor/control.js';
import { type Started, startFerry } from '../processes.js';
import type { Lines } from '../waiting.js';

const LEDGER = 'workload=ledger status_ms=100';
const GUEST = { guest: KERNEL_IMAGE, memoryBytes: 64 * MIB, append: LEDGER } as const;
const TIMEOUT_MS = 120_000;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface ByHand {
  readonly process: Started;
  readonly console: Lines;
  readonly notices: Lines;
  readonly client: QmpClient;
}

/** `ferry vmm` as a person starts it. */
async function byHand(...args: string[]): Promise<ByHand> {
  const folder = mkdtempSync(join(tmpdir(), 'ferry-ends-'));
  cleanups.push(() => rmSync(folder, { recursive: true }));
  const monitor = `unix:${join(folder, 'm.sock')}`;
  const process = startFerry(['vmm', '--monitor', monitor, ...args]);
  cleanups.push(() => process.kill());
  const { out: console, err: notices } = process;
  await notices.find(/^ferry: monitor at/);
  const client = await QmpClient.connect(monitor);
  cleanups.push(() => client.close());
  return { process, console, notices, client };
}

/** A network that is gone for good as the commit is about to pass: nobody can be asked any more. */
async function goneAtCommit(there: Vmm): Promise<FaultProxy> {
  const gone = { kind: 'act', act: () => between.close() } as const;
  const rules = [{ at: { message: 'commit' }, does: gone }] as const;
  const between: FaultProxy = await FaultProxy.open(await there.incomingAddress(), rules);
  cleanups.push(() => between.close());
  return between;
}
const ASK_SHORTLY = { 'inquiry-timeout': 300, 'keepalive-interval': 50 };

const source = async (): Promise<ByHand> => {
  const vmm = await byHand('--guest', KERNEL_IMAGE, '--memory', '64MiB', '--append', LEDGER);
  await vmm.console.find(/, clean$/);
  return vmm;
};

async function spawned(options: Parameters<typeof spawnVmm>[0]): Promise<Vmm> {
  const vmm = await spawnVmm(options);
  cleanups.push(() => vmm.kill());
  return vmm;
}

const stateOf = async (client: QmpClient): Promise<string> =>
  ((await client.execute('query-status')) as { status: string }).status;

const refusal = async (asked: Promise<unknown>): Promise<string> =>
  asked.then(
    () => 'it was done',
    (error: Error) => error.message,
  );

describe('a commit that is never acknowledged', () => {
  it(
    'is told of as unknown, with the commands to go on with; these work, and nothing else does',
    async () => {
      const here = await source();
      const there = await spawned({ incoming: 'tcp:127.0.0.1:0' });
      const between = await goneAtCommit(there);
      await here.client.execute('migrate-set-parameters', ASK_SHORTLY);
      await here.client.execute('migrate', { uri: between.address });
      await here.notices.find(/commit was not answered: asking tcp:127.*whether the guest runs there/);
      const advice = await here.notices.find(/`x-ferry-reclaim`/);
      expect(advice).toMatch(/stands still here.*Ask the destination.*`quit` here.*`x-ferry-reclaim` here/);
      const said = here.notices.seen.join('\n');
      expect(said).toMatch(/where the guest runs is unknown/);
      expect(said, 'it is not known that it has moved, nor that it has not').not.toMatch(
        /has moved|was not moved|nothing is lost/,
      );
      expect(await stateOf(here.client)).toBe('finish-migrate');
      for (const [command, args] of [
        ['cont'],
        ['migrate-incoming', { uri: 'tcp:127.0.0.1:0' }],
        ['migrate', { uri: 'tcp:127.0.0.1:1' }],
      ] as const) {
        expect(await refusal(here.client.execute(command, args)), command).toMatch(
          /never acknowledged.*`x-ferry-reclaim` lets it go on here/,
        );
      }
      await here.client.execute('x-ferry-reclaim');
      expect(await stateOf(here.client)).toBe('running');
      await here.console.find(/, clean$/, here.console.seen.length);
      // It is as it was: it can be moved again.
      const next = await byHand('--incoming', 'defer');
      await next.client.execute('migrate-incoming', { uri: 'tcp:127.0.0.1:0' });
      const [, uri] = /at (tcp:127\.0\.0\.1:[1-9]\d*)$/.exec(await next.notices.find(/waiting for a guest/))!;
      await here.client.execute('migrate', { uri });
      await next.console.find(/, clean$/);
      // Each names the guest, and the other side.
      await next.notices.find(/^ferry: the guest kernel runs; it came from 127\.0\.0\.1, port \d+$/);
      await here.notices.find(new RegExp(`^ferry: the guest kernel has moved to ${uri}; \`quit\``));
      expect(here.notices.seen[1]).toBe('ferry: the guest kernel runs');
    },
    TIMEOUT_MS,
  );

  it(
    'leaves an assigned device that works again when its guest is reclaimed',
    async () => {
      const here = await spawned({ ...GUEST, nic: 'vf' });
      const there = await spawned({ incoming: 'tcp:127.0.0.1:0', nic: 'vf' });
      await here.waitForConsole(/, clean$/);
      const between = await goneAtCommit(there);
      await here.execute('migrate-set-parameters', ASK_SHORTLY);
      expect(await refusal(here.migrate(between.address))).toMatch(/where the guest runs is unknown/);
      expect((await here.record())?.guest).toBe('unknown');
      await here.execute('x-ferry-reclaim');
      expect((await here.nics()).map(({ state }) => state)).toEqual(['RUNNING']);
      await here.waitForConsole(/, clean$/, { after: here.console.length });
    },
    TIMEOUT_MS,
  );
});

describe('another device at the destination', () => {
  it(
    'is refused before any page, with what differs, by a start that takes its state; the same device is not',
    async () => {
      const nic = 'vf,revision=2,vectors=2,queues=1';
      const here = await spawned({ ...GUEST, nic });
      await here.waitForConsole(/, clean$/);
      for (const [other, mac, why] of [
        ['vf,vectors=2,queues=1', undefined, /revision 2 at the source, 1 here/],
        ['vf,revision=2,queues=1', undefined, /vectors 2 at the source, 3 here/],
        ['vf,revision=2,vectors=2', undefined, /queues 1 at the source, 2 here/],
        [nic, '52:54:00:00:00:99', /mac 52:54:00:12:34:56 at the source, 52:54:00:00:00:99 here/],
      ] as const) {
        const there = await spawned({ incoming: 'tcp:127.0.0.1:0', nic: other, ...(mac && { mac }) });
        await here.execute('migrate-set-parameters', { start: 'device-state' });
        expect(await refusal(here.migrate(await there.incomingAddress()))).toMatch(why);
        expect((await here.record())?.transferred.pages).toBe(0);
      }
      const there = await spawned({ incoming: 'tcp:127.0.0.1:0', nic });
      expect((await here.migrate(await there.incomingAddress())).status).toBe('completed');
      await there.waitForConsole(/, clean$/);
    },
    TIMEOUT_MS,
  );
});

describe('what stands in the way of a migration', () => {
  it(
    'is told before one is tried, and is what it is refused for; the guest runs on',
    async () => {
      const here = await spawned({ ...GUEST, nic: 'vf,enable-migration=off' });
      const reasons = async () => ((await here.execute('query-migrate')) as MigrationInfo)['blocked-reasons'];
      await here.execute('migrate-set-parameters', { stop: 'device-state' });
      const why = /vf0: it does not speak VFIO migration/;
      expect(await reasons()).toEqual([expect.stringMatching(why)]);
      const there = await spawned({ incoming: 'tcp:127.0.0.1:0', nic: 'vf' });
      expect(await refusal(here.migrate(await there.incomingAddress()))).toMatch(why);
      await here.waitForConsole(/, clean$/, { after: here.console.length });
      // A device that speaks it is none.
      expect(await there.execute('query-migrate')).not.toHaveProperty('blocked-reasons');
      const other = await spawned({ ...GUEST, nic: 'vf' });
      expect(await other.execute('query-migrate')).not.toHaveProperty('blocked-reasons');
    },
    TIMEOUT_MS,
  );
});

describe('a source that is ended while its guest is being moved', () => {
  it.each(['quit', 'SIGTERM'] as const)(
    'by %s: both sides say that the guest ended with it',
    async (how) => {
      const here = await source();
      const there = await byHand('--incoming', 'tcp:127.0.0.1:0');
      const [, address] = /waiting for a guest at (\S+)/.exec(
        await there.notices.find(/waiting for a guest at/),
      )!;
      await here.client.execute('migrate-set-parameters', { 'max-bandwidth': 2 * MIB });
      await here.client.execute('migrate-set-capabilities', {
        capabilities: [{ capability: 'events', state: true }],
      });
      const pass = here.client.waitFor('MIGRATION_PASS');
      await here.client.execute('migrate', { uri: address });
      await pass;
      if (how === 'quit') await here.client.execute('quit').catch(() => undefined);
      else here.process.child.kill(how);
      expect((await here.process.ended()).status).toBe(how === 'quit' ? 0 : 143);
      await there.process.ended();
      for (const { notices } of [here, there]) {
        const words = notices.seen.join('\n');
        expect(words).toMatch(/the VMM at the source was ended in phase active/);
        expect(words).toMatch(/ended with (this VMM|the VMM of the source)/);
        expect(words).not.toMatch(/goes on|nothing is lost|is here|stays with/);
      }
    },
    TIMEOUT_MS,
  );
});

describe('a source that stands still in the switchover for longer than its destination waits', () => {
  it(
    'has its guest again, or has given it away: never does anybody have to be asked',
    async () => {
      const ends: string[] = [];
      // The switchover takes a few milliseconds; where in it the source stops, or whether after it, is chance.
      for (let attempt = 0; attempt < 8 && !ends.includes('migration/peer-silent'); attempt++) {
        const there = await spawned({ incoming: 'defer' });
        const here = await spawned(GUEST);
        for (const vmm of [here, there]) {
          await vmm.execute('migrate-set-parameters', { 'keepalive-interval': 50, 'peer-timeout': 200 });
        }
        await there.execute('migrate-set-capabilities', {
          capabilities: [{ capability: 'events', state: true }],
        });
        await here.waitForConsole(/, clean$/);
        const address = await there.migrateIncoming('tcp:127.0.0.1:0');
        const ended = there.waitFor('MIGRATION', {
          where: ({ status }) => status === 'failed' || status === 'completed',
        });
        const stopped = here.waitFor('STOP');
        const moved = here.migrate(address).then(
          () => 'moved',
          (error: { code: string }) => error.code,
        );
        stopped.catch(() => undefined);
        // On a busy machine it may be given up on before it comes so far.
        const stands = await Promise.race([stopped.then(() => true), moved.then(() => false)]);
        const from = performance.now();
        while (performance.now() - from < 3 - (attempt % 4));
        if (stands) process.kill(here.pid, 'SIGSTOP');
        const { status } = (await ended).data;
        if (stands) process.kill(here.pid, 'SIGCONT');
        const end = await moved;
        const owner = status === 'completed' ? there : here;
        if (stands) ends.push(end);
        expect(await owner.runState(), end).toBe('running');
        expect((await here.record())?.guest).toBe(status === 'completed' ? 'there' : 'here');
        await owner.waitForConsole(/, clean$/, { after: owner.console.length });
        await Promise.all([here.kill(), there.kill()]);
      }
      expect(ends).not.toContain('migration/commit-unacknowledged');
      expect(ends, 'one was given up on').toContain('migration/peer-silent');
    },
    TIMEOUT_MS,
  );
});

describe('a stranger at the door of a VMM that waits', () => {
  it(
    'is told of, with the reason',
    async () => {
      const there = await byHand('--incoming', 'tcp:127.0.0.1:0');
      const port = Number(/tcp:127\.0\.0\.1:(\d+)/.exec(await there.notices.find(/tcp:127/))![1]);
      const stranger = connect(port, '127.0.0.1', () => stranger.write('GET / HTTP/1.1\r\n\r\n'));
      stranger.on('error', () => {});
      cleanups.push(() => stranger.destroy());
      expect(await there.notices.find(/turned away/)).toMatch(/^ferry: turned away 127\.0\.0\.1.*: ./);
      expect(await stateOf(there.client)).toBe('inmigrate');
    },
    TIMEOUT_MS,
  );
});

describe('a bandwidth limit of a few bytes a second', () => {
  it(
    'is waited for, and lifted while it holds',
    async () => {
      const here = await spawned(GUEST);
      const there = await spawned({ incoming: 'tcp:127.0.0.1:0' });
      await here.waitForConsole(/, clean$/);
      await here.execute('migrate-set-parameters', { 'max-bandwidth': 1 });
      const moved = here.migrate(await there.incomingAddress());
      moved.catch(() => undefined);
      await here.waitFor('MIGRATION', { where: ({ status }) => status === 'active' });
      // The guest runs meanwhile.
      await here.waitForConsole(/, clean$/, { after: here.console.length });
      expect((await here.record())?.status).toBe('active');
      await here.execute('migrate-set-parameters', { 'max-bandwidth': 0 });
      expect((await moved).status).toBe('completed');
      await there.waitForConsole(/, clean$/);
    },
    TIMEOUT_MS,
  );
});
