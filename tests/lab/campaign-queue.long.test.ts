/** A campaign over several processes by a queue on a real server, one of which is killed while it works. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Queue } from 'bullmq';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCrew } from '../../dist/lab/simulator/crew.js';
import { buildOf } from '../../dist/lab/simulator/identity.js';
import { gather } from '../../dist/lab/simulator/queue.js';
import type { Tally } from '../../lab/simulator/campaign.js';

const SERVERS = ['valkey-server', 'redis-server'];
const server = SERVERS.find((name) => spawnSync(name, ['--version']).status === 0);
const imagePath = fileURLToPath(new URL('../../dist/guests/kernel.img', import.meta.url));
const FERRY = fileURLToPath(new URL('../../dist/bin/ferry.js', import.meta.url));
const CAMPAIGN = { imagePath, plan: undefined, parameters: undefined, from: 0, to: 39 } as const;
const TIMEOUT_MS = 240_000;

/** Resolves with the first line that says so. */
async function lineOf(stream: NodeJS.ReadableStream, pattern: RegExp): Promise<string> {
  for await (const line of createInterface(stream)) if (pattern.test(line)) return line;
  throw new Error(`it ended without ${pattern}`);
}

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
    const started: ChildProcess[] = [];
    let url: string;
    beforeAll(async () => {
      const port = await freePort();
      url = `redis://127.0.0.1:${port}`;
      const options = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', folder];
      const process = spawn(server!, options, { stdio: ['ignore', 'pipe', 'inherit'] });
      started.push(process);
      await lineOf(process.stdout, /Ready to accept connections/);
    });
    afterAll(async () => {
      for (const process of started.reverse()) {
        if (process.exitCode !== null || process.signalCode !== null) continue;
        process.kill('SIGKILL');
        await once(process, 'exit');
      }
      rmSync(folder, { recursive: true });
    });

    const worker = (): ChildProcess & { stderr: NodeJS.ReadableStream } => {
      const process = spawn('node', [FERRY, 'simulate', '--work', url, '--jobs', '1'], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      started.push(process);
      return process as ChildProcess & { stderr: NodeJS.ReadableStream };
    };
    const submit = (enough: () => boolean = () => false): Promise<Tally> =>
      gather({ ...CAMPAIGN, url, portionSeeds: 5, enough, progress: () => undefined });

    it(
      'loses nothing and counts no seed twice when a worker is killed, and is not done again',
      async () => {
        const gathering = submit();
        const first = worker();
        await lineOf(first.stderr, /seeds \d+ to \d+ done/);
        first.kill('SIGKILL');
        await once(first, 'exit');
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

        second.kill('SIGTERM');
        expect(await once(second, 'exit')).toEqual([0, null]);
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
