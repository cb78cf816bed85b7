/** Real processes, real sockets, the real guest kernel: what `npm start` does, and what must make it fail. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { FerryError } from '../../dist/base/errors.js';
import { FaultProxy } from '../../dist/lab/faults/link/proxy.js';
import type { LinkRule, Place } from '../../dist/lab/faults/link/rule.js';
import { migrate } from '../../dist/lab/index.js';
import type { Outcome } from '../../dist/lab/move/check.js';
import type { MigrateResult } from '../../dist/lab/move/move.js';
import { KERNEL_IMAGE } from '../../dist/lab/move/scenario.js';
import { type Evidence, judge, statusPattern } from '../../dist/lab/move/verdict.js';
import { spawnVmm, type Vmm } from '../../dist/lab/vmm-client/spawn.js';
import type { MigrationRecord } from '../../dist/migration/record.js';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Pages that the ledger of the guest kernel lies in, with the RAM given here. */
const LEDGER = { from: 0x500, to: 0x5ff };

/** Few transactions, so that a damaged page is not written again, and sent again, by chance. */
const QUIET_LEDGER = 'workload=ledger transactions=10 status_ms=100';

interface Pair {
  readonly source: Vmm;
  readonly destination: Vmm;
}

/** `ends` ends them: with the test, unless it is given. */
async function pair(
  append = 'workload=ledger status_ms=100',
  incoming = 'tcp:127.0.0.1:0',
  ends = cleanups,
): Promise<Pair> {
  const spawned = async (options: Parameters<typeof spawnVmm>[0]): Promise<Vmm> => {
    const vmm = await spawnVmm(options);
    ends.push(() => vmm.quit());
    return vmm;
  };
  const [source, destination] = await Promise.all([
    spawned({ guest: KERNEL_IMAGE, memoryBytes: 64 * MIB, append }),
    spawned({ incoming }),
  ]);
  await source.waitForConsole(/clean/);
  return { source, destination };
}

/** The same with a destination that waits on for the guest when a move has failed. */
async function patientPair(append?: string, ends = cleanups): Promise<Pair> {
  const both = await pair(append, 'defer', ends);
  await both.destination.execute('migrate-set-capabilities', {
    capabilities: [{ capability: 'events', state: true }],
  });
  await both.destination.migrateIncoming('tcp:127.0.0.1:0');
  return both;
}

/** Such a destination knows that the guest that was to come does not. */
const givesUp = (destination: Vmm): Promise<unknown> =>
  destination.waitFor('MIGRATION', { where: ({ status }) => status === 'failed' });

async function between(destination: Vmm, ...rules: LinkRule[]): Promise<FaultProxy> {
  const proxy = await FaultProxy.open(await destination.incomingAddress(), rules);
  cleanups.push(() => proxy.close());
  return proxy;
}

const cut = (at: Place): LinkRule => ({ at, does: { kind: 'cut' } });
/** One bit of the first page of the ledger that travels. */
const FLIPPED: LinkRule = { at: { pages: LEDGER }, does: { kind: 'flip', bit: 4 } };

/** Resolves when the guest has printed two more status lines, each saying that its books are clean. */
async function goesOn(vmm: Vmm): Promise<void> {
  for (let i = 0; i < 2; i++) await vmm.waitForConsole(/clean/, { after: vmm.console.length });
  expect(vmm.console.filter(({ text }) => /CORRUPT|panic/.test(text))).toEqual([]);
}

async function refusal(promise: Promise<unknown>): Promise<FerryError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(FerryError);
  return error as FerryError;
}

const moveOf = (workload: 'ledger' | 'mixed' | 'idle', vcpus: number): Promise<MigrateResult> =>
  migrate({ nic: 'none', workload, vcpus, memoryBytes: 64 * MIB, settleMs: 500, verify: 'full', seed: 7 });

let ledger: Promise<MigrateResult> | undefined;
/** A move that went well, made once. */
const ledgerMove = (): Promise<MigrateResult> => {
  ledger ??= moveOf('ledger', 1);
  return ledger;
};

describe('a guest moved between processes', () => {
  it('arrives whole and goes on, for every workload and with several vCPUs', async () => {
    for (const result of await Promise.all([ledgerMove(), moveOf('mixed', 2), moveOf('idle', 1)])) {
      expect(result.verdict.checks.filter(({ outcome }) => outcome !== 'held')).toEqual([]);
      expect(result.verdict.outcome).toBe('verified');
      const { blackout } = result.record!;
      const { totalNs, ...parts } = blackout!;
      expect(Object.values(parts).reduce((sum, part) => sum + part, 0)).toBeCloseTo(totalNs, -1);
    }
  });

  it('moves there and back again, twice, with its ledger clean', async () => {
    let { source, destination } = await pair('workload=ledger status_ms=50', 'defer');
    for (let i = 0; i < 4; i++) {
      await source.execute('migrate-set-parameters', { verify: 'full' });
      const record = await source.migrate(await destination.migrateIncoming('tcp:127.0.0.1:0'));
      expect(record.verification?.mode).toBe('full');
      await goesOn(destination);
      expect(await source.runState()).toBe('postmigrate');
      [source, destination] = [destination, source];
    }
  }, 240_000);

  it('is throttled until it converges when it dirties faster than the link', async () => {
    const { source, destination } = await pair('workload=stress dirty_rate=209715200 status_ms=100');
    await source.execute('migrate-set-parameters', { 'max-bandwidth': 64 * MIB, 'downtime-limit': 200 });
    const record = await source.migrate(await destination.incomingAddress());
    expect(record.throttlePercent).toBeGreaterThan(0);
    expect(record.roundsEnd).not.toBe('max-rounds');
    await goesOn(destination);
  });

  it('stays, unharmed, when its migration is cancelled', async () => {
    const { source, destination } = await pair();
    await source.execute('migrate-set-parameters', { 'max-bandwidth': MIB });
    const first = source.waitFor('MIGRATION_PASS');
    const moved = refusal(source.migrate(await destination.incomingAddress()));
    await first;
    await source.execute('migrate_cancel');
    expect((await moved).code).toMatch(/cancelled/);
    expect(await source.runState()).toBe('running');
    await goesOn(source);
  });
});

describe('a byte flipped on the way', () => {
  it('is found by the integrity root, and by full verification; the guest goes on at the source', async () => {
    const { source, destination } = await patientPair(QUIET_LEDGER);
    for (const verify of ['root', 'full']) {
      await source.execute('migrate-set-parameters', { verify });
      const proxy = await between(destination, FLIPPED);
      const givenUp = givesUp(destination);
      const error = await refusal(source.migrate(proxy.address));
      await givenUp;
      expect(proxy.unstruck).toEqual([]);
      expect(error.message).toMatch(/pages? \d/);
      expect(await source.runState()).toBe('running');
      expect(destination.console).toEqual([]);
      await goesOn(source);
    }
  });

  it('is found by the guest itself when nobody compared', async () => {
    const { source, destination } = await pair(QUIET_LEDGER);
    await source.execute('migrate-set-parameters', { verify: 'off' });
    const proxy = await between(destination, FLIPPED);
    const panicked = destination.waitFor('GUEST_PANICKED');
    const record = await source.migrate(proxy.address);
    expect(proxy.unstruck).toEqual([]);
    expect(record.status).toBe('completed');
    await panicked;
    await destination.waitForConsole(/ledger: CORRUPT page 0x/);
  });
});

describe('a migration cut before commit', () => {
  const places: Place[] = [
    { message: 'welcome' },
    { message: 'data' },
    { message: 'data', edge: 'after' },
    { dataBytes: 1 * MIB },
    { message: 'round-end', edge: 'after' },
    { message: 'state' },
    { message: 'state', edge: 'after' },
    { message: 'prepared' },
  ];
  // One guest for all of them, which goes on at the source each time, and one VMM that waits on for it.
  const ends: (() => unknown)[] = [];
  let source: Vmm;
  let destination: Vmm;
  beforeAll(async () => {
    ({ source, destination } = await patientPair(undefined, ends));
  });
  afterAll(async () => {
    for (const end of ends) await end();
  });
  for (const place of places) {
    it(`leaves the guest running at the source, and only there: ${JSON.stringify(place)}`, async () => {
      const proxy = await between(destination, cut(place));
      const givenUp = givesUp(destination);
      const error = await refusal(source.migrate(proxy.address));
      await givenUp;
      expect(proxy.unstruck).toEqual([]);
      expect(error.exit).not.toBe('defect');
      await goesOn(source);
      expect(destination.console).toEqual([]);
    });
  }
});

describe('a commit that does not arrive', () => {
  it('is asked about over another connection: the guest goes on at the source, and a person need not say so', async () => {
    const { source, destination } = await pair();
    const proxy = await between(destination, cut({ message: 'commit' }));
    const error = await refusal(source.migrate(proxy.address));
    expect(proxy.unstruck).toEqual([]);
    expect(error.code).toMatch(/^migration\/(link-broken|peer-closed)$/);
    expect(error.advice).toMatch(/is here again as it was/);
    expect(await source.runState()).toBe('running');
    expect((await destination.exited).exitStatus).toBeGreaterThan(2);
    expect(destination.console).toEqual([]);
    await goesOn(source);
  });
});

describe('a migration cut after commit', () => {
  it('leaves the guest running at the destination, and only there, as the source hears when it asks', async () => {
    const { source, destination } = await pair();
    const proxy = await between(destination, cut({ message: 'commit', edge: 'after' }));
    expect(await source.migrate(proxy.address)).toMatchObject({ status: 'completed', guest: 'there' });
    expect(proxy.unstruck).toEqual([]);
    await goesOn(destination);
    expect(await source.runState()).toBe('postmigrate');
    const lines = source.console.length;
    await goesOn(destination);
    expect(source.console.length).toBe(lines);
  });
});

describe('a peer that ends', () => {
  it('when the destination is killed, the guest goes on at the source', async () => {
    const { source, destination } = await pair();
    await source.execute('migrate-set-parameters', { 'max-bandwidth': MIB });
    const moved = refusal(source.migrate(await destination.incomingAddress()));
    await source.waitFor('MIGRATION_PASS');
    await destination.kill();
    await moved;
    expect(await source.runState()).toBe('running');
    await goesOn(source);
  });

  it('when the source is killed, the destination says so and ends with its own exit status', async () => {
    const { source, destination } = await pair();
    await source.execute('migrate-set-parameters', { 'max-bandwidth': MIB });
    source.migrate(await destination.incomingAddress()).catch(() => undefined);
    await source.waitFor('MIGRATION_PASS');
    await source.kill();
    const { exitStatus, error } = await destination.exited;
    expect([exitStatus, error?.exitStatus]).toEqual([4, 4]);
    expect(error?.code).toMatch(/^(migration|transfer)\//);
  });

  it('garbage instead of a stream is refused in words', async () => {
    const { source, destination } = await pair();
    const bytes = new TextEncoder().encode('GET / HTTP/1.1\r\n\r\n');
    const at: Place = { message: 'hello' };
    const proxy = await between(
      destination,
      { at, does: { kind: 'insert', bytes } },
      { at, does: { kind: 'swallow' } },
    );
    const error = await refusal(source.migrate(proxy.address));
    expect(error.message).toMatch(/does not speak the migration protocol/);
    await goesOn(source);
    // It waits on, for a source that speaks the protocol.
    await source.migrate(await destination.incomingAddress());
    await goesOn(destination);
  });
});

describe('the verdict', () => {
  const line = (side: 'source' | 'destination', text: string) => ({ side, text }) as const;
  const good = async () => {
    const result = await ledgerMove();
    return {
      record: result.record,
      sourceStatus: 'postmigrate',
      destinationStatus: 'running',
      console: result.console,
      statusLinesMin: 1,
      statusLine: statusPattern(true, 'ledger'),
      ownKernel: true,
      traffic: { flows: [], network: undefined },
    };
  };

  it('fails for each kind of evidence that is missing or wrong', async () => {
    const evidence = await good();
    expect(judge(evidence).outcome).toBe('verified');
    const spoiled = [
      { ...evidence, record: undefined },
      { ...evidence, sourceStatus: 'running' },
      { ...evidence, destinationStatus: 'paused' },
      { ...evidence, console: evidence.console.filter(({ side }) => side === 'source') },
      { ...evidence, console: [...evidence.console, line('destination', '[    0.000001] ledger: 1, clean')] },
      {
        ...evidence,
        console: [...evidence.console, line('destination', '[ 9999.0] ledger: CORRUPT page 0x1000')],
      },
      { ...evidence, record: { ...evidence.record!, verification: undefined } },
    ];
    for (const each of spoiled) expect(judge(each).outcome).toBe('failed');
    const timeless = evidence.console.map(({ side, text }) => line(side, text.replace(/^\[.*?\] /, '')));
    const clockChecks = (ownKernel: boolean) =>
      judge({ ...evidence, console: timeless, ownKernel }).checks.filter(({ name }) => /clock/.test(name));
    expect(clockChecks(true).map(({ outcome }) => outcome)).toEqual(['not-checked']);
    expect(clockChecks(false)).toEqual([]);
    expect(judge({ ...evidence, record: { ...evidence.record!, verify: 'off' } }).outcome).toBe('unverified');
  });

  it('never gives a tick to what was not established, whatever the end', async () => {
    const evidence = await good();
    const record = evidence.record!;
    const refusal = {
      code: 'x/refused',
      message: 'no',
      advice: '',
      exit: 'failed',
      exitStatus: 4,
      facts: {},
    } as const;
    const verification = { ...record.verification!, mode: 'full', established: false } as const;
    const ending = (
      status: MigrationRecord['status'],
      more: Partial<MigrationRecord> = {},
    ): MigrationRecord => ({
      ...record,
      verify: 'full',
      status,
      error: refusal,
      verification,
      blackout: undefined,
      ...more,
    });
    const outcomes = (more: Partial<Evidence>): Record<string, Outcome> =>
      Object.fromEntries(judge({ ...evidence, ...more }).checks.map(({ name, outcome }) => [name, outcome]));
    const RAM = 'all of RAM, every register and every device record are equal';
    const ONE = 'exactly one side runs the guest';
    const ON = 'the guest goes on at the destination';

    const different = { ...refusal, code: 'migration/verification-failed', message: 'pages 7 to 9 differ' };
    const failed = { sourceStatus: 'running', destinationStatus: 'ended' };
    expect(outcomes({ ...failed, record: ending('failed', { error: different }) })).toMatchObject({
      [RAM]: 'failed',
      [ONE]: 'held',
      [ON]: 'not-checked',
    });
    for (const status of ['failed', 'cancelled'] as const) {
      expect(outcomes({ ...failed, record: ending(status) })).toMatchObject({
        [RAM]: 'not-checked',
        [ONE]: 'held',
      });
      expect(outcomes({ ...failed, record: ending(status, { verification: undefined }) })).toMatchObject({
        [RAM]: 'not-checked',
      });
    }
    const unknown = { sourceStatus: 'finish-migrate', destinationStatus: undefined };
    expect(outcomes({ ...unknown, record: ending('unacknowledged') })).toMatchObject({
      [RAM]: 'not-checked',
      [ONE]: 'not-checked',
    });
    expect(outcomes({ sourceStatus: 'running', destinationStatus: 'running' })[ONE]).toBe('failed');
    expect(outcomes({ sourceStatus: 'paused', destinationStatus: 'ended' })[ONE]).toBe('failed');
    expect(outcomes({ console: [] })['the guest found nothing wrong']).toBe('not-checked');
    expect(outcomes({ record: undefined })['the migration completed']).toBe('not-checked');
    expect(outcomes({ traffic: { flows: ['echo'], network: undefined } })).toMatchObject({
      'the network was measured': 'not-checked',
    });
    // A comparison that was made and found nothing is what a tick stands for.
    const established = { ...verification, established: true };
    expect(outcomes({ record: { ...record, verify: 'full', verification: established } })[RAM]).toBe('held');
  });
});
