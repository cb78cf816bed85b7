/** Moves of real processes under TLS, as users ask for them; and those that do not come about. */
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { FerryError } from '../../base/errors.js';
import { MIB } from '../../base/units.js';
import { migrate } from '../../dist/lab/move/move.js';
import { type SpawnOptions, spawnVmm, type Vmm } from '../../dist/lab/vmm-client/spawn.js';
import { Authority, hasOpenssl } from '../vmm/certificates.js';

const KERNEL = fileURLToPath(new URL('../../dist/guests/kernel.img', import.meta.url));
const LEDGER = { guest: KERNEL, memoryBytes: 64 * MIB, append: 'workload=ledger status_ms=100' } as const;
const INCOMING = { incoming: 'tcp:127.0.0.1:0' } as const;

describe.skipIf(!hasOpenssl)('a move under TLS', () => {
  let authority: Authority;
  let good: string;
  beforeAll(() => {
    authority = new Authority();
    good = authority.credentials({ subject: '/O=Org/CN=host1', names: 'DNS:host1' });
  });
  afterAll(() => authority.close());

  const vmms: Vmm[] = [];
  afterEach(async () => {
    await Promise.all(vmms.splice(0).map((vmm) => vmm.kill()));
  });

  async function start(options: SpawnOptions): Promise<Vmm> {
    const vmm = await spawnVmm(options);
    vmms.push(vmm);
    return vmm;
  }

  /** The code that the move failed with; the guest goes on at the source. */
  async function refused(source: Vmm, destination: Vmm): Promise<string | undefined> {
    const failed: unknown = await source.migrate(await destination.incomingAddress()).catch((error) => error);
    expect((await source.record())?.guest).toBe('here');
    const line = await source.waitForConsole(/ledger: .* transactions/, { after: source.console.length });
    expect(line.text).toMatch(/, clean$/);
    return (failed as FerryError).code;
  }

  it('brings the whole guest over', async () => {
    const { verdict, record } = await migrate({
      nic: 'none',
      memoryBytes: 64 * MIB,
      settleMs: 300,
      verify: 'full',
      tlsCreds: good,
      tlsHostname: 'host1',
    });
    expect(record?.status).toBe('completed');
    expect(verdict.outcome).toBe('verified');
  });

  it('does not come about with a destination of another name, nor with one that has another source in mind', async () => {
    const source = await start({ ...LEDGER, tlsCreds: good });
    const destination = await start({ ...INCOMING, tlsCreds: good });
    expect(await refused(source, destination)).toBe('tls/wrong-name');
    await source.execute('migrate-set-parameters', { 'tls-hostname': 'host1' });
    const other = await start({ incoming: 'defer', tlsCreds: good });
    await other.execute('migrate-set-parameters', { 'tls-authz': 'CN=host2,O=Org' });
    await other.execute('migrate-incoming', { uri: 'tcp:127.0.0.1:0' });
    expect(await refused(source, other)).toBe('tls/not-authorized');
  });

  it('does not come about when one side has no credentials', async () => {
    const source = await start(LEDGER);
    const destination = await start({ ...INCOMING, tlsCreds: good });
    expect(await refused(source, destination)).toMatch(/^migration\/(peer-closed|link-broken)$/);
    const plain = await start(INCOMING);
    await source.execute('migrate-set-parameters', { 'tls-creds': good, 'tls-hostname': 'host1' });
    expect(await refused(source, plain)).toBe('tls/handshake');
  });
});
