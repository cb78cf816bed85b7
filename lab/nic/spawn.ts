/**
 * A served virtual function as a process of its own, driven over an inherited socket: when the spawner ends, however it ends, the
 * process ends as well.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { bundleOf } from '../../vmm/built.js';
import type { NicReport } from '../../vmm/vfio-user/nic-process.js';
import { endChild, endOf, type ProcessExit, startFailed, watchChild } from '../vmm-client/child.js';
import { QmpClient } from '../vmm-client/qmp-client.js';

export interface SpawnNicOptions {
  /** Where its client finds it, as `--vfio-user` takes it. */
  readonly vfioUser: string;
  readonly netdev?: string;
  readonly mac?: string;
  readonly frameMax?: number;
}

const MONITOR_FD = 3;
const START_TIMEOUT_MS = 120_000;

/**
 * Spawns `ferry nic`. Resolves when it listens. Rejects with the error that the process ended with, `lab/process-died` if it did not
 * say, or `lab/process-silent`.
 */
export async function spawnNic({ vfioUser, netdev, mac, frameMax }: SpawnNicOptions): Promise<ServedNic> {
  const ferry = fileURLToPath(bundleOf(new URL('../ferry.js', import.meta.url)));
  const args = [ferry, 'nic', '--json', '--vfio-user', vfioUser, '--monitor', `fd:${MONITOR_FD}`];
  if (netdev !== undefined) args.push('--netdev', netdev);
  if (mac !== undefined) args.push('--mac', mac);
  if (frameMax !== undefined) args.push('--frame-max', String(frameMax));
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  const exited = watchChild(child, 'NIC');
  try {
    const client = await QmpClient.over(child.stdio[MONITOR_FD] as Socket, `process ${child.pid ?? 0}`, {
      timeoutMs: START_TIMEOUT_MS,
    });
    return new ServedNic(child, client, exited);
  } catch (error) {
    throw await startFailed(child, 'NIC', exited, error, START_TIMEOUT_MS);
  }
}

export class ServedNic {
  readonly pid: number;
  readonly exited: Promise<ProcessExit>;
  readonly #child: ChildProcess;
  readonly #client: QmpClient;

  /** Made by `spawnNic`. */
  constructor(child: ChildProcess, client: QmpClient, exited: Promise<ProcessExit>) {
    this.pid = child.pid ?? 0;
    this.#child = child;
    this.#client = client;
    this.exited = exited;
  }

  /** How it is just now. */
  async report(): Promise<NicReport> {
    return (await this.execute('query-nic')) as NicReport;
  }

  /** A command of its monitor (docs/monitor.md). */
  async execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    try {
      return await this.#client.execute(command, args);
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'lab/monitor-lost') throw error;
      throw endOf(this.#child, 'NIC', await this.exited);
    }
  }

  /** Ends it; resolves when the process is gone. One that does not end is killed. */
  async quit(): Promise<ProcessExit> {
    return endChild(this.#child, this.exited, () => this.#client.execute('quit'));
  }
}
