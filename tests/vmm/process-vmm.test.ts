/** VMM processes as they are spawned, driven and ended in earnest. Needs the built tree. */

import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { POWER_BASE } from '../../base/abi/platform.js';
import { EXIT_STATUS } from '../../base/exit-status.js';
import { MIB } from '../../base/units.js';
import { QmpClient } from '../../dist/lab/vmm-client/qmp-client.js';
import { type SpawnOptions, spawnVmm, type Vmm } from '../../dist/lab/vmm-client/spawn.js';
import { buildImage } from '../../guest-fixtures/toolchain/build.js';
import { type Ended, FERRY, startFerry, start as startNode } from '../processes.js';

const KERNEL = fileURLToPath(new URL('../../dist/guests/kernel.img', import.meta.url));
const LEDGER = { guest: KERNEL, memoryBytes: 64 * MIB, append: 'workload=ledger status_ms=100' } as const;
const INCOMING = 'tcp:127.0.0.1:0';

let directory = '';
const vmms: Vmm[] = [];
const file = (name: string): string => join(directory, name);

/** A guest in WebAssembly text that does one thing. */
const oneThing = (body: string): string => `(module
  (import "ferry" "memory" (memory 2 65536 shared))
  (import "ferry" "mmio_write" (func $mmio_write (param i32 i32 i32)))
  (func (export "irq_entry") (param i32))
  (func (export "start_kernel") (param i32) ${body}))`;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'ferry-process-'));
  const power = (what: number): string =>
    `(call $mmio_write (i32.const ${POWER_BASE}) (i32.const 4) (i32.const ${what}))`;
  for (const [name, body] of [
    ['trap', '(i32.store (i32.const -8) (i32.const 1))'],
    ['off', power(1)],
  ]) {
    writeFileSync(file(`${name}.img`), await buildImage(oneThing(body), { name }));
  }
});

afterEach(async () => {
  await Promise.all(vmms.splice(0).map((vmm) => vmm.kill()));
});

afterAll(() => rmSync(directory, { recursive: true, force: true }));

async function start(options: SpawnOptions): Promise<Vmm> {
  const vmm = await spawnVmm(options);
  vmms.push(vmm);
  return vmm;
}

const coded = (code: string): unknown => expect.objectContaining({ code });

/** Runs `ferry` to its end. */
async function ferry(...args: string[]): Promise<Ended & { readonly pid: number }> {
  const started = startFerry(args);
  return { ...(await started.ended()), pid: started.pid };
}

/** The next status line of the ledger says that it is clean. */
async function stillClean(vmm: Vmm): Promise<void> {
  const line = await vmm.waitForConsole(/^\[.*\] ledger: .* transactions/, { after: vmm.console.length });
  expect(line.text).toMatch(/, clean$/);
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe('VMM processes', () => {
  it('a guest moves there and back between the same two, and goes on clean each time', async () => {
    const there = await start({ incoming: INCOMING });
    const here = await start(LEDGER);
    await stillClean(here);
    expect((await here.memory()).ramBytes).toBe(64 * MIB);
    let [from, to] = [here, there];
    for (let move = 0; move < 4; move++) {
      const address = move === 0 ? await to.incomingAddress() : await to.migrateIncoming('tcp:127.0.0.1:0');
      const record = await from.migrate(address);
      expect(record).toMatchObject({ status: 'completed', verification: { mode: 'root' } });
      expect([await from.runState(), await to.runState()]).toEqual(['postmigrate', 'running']);
      const silentFrom = from.console.length;
      await stillClean(to);
      await stillClean(to);
      // The one that gave the guest away hears nothing of it any more.
      expect(from.console.length).toBe(silentFrom);
      [from, to] = [to, from];
    }
    expect(await here.quit()).toEqual({ exitStatus: 0, signal: undefined, error: undefined });
    expect((await there.quit()).exitStatus).toBe(0);
  });

  it('a guest that was stopped arrives stopped, and goes on when it is told to', async () => {
    const there = await start({ incoming: `unix:${file('in.sock')}` });
    const here = await start(LEDGER);
    await stillClean(here);
    await here.execute('stop');
    await here.migrate(await there.incomingAddress());
    expect(await there.runState()).toBe('paused');
    const resumed = there.waitFor('RESUME');
    await there.execute('cont');
    await resumed;
    await stillClean(there);
  });

  it('the destination dies in each phase: exactly one side runs the guest, or nobody who may not', async () => {
    const here = await start({ ...LEDGER, paused: true });
    await here.execute('cont');
    await here.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
    // Nobody is left to be asked.
    await here.execute('migrate-set-parameters', { 'inquiry-timeout': 0 });
    for (const phase of ['setup', 'active', 'pre-switchover', 'device']) {
      await stillClean(here);
      const there = await start({ incoming: INCOMING });
      const slow = phase === 'active' ? 4 * MIB : 0;
      await here.execute('migrate-set-parameters', { 'max-bandwidth': slow });
      const reached = here.waitFor('MIGRATION', { where: ({ status }) => status === phase });
      const moved = here.migrate(await there.incomingAddress()).then(
        () => 'completed',
        (error: { code: string }) => error.code,
      );
      await reached;
      await there.kill();
      const outcome = await moved;
      if (outcome === 'completed' || outcome === 'migration/commit-unacknowledged') {
        // It was given away before the other side died; then it must not run here.
        expect(await here.runState()).toBe(outcome === 'completed' ? 'postmigrate' : 'finish-migrate');
        return;
      }
      expect(await here.runState()).toBe('running');
      await stillClean(here);
    }
  });

  it('the source dies in mid-migration: a destination ends with the reason, one with defer waits on', async () => {
    for (const defer of [false, true]) {
      const there = await start(defer ? { incoming: 'defer' } : { incoming: INCOMING });
      const address = defer ? await there.migrateIncoming(INCOMING) : await there.incomingAddress();
      const here = await start(LEDGER);
      await stillClean(here);
      await here.execute('migrate-set-parameters', { 'max-bandwidth': 4 * MIB });
      await there.execute('migrate-set-capabilities', {
        capabilities: [{ capability: 'events', state: true }],
      });
      const active = there.waitFor('MIGRATION', { where: ({ status }) => status === 'active' });
      here.migrate(address).catch(() => undefined);
      await active;
      const failed = there.waitFor('MIGRATION', { where: ({ status }) => status === 'failed' });
      await here.kill();
      await failed;
      if (!defer) {
        const { exitStatus, error } = await there.exited;
        expect(error?.code).toMatch(/^(migration|transfer)\//);
        expect(exitStatus).toBe(error?.exitStatus);
        continue;
      }
      expect(await there.runState()).toBe('inmigrate');
      const next = await start(LEDGER);
      await stillClean(next);
      await next.migrate(await there.incomingAddress());
      await stillClean(there);
    }
  });

  it('a cancelled migration leaves the guest running, and the next one succeeds', async () => {
    const there = await start({ incoming: 'defer' });
    const here = await start(LEDGER);
    await stillClean(here);
    await here.execute('migrate_cancel');
    await here.execute('migrate-set-parameters', { 'max-bandwidth': 4 * MIB });
    const address = await there.migrateIncoming(INCOMING);
    await here.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
    const active = here.waitFor('MIGRATION', { where: ({ status }) => status === 'active' });
    const moved = here.migrate(address);
    moved.catch(() => undefined);
    await active;
    await expect(here.execute('migrate', { uri: address })).rejects.toEqual(coded('lab/monitor-refused'));
    await here.execute('migrate_cancel');
    await expect(moved).rejects.toEqual(coded('migration/cancelled'));
    expect(await here.execute('query-migrate')).toMatchObject({ status: 'cancelled' });
    expect(await here.runState()).toBe('running');
    await stillClean(here);
    await here.execute('migrate-set-parameters', { 'max-bandwidth': 0 });
    await here.migrate(address);
    await stillClean(there);
  });

  it('a destination of another size refuses, names the differences, and the guest goes on', async () => {
    const there = await start({ incoming: INCOMING, memoryBytes: 128 * MIB, vcpus: 2 });
    const here = await start(LEDGER);
    await stillClean(here);
    await expect(here.migrate(await there.incomingAddress())).rejects.toMatchObject({
      message: expect.stringMatching(/RAM bytes: the source has 67108864, this machine 134217728; vCPUs/),
    });
    expect((await there.exited).error).toMatchObject({ code: 'vmm/machine-incompatible', exit: 'refused' });
    await stillClean(here);
  });

  it('nobody at the address: the migration fails with words, the guest goes on', async () => {
    const here = await start(LEDGER);
    await stillClean(here);
    await expect(here.migrate('tcp:127.0.0.1:1')).rejects.toEqual(coded('control-link/connect-failed'));
    expect(await here.execute('query-migrate')).toMatchObject({
      status: 'failed',
      'error-desc': expect.stringContaining('nobody listens there'),
    });
    await stillClean(here);
  });

  it('a guest that crashes is reported, and its VMM answers and refuses what makes no sense', async () => {
    const vmm = await start({ guest: file('trap.img'), memoryBytes: 64 * MIB, paused: true });
    const panicked = vmm.waitFor('GUEST_PANICKED');
    await vmm.execute('cont');
    expect((await panicked).data).toMatchObject({
      action: 'pause',
      info: { desc: expect.stringContaining('out of bounds') },
    });
    expect(await vmm.runState()).toBe('guest-panicked');
    for (const command of ['cont', 'stop', 'migrate']) {
      const args = command === 'migrate' ? { uri: 'tcp:127.0.0.1:1' } : {};
      await expect(vmm.execute(command, args)).rejects.toMatchObject({
        message: expect.stringContaining('the guest has crashed'),
      });
    }
    expect((await vmm.quit()).exitStatus).toBe(0);
  });

  it('without a monitor a guest that ends takes its VMM along, with a status that tells how', async () => {
    const [crashed, panicked, off] = await Promise.all([
      ferry('vmm', '--guest', file('trap.img')),
      ferry('vmm', '--guest', KERNEL, '--append', 'workload=nonsense'),
      ferry('vmm', '--guest', file('off.img')),
    ]);
    expect(crashed.status).toBe(EXIT_STATUS.guest);
    expect(crashed.stderr).toMatch(/ferry: guest crashed: .*\n {2}The fault is in the guest/);
    expect(panicked.status).toBe(EXIT_STATUS.guest);
    expect(panicked.stdout).toMatch(/Kernel panic/);
    expect(off.status).toBe(0);
    for (const { stderr } of [crashed, panicked, off]) expect(stderr).not.toMatch(/\n\s+at /);
  });

  it.each([
    ['vmm/image-unreadable', { guest: '/no/such/image' }],
    ['base/image-damaged', { guest: FERRY }],
    ['vmm/machine-option', { guest: KERNEL, memoryBytes: 12345 }],
    ['vmm/options', { guest: KERNEL, incoming: INCOMING }],
    ['vmm/options', { nonsense: 1 } as SpawnOptions],
    ['vmm/listen-failed', { incoming: 'tcp:192.0.2.1:1', insecure: true }],
    ['tls/insecure', { incoming: 'tcp:192.0.2.1:1' }],
    ['tls/no-credentials', { incoming: 'tcp:127.0.0.1:0', tlsCreds: '/nonexistent' }],
    ['vmm/bad-address', { guest: KERNEL, monitors: ['carrier-pigeon'] }],
  ])('a VMM that cannot start rejects with %s', async (code, options) => {
    const error = (await spawnVmm(options).catch((e: unknown) => e)) as { code: string };
    if (code === 'base/image-damaged') expect(error.code).toMatch(/image/);
    else expect(error.code).toBe(code);
  });

  it.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const)('%s ends it in good order: status, socket file', async (signal, status) => {
    const path = file(`${signal}.sock`);
    const vmm = await start({ ...LEDGER, monitors: [`unix:${path}`] });
    expect(statSync(path).mode & 0o077).toBe(0);
    const last = vmm.waitFor('SHUTDOWN');
    process.kill(vmm.pid, signal);
    expect((await last).data).toEqual({ guest: false, reason: 'host-signal' });
    expect((await vmm.exited).exitStatus).toBe(status);
    expect(existsSync(path)).toBe(false);
  });

  it('a monitor survives garbage, and many clients drive one VMM', async () => {
    const address = `unix:${file('many.sock')}`;
    const vmm = await start({ ...LEDGER, monitors: [address] });
    const rude = connect({ path: file('many.sock') });
    rude.on('error', () => {});
    for (let i = 0; i < 100; i++)
      rude.write(Uint8Array.from({ length: 4096 }, (_, at) => (at * 7 + i) & 0xff));
    rude.write(`\n${'{"a":['.repeat(5000)}\n`);
    const clients = await Promise.all([QmpClient.connect(address), QmpClient.connect(address)]);
    const stops = clients.map((client) => client.waitFor('STOP'));
    await clients[0].execute('stop');
    await Promise.all(stops);
    expect(await clients[1].execute('query-status')).toEqual({ status: 'paused', running: false });
    await clients[1].execute('cont');
    await stillClean(vmm);
    rude.destroy();
    for (const client of clients) client.close();
  });

  it('the guest waits for the first client if a monitor says wait=on', async () => {
    const address = `unix:${file('wait.sock')}`;
    const started = startFerry(['vmm', '--guest', KERNEL, '--monitor', `${address},wait=on`]);
    await until(() => existsSync(file('wait.sock')), 'monitor');
    const client = await QmpClient.connect(address);
    await started.out.find(/Ferry version/);
    await client.execute('quit');
    expect((await started.ended()).status).toBe(0);
  });

  it('ends when its spawner ends, even by SIGKILL', async () => {
    const script = `import { spawnVmm } from ${JSON.stringify(new URL('../../dist/lab/vmm-client/spawn.js', import.meta.url).href)};
      const vmm = await spawnVmm(${JSON.stringify(LEDGER)});
      console.log(vmm.pid);`;
    const parent = startNode(['--input-type=module', '-e', script], { name: 'the spawner' });
    const pid = Number(await parent.out.find(/^\d+$/));
    expect(alive(pid)).toBe(true);
    await parent.kill();
    await until(() => !alive(pid), 'the VMM ends');
  });

  it('writes the console to a file, and a recording to a folder', async () => {
    const there = await start({ incoming: INCOMING });
    const here = await start({
      ...LEDGER,
      console: `file:${file('console.log')}`,
      recordTo: file('recording'),
    });
    await stillClean(here);
    await here.migrate(await there.incomingAddress());
    expect(readFileSync(file('console.log'), 'utf8')).toMatch(/Ferry version[\s\S]*clean\n/);
    for (const name of ['control.bin', 'data-0.bin', 'data-1.bin']) {
      expect(statSync(join(file('recording'), name)).size).toBeGreaterThan(100);
    }
  });
});
