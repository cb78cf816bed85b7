/** Managers at real VMMs: one that knows only introspection, and QEMU's own Python library and shell, where they are installed. */
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { KERNEL_IMAGE } from '../../dist/lab/move/scenario.js';
import { spawnVmm, type Vmm } from '../../dist/lab/vmm-client/spawn.js';
import { SchemaJudge } from '../vmm/schema-judge.js';

const TIMEOUT_MS = 120_000;
const folder = mkdtempSync(join(tmpdir(), 'ferry-managers-'));
afterAll(() => rmSync(folder, { recursive: true }));

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function spawned(options: Parameters<typeof spawnVmm>[0]): Promise<Vmm> {
  const vmm = await spawnVmm({ nic: 'vf', ...options });
  cleanups.push(() => vmm.kill());
  return vmm;
}

const GUEST = { guest: KERNEL_IMAGE, memoryBytes: 64 * MIB, append: 'workload=ledger status_ms=100' };

describe('a manager that knows only introspection', () => {
  it(
    'finds every answer and every event as it was told, before, during and after a move',
    async () => {
      const here = await spawned(GUEST);
      const there = await spawned({ incoming: 'defer' });
      const said = new SchemaJudge(await here.execute('query-qmp-schema'));
      const wrong: string[] = [];
      const events = new Set<string>();
      for (const vmm of [here, there]) {
        await vmm.execute('migrate-set-capabilities', {
          capabilities: [{ capability: 'events', state: true }],
        });
        vmm.client.onEvent(({ event, data }) => {
          events.add(event);
          wrong.push(...said.event(event, data));
        });
      }
      const look = async (): Promise<void> => {
        for (const name of said.named('command').filter((command) => command.includes('query-'))) {
          for (const vmm of [here, there]) {
            const answer = await vmm.execute(name).catch((error: Error) => error);
            // One of the two has no guest, and no NIC that could be asked for.
            if (!(answer instanceof Error)) wrong.push(...said.answer(name, answer));
          }
        }
      };
      await here.waitForConsole(/ledger: .*, clean$/);
      await look();
      const address = await there.migrateIncoming('tcp:127.0.0.1:0');
      const moved = here.migrate(address);
      await look();
      await moved;
      await there.waitForConsole(/ledger: .*, clean$/);
      await look();
      expect(wrong).toEqual([]);
      for (const name of [
        'STOP',
        'RESUME',
        'MIGRATION',
        'MIGRATION_PASS',
        'VFIO_MIGRATION',
        'X_FERRY_CONSOLE',
      ]) {
        expect(events).toContain(name);
      }
    },
    TIMEOUT_MS,
  );
});

/** Moves the guest at the first monitor to the second, and prints what it was told. */
const MOVE = `
import asyncio, json, sys
from qemu.qmp import ExecuteError, QMPClient

async def refusal(client, command, arguments):
    try:
        await client.execute(command, arguments)
    except ExecuteError as error:
        return error.error_class

async def main(source, destination):
    here, there = QMPClient('here'), QMPClient('there')
    await here.connect(source)
    await there.connect(destination)
    told = {'schema': len(await here.execute('query-qmp-schema')), 'refused': [
        await refusal(here, 'set_link', {'name': 'vf9', 'up': True}),
        await refusal(here, 'no-such-command', {}),
        await refusal(here, 'migrate', {}),
    ]}
    on = [{'capability': 'events', 'state': True}]
    await here.execute('migrate-set-capabilities', {'capabilities': on})
    await there.execute('migrate-incoming', {'uri': 'tcp:127.0.0.1:0'})
    address = (await there.execute('query-migrate'))['socket-address'][0]
    told['events'] = []
    with here.listener(('MIGRATION', 'STOP', 'RESUME')) as events:
        await here.execute('migrate', {'uri': 'tcp:%s:%s' % (address['host'], address['port'])})
        async for event in events:
            told['events'].append(event.get('data', {}).get('status', event['event']))
            if told['events'][-1] in ('completed', 'failed'):
                break
    await here.execute('migrate_cancel', oob=True)
    told['here'] = (await here.execute('query-status'))['status']
    told['there'] = (await there.execute('query-status'))['status']
    print(json.dumps(told))
    await here.disconnect()
    await there.disconnect()

asyncio.run(main(*sys.argv[1:]))
`;

const hasLibrary = spawnSync('python3', ['-c', 'import qemu.qmp']).status === 0;

const python = (words: readonly string[], input = ''): Promise<string> =>
  new Promise((resolve, reject) => {
    const child = execFile('python3', words, { timeout: 60_000 }, (error, stdout, stderr) =>
      error === null ? resolve(stdout) : reject(new Error(stderr)),
    );
    child.stdin!.end(input);
  });

describe.skipIf(!hasLibrary)(`QEMU's own library${hasLibrary ? '' : ': python3 has no qemu.qmp'}`, () => {
  it(
    'moves a guest, and gets errors and events as from QEMU; its shell asks afterwards',
    async () => {
      const [a, b] = [join(folder, 'a.sock'), join(folder, 'b.sock')];
      const here = await spawned({ ...GUEST, monitors: [`unix:${a}`] });
      await spawned({ incoming: 'defer', monitors: [`unix:${b}`] });
      await here.waitForConsole(/ledger: .*, clean$/);
      const script = join(folder, 'move.py');
      writeFileSync(script, MOVE);
      expect(JSON.parse(await python([script, a, b]))).toEqual({
        schema: expect.any(Number),
        refused: ['DeviceNotFound', 'CommandNotFound', 'GenericError'],
        // QEMU has no `pre-switchover` where nobody has asked for a pause there.
        events: ['setup', 'active', 'pre-switchover', 'STOP', 'device', 'completed'],
        here: 'postmigrate',
        there: 'running',
      });
      const shell = await python(['-m', 'qemu.qmp.qmp_shell', a], 'query-status\nquery-name\n');
      expect(shell).toContain('"status": "postmigrate"');
    },
    TIMEOUT_MS,
  );
});
