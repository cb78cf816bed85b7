/** A campaign over several processes by a queue on a real server, one of which is killed while it works. */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Queue } from 'bullmq';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCrew } from '../../dist/lab/simulator/crew.js';
import { buildOf } from '../../dist/lab/simulator/identity.js';
import { gather } from '../../dist/lab/simulator/queue.js';
import type { Tally } from '../../lab/simulator/campaign.js';
import { type Started, start, startFerry } from '../processes.js';

const SERVERS = ['valkey-server', 'redis-server'];
const server = SERVERS.find((name) => spawnSync(name, ['--version']).status === 0);
const imagePath = fileURLToPath(new URL('../../dist/guests/kernel.img', import.meta.url));
const CAMPAIGN = { imagePath, plan: undefined, parameters: undefined, from: 0, to: 39 } as const;
const TIMEOUT_MS = 240_000;

async function freePort(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as { port: number };
  listener.close();
  await once(listener, 'close');
  return port;
}

describe.skipIf(server === undefined)(
  `a campaign by a queue (${server ?? `needs ${SERVERS.join(' or ')}`})`,
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'ferry-queue-'));
    let store: Started;
    let url: string;
    beforeAll(async () => {
      const port = await freePort();
      url = `redis://127.0.0.1:${port}`;
      const options = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', folder];
      store = start(options, { program: server!, staysOn: true });
      await store.out.find(/Ready to accept connections/);
    });
    afterAll(async () => {
      await store.kill();
      rmSync(folder, { recursive: true });
    });

    const worker = (): Started => startFerry(['simulate', '--work', url, '--jobs', '1']);
    const submit = (enough: () => boolean = () => false): Promise<Tally> =>
      gather({ ...CAMPAIGN, url, portionSeeds: 5, enough, progress: () => undefined });

    it(
      'loses nothing and counts no seed twice when a worker is killed, and is not done again',
      async () => {
        const gathering = submit();
        const first = worker();
        await first.err.find(/seeds \d+ to \d+ done/);
        await first.kill();
        const second = worker();
        const gathered = await gathering;
        const local = await runCrew({
          ...CAMPAIGN,
          jobs: 1,
          portions: [CAMPAIGN],
          enough: () => false,
          progress: () => undefined,
        });
        expect(gathered).toEqual(local);
        expect(gathered.seeds).toBe(40);

        const queue = new Queue(`ferry-simulate-${buildOf({ imagePath })}`, { connection: { url } });
        const jobs = await queue.getCompleted();
        await queue.close();
        expect(jobs).toHaveLength(8);
        // It had some in hand when it was killed, or nothing was shown.
        expect(jobs.filter(({ stalledCounter }) => stalledCounter > 0).length).toBeGreaterThan(0);

        second.child.kill('SIGTERM');
        expect((await second.ended()).status).toBe(0);
        // Nobody works any more, and all is there.
        expect(await submit()).toEqual(local);
      },
      TIMEOUT_MS,
    );

    it('that is enough takes back what nobody has begun', async () => {
      const range = { from: 1000, to: 1019 };
      const options = { ...CAMPAIGN, ...range, url, portionSeeds: 5, progress: () => undefined };
      expect((await gather({ ...options, enough: () => true })).seeds).toBe(0);
      const queue = new Queue(`ferry-simulate-${buildOf({ imagePath })}`, { connection: { url } });
      expect(await queue.getWaitingCount()).toBe(0);
      await queue.close();
    });
  },
);
