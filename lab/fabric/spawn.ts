/**
 * A fabric as a process of its own, driven over an inherited socket: when the spawner ends, however it ends, the fabric
 * ends as well and removes its socket; should the fabric be killed, the spawner does.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleOf } from '../../vmm/built.js';
import { endChild, endOf, type ProcessExit, startFailed, watchChild } from '../vmm-client/child.js';
import { QmpClient } from '../vmm-client/qmp-client.js';
import type { FabricReport, PhaseReport } from './report.js';

export interface SpawnFabricOptions {
  /** Stations, as `--peer` takes them. */
  readonly peers?: readonly string[];
  /** Captures every frame that enters the switch. */
  readonly pcap?: string;
}

const MONITOR_FD = 3;
const START_TIMEOUT_MS = 30_000;

/**
 * Spawns `ferry fabric` with one UNIX socket in a private directory. Resolves when it listens. Rejects with the error
 * that the process ended with, `lab/process-died` if it did not say, or `lab/process-silent`.
 */
export async function spawnFabric(options: SpawnFabricOptions = {}): Promise<FabricProcess> {
  const { peers = [], pcap } = options;
  const ferry = fileURLToPath(bundleOf(new URL('../ferry.js', import.meta.url)));
  const args = [ferry, 'fabric', '--json', '--listen', 'private', '--monitor', `fd:${MONITOR_FD}`];
  for (const peer of peers) args.push('--peer', peer);
  if (pcap !== undefined) args.push('--pcap', pcap);
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  const exited = watchChild(child, 'fabric');
  try {
    const client = await QmpClient.over(child.stdio[MONITOR_FD] as Socket, `process ${child.pid ?? 0}`, {
      timeoutMs: START_TIMEOUT_MS,
    });
    const { listening } = (await client.execute('query-report')) as FabricReport;
    const address = listening[0]!;
    const removed = exited.finally(() =>
      rmSync(dirname(address.slice('unix:'.length)), { recursive: true, force: true }),
    );
    return new FabricProcess(child, client, removed, address);
  } catch (error) {
    throw await startFailed(child, 'fabric', exited, error, START_TIMEOUT_MS);
  }
}

export class FabricProcess {
  readonly pid: number;
  /** Where to plug in, as `--netdev` of `ferry vmm` takes it. */
  readonly address: string;
  /** Resolves when the process has ended and its directory is gone. */
  readonly exited: Promise<ProcessExit>;
  readonly #child: ChildProcess;
  readonly #client: QmpClient;

  /** Made by `spawnFabric`. */
  constructor(child: ChildProcess, client: QmpClient, exited: Promise<ProcessExit>, address: string) {
    this.pid = child.pid ?? 0;
    this.#child = child;
    this.#client = client;
    this.exited = exited;
    this.address = address;
  }

  /** Starts a flow, described as `--flow` takes it. */
  async startFlow(flow: string): Promise<void> {
    await this.#execute('start-flow', { flow });
  }

  /** Stops sending for good; what comes in is still measured. */
  async stopFlows(): Promise<void> {
    await this.#execute('stop-flows');
  }

  /** What was measured since the last call; the next phase begins here. `arrivals`: also when what came. */
  async nextPhase({ arrivals = false } = {}): Promise<PhaseReport> {
    return (await this.#execute('next-phase', arrivals ? { arrivals } : undefined)) as PhaseReport;
  }

  /** Everything so far. */
  async report(): Promise<FabricReport> {
    return (await this.#execute('query-report')) as FabricReport;
  }

  /** Ends the fabric; resolves when the process and its directory are gone. One that does not end is killed. */
  async quit(): Promise<ProcessExit> {
    return endChild(this.#child, this.exited, () => this.#client.execute('quit'));
  }

  async #execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    try {
      return await this.#client.execute(command, args);
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'lab/monitor-lost') throw error;
      throw endOf(this.#child, 'fabric', await this.exited);
    }
  }
}
