/** The real processes of one scenario: two VMMs, the network between them, a client of the source's monitor, busy neighbours. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { FerryError } from '../../base/errors.js';
import { settleAll } from '../../base/settle.js';
import { MIB } from '../../base/units.js';
import type { RunChange, Side } from '../checkers/happened.js';
import { labErrors } from '../errors.js';
import { type FabricProcess, spawnFabric } from '../fabric/spawn.js';
import { behaviourWords } from '../move/guest-behaviour.js';
import { guestIp, KERNEL_IMAGE, PEER_IP } from '../move/scenario.js';
import { ONE, writeSampleCredentials } from '../tls/sample-credentials.js';
import { QmpClient, type QmpEvent } from '../vmm-client/qmp-client.js';
import { spawnVmm, type Vmm } from '../vmm-client/spawn.js';
import type { FaultScenario, FaultyProcess } from './scenario.js';

export const SIDES: readonly Side[] = ['source', 'destination'];
/** Packets per second: few, so that a guest that does not get its part of a busy core for a while loses none. */
export const RATE = 200;
const STATUS_MS = 100;
/** Small: what is shown here is not how fast a guest moves. */
const WORKING_SET_BYTES = 4 * MIB;
/** Fails as a file does on a disk without room. */
const FULL = '/dev/full';
/** Those of the recording that are written most. */
const RECORDED = ['control.bin', 'data-0.bin'];
const AT_WORK = /, clean$/;

interface Remains {
  readonly left: readonly string[];
  /** Files that were to be written and are cut. */
  readonly unwritten: readonly FerryError[];
}

export class Parties {
  readonly vmms: Readonly<Record<Side, Vmm>>;
  readonly fabric: FabricProcess;
  /** Asks for the migration, as a manager would: by a connection of its own. */
  readonly operator: QmpClient;
  /** When the guest began, or ceased, to run where, in the order of the processes' own clocks. */
  readonly #runs: RunChange[] = [];
  readonly #folder: string;
  readonly #neighbours: readonly ChildProcess[];
  readonly #killed = new Map<FaultyProcess, number>();
  readonly #sockets: Readonly<Record<Side, number>>;
  #remains: Promise<Remains> | undefined;

  private constructor(
    vmms: Readonly<Record<Side, Vmm>>,
    fabric: FabricProcess,
    operator: QmpClient,
    folder: string,
    neighbours: readonly ChildProcess[],
  ) {
    this.vmms = vmms;
    this.fabric = fabric;
    this.operator = operator;
    this.#folder = folder;
    this.#neighbours = neighbours;
    this.#sockets = { source: socketsOf(vmms.source), destination: socketsOf(vmms.destination) };
    this.#runs.push({ atNs: 0, side: 'source', running: true });
    for (const side of SIDES) {
      vmms[side].client.onEvent(({ event, timeMs }: QmpEvent) => {
        if (event !== 'STOP' && event !== 'RESUME') return;
        this.#runs.push({ atNs: timeMs * 1e6, side, running: event === 'RESUME' });
      });
    }
  }

  /** Resolves when the guest works at the source, and answers on the network. */
  static async open({ host, tls, machine = {} }: FaultScenario): Promise<Parties> {
    const folder = mkdtempSync(join(tmpdir(), 'ferry-faults-'));
    const opened: { close(): Promise<unknown> }[] = [];
    try {
      const full = host?.kind === 'full-disk' ? host.file : undefined;
      const fabric = await spawnFabric({
        peers: [`ip=${PEER_IP}`],
        ...(full === 'capture' ? { pcap: FULL } : {}),
      });
      opened.push({ close: () => fabric.quit() });
      const monitor = `unix:${join(folder, 'monitor.sock')}`;
      const { memoryBytes = 64 * MIB, vcpus = 1, behaviour, workingSetBytes = WORKING_SET_BYTES } = machine;
      if (tls) writeSampleCredentials(join(folder, CREDENTIALS), ONE);
      const nic = {
        nic: 'vf',
        netdev: fabric.address,
        ...(tls && { tlsCreds: join(folder, CREDENTIALS) }),
      } as const;
      const words = behaviour === undefined ? '' : ` ${behaviourWords(behaviour)}`;
      const spawned = async (options: Parameters<typeof spawnVmm>[0]): Promise<Vmm> => {
        const vmm = await spawnVmm(options);
        opened.push({ close: () => vmm.quit() });
        return vmm;
      };
      const [source, destination] = await settleAll([
        spawned({
          ...nic,
          name: 'source',
          guest: KERNEL_IMAGE,
          memoryBytes,
          vcpus,
          append: `workload=ledger,udp-echo working_set=${workingSetBytes} status_ms=${STATUS_MS}${words}`,
          monitors: [monitor],
          ...(full === 'recording' ? { recordTo: fullFolder(folder) } : {}),
        }),
        // Deferred, it stays to be asked when no guest came.
        spawned({ ...nic, name: 'destination', incoming: 'defer' }),
      ]);
      const operator = await QmpClient.connect(monitor);
      await source.waitForConsole(/eth0: NIC Link is Up/);
      await fabric.startFlow(flow());
      await source.waitForConsole(AT_WORK);
      const neighbours =
        host?.kind === 'busy-cores'
          ? Array.from({ length: host.perCore * availableParallelism() }, () =>
              spawn(process.execPath, ['--eval', 'for (;;);'], { stdio: 'ignore' }),
            )
          : [];
      await destination.migrateIncoming('tcp:127.0.0.1:0');
      if (host?.kind === 'memory-limit') limitMemory({ source, destination }[host.side], host.moreBytes);
      return new Parties({ source, destination }, fabric, operator, folder, neighbours);
    } catch (error) {
      for (const party of opened.reverse()) await party.close().catch(() => undefined);
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Ends a process as the kernel does. */
  async kill(process: FaultyProcess): Promise<void> {
    this.#killed.set(process, Date.now() * 1e6);
    await this.signal(process, 'SIGKILL');
    await (process === 'fabric' ? this.fabric : this.vmms[process]).exited;
  }

  signal(process: FaultyProcess, signal: NodeJS.Signals): void {
    const { pid } = process === 'fabric' ? this.fabric : this.vmms[process];
    globalThis.process.kill(pid, signal);
  }

  isKilled(process: FaultyProcess): boolean {
    return this.#killed.has(process);
  }

  /** A guest whose process was killed runs no more. */
  get runs(): readonly RunChange[] {
    const runs = [...this.#runs];
    for (const side of SIDES) {
      const atNs = this.#killed.get(side);
      if (atNs !== undefined && runs.findLast((run) => run.side === side)?.running === true)
        runs.push({ atNs, side, running: false });
    }
    return runs.sort((a, b) => a.atNs - b.atNs);
  }

  /** Neighbours that do not take their part of the cores any more. */
  get restingNeighbours(): number {
    return this.#neighbours.filter(({ exitCode, signalCode }) => exitCode !== null || signalCode !== null)
      .length;
  }

  /** How many sockets more than before the migration a side has. */
  socketsMore(side: Side): number {
    return this.isKilled(side) || this.vmms[side].hasEnded
      ? 0
      : socketsOf(this.vmms[side]) - this.#sockets[side];
  }

  /** Ends all, once; tells what is left over, and what the processes could not write. */
  close(): Promise<Remains> {
    this.#remains ??= this.#end();
    return this.#remains;
  }

  async #end(): Promise<Remains> {
    this.operator.close();
    for (const neighbour of this.#neighbours) neighbour.kill('SIGKILL');
    const exits = await Promise.all(SIDES.map((side) => this.vmms[side].quit()));
    exits.push(await this.fabric.quit());
    const left: string[] = [];
    // Of what is killed files may stay.
    const mayStay = [FULL_NAME, CREDENTIALS];
    if (this.#killed.size === 0)
      left.push(...readdirSync(this.#folder).filter((file) => !mayStay.includes(file)));
    const network = dirname(this.fabric.address.slice('unix:'.length));
    if (existsSync(network)) left.push(network);
    for (const { pid } of [this.vmms.source, this.vmms.destination, this.fabric]) {
      if (existsSync(`/proc/${pid}`)) left.push(`process ${pid}`);
    }
    rmSync(this.#folder, { recursive: true, force: true });
    const unwritten = exits.flatMap(({ error }) => (error?.code.endsWith('/output-cut') ? [error] : []));
    return { left, unwritten };
  }
}

/** A flow of echoes to the guest, for `start-flow`; without a count until it is stopped. */
export const flow = (count?: number): string =>
  `to=${guestIp(0)},kind=echo,rate=${RATE},size=64${count === undefined ? '' : `,count=${count}`}`;

/** Undefined if it can't be asked any more. */
export async function answerOf<T>(question: Promise<T>): Promise<T | undefined> {
  try {
    return await question;
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    return undefined;
  }
}

const FULL_NAME = 'recording';
const CREDENTIALS = 'credentials';

/** From now on the process has so much more address space than it has now, and no more. Throws `lab/fault-impossible`. */
function limitMemory({ pid }: Vmm, moreBytes: number): void {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const sizeKib = Number(/^VmSize:\s+(\d+) kB$/m.exec(status)?.[1]);
  const bytes = sizeKib * 1024 + moreBytes;
  const { error, stderr } = spawnSync('prlimit', ['--pid', String(pid), `--as=${bytes}`], {
    encoding: 'utf8',
  });
  if (error !== undefined || stderr !== '')
    throw labErrors.error('fault-impossible', {
      what: 'limit the memory of a process',
      why: error?.message ?? stderr,
    });
}

function fullFolder(parent: string): string {
  const folder = join(parent, FULL_NAME);
  mkdirSync(folder);
  for (const file of RECORDED) symlinkSync(FULL, join(folder, file));
  return folder;
}

/** Sockets that a process has open. */
function socketsOf({ pid }: Vmm): number {
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).filter((fd) => {
    try {
      return readlinkSync(join(folder, fd)).startsWith('socket:');
    } catch {
      // Closed meanwhile.
      return false;
    }
  }).length;
}
