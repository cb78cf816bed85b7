/** The same moves by QEMU, where one is installed: a machine that was never started, over multifd. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { accessSync, closeSync, constants, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { MIB } from '../../../base/units.js';
import type { MigrationInfo } from '../../../vmm/monitor/control.js';
import { startFailed, watchChild } from '../../vmm-client/child.js';
import { QmpClient } from '../../vmm-client/qmp-client.js';
import { endOfNextMigration } from '../../vmm-client/spawn.js';
import { benchErrors } from '../errors.js';
import { type Moved, movedBy, type Turn } from './contestants.js';
import type { RamContents } from './kinds.js';

const PROGRAM = 'qemu-system-x86_64';
const KVM = '/dev/kvm';

export interface QemuFound {
  /** As it says itself. */
  readonly version: string;
  readonly accelerator: 'kvm' | 'tcg';
}

/** Undefined where none is installed. */
export async function findQemu(): Promise<QemuFound | undefined> {
  try {
    const { stdout } = await promisify(execFile)(PROGRAM, ['--version']);
    const version = /version (\S+)/.exec(stdout)?.[1] ?? 'of unknown version';
    return { version, accelerator: hasKvm() ? 'kvm' : 'tcg' };
  } catch {
    return undefined;
  }
}

function hasKvm(): boolean {
  try {
    accessSync(KVM, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** 2^40 bytes a second: no limit. */
const MAX_BANDWIDTH = 2 ** 40;

interface Vm {
  readonly child: ChildProcess;
  readonly client: QmpClient;
}

export class QemuMoves {
  readonly #qemu: QemuFound;
  readonly #memoryBytes: number;
  #vm: Vm;

  private constructor(qemu: QemuFound, memoryBytes: number, vm: Vm) {
    this.#qemu = qemu;
    this.#memoryBytes = memoryBytes;
    this.#vm = vm;
  }

  /** Rejects with `lab/process-died` and what QEMU said. */
  static async start(qemu: QemuFound, memoryBytes: number, contents: RamContents): Promise<QemuMoves> {
    if (contents === 'zero')
      return new QemuMoves(qemu, memoryBytes, await start(qemu, memoryBytes, ramOf(true)));
    const folder = mkdtempSync(join(tmpdir(), 'ferry-bench-'));
    try {
      const file = join(folder, 'ram');
      writeRandom(file, memoryBytes);
      // A private mapping that is touched beforehand is a copy of the file, in memory of its own.
      const ram = ['memory-backend-file', `mem-path=${file}`, 'share=off', 'prealloc=on'];
      return new QemuMoves(qemu, memoryBytes, await start(qemu, memoryBytes, ram));
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  /** Rejects with what QEMU says. */
  async move({ destination, channels }: Turn): Promise<Moved> {
    const { client } = this.#vm;
    const next = await start(this.#qemu, this.#memoryBytes, ramOf(destination === 'warm'), [
      '-incoming',
      'defer',
    ]);
    try {
      for (const one of [client, next.client]) await prepare(one, channels);
      const [ended, arrived] = [client, next.client].map(endOfNextMigration);
      // Should a command be refused, nobody waits for these.
      for (const event of [ended, arrived]) event!.catch(() => undefined);
      await next.client.execute('migrate-incoming', { uri: 'tcp:127.0.0.1:0' });
      const { 'socket-address': sockets } = await query(next.client);
      const [socket] = sockets ?? [];
      const port = socket?.type === 'inet' ? socket.port : '';
      const from = performance.now();
      await client.execute('migrate', { uri: `tcp:127.0.0.1:${port}` });
      await ended;
      const wallMs = performance.now() - from;
      let info = await query(client);
      // It tells of the end a moment before it has added up.
      while (info.status === 'completed' && !info['total-time']) info = await query(client);
      if (info.status !== 'completed') {
        const problem = info['error-desc'] ?? `it ended ${info.status}`;
        throw benchErrors.error('qemu-failed', { problem });
      }
      // Or what the destination still tells of this move would be taken for the next one's.
      await arrived;
      end(this.#vm);
      this.#vm = next;
      return movedBy(info, wallMs);
    } catch (error) {
      end(next);
      throw error;
    }
  }

  close(): void {
    end(this.#vm);
  }
}

const query = async (client: QmpClient): Promise<MigrationInfo> =>
  (await client.execute('query-migrate')) as MigrationInfo;

/** QEMU's own default backend, whose pages may be large ones. */
const ramOf = (prealloc: boolean): readonly string[] => [
  'memory-backend-ram',
  `prealloc=${prealloc ? 'on' : 'off'}`,
];

async function prepare(client: QmpClient, channels: number): Promise<void> {
  await client.execute('migrate-set-capabilities', {
    capabilities: ['multifd', 'events'].map((capability) => ({ capability, state: true })),
  });
  await client.execute('migrate-set-parameters', {
    'multifd-channels': channels,
    'max-bandwidth': MAX_BANDWIDTH,
  });
}

const MONITOR_FD = 3;

async function start(
  { accelerator }: QemuFound,
  memoryBytes: number,
  [kind, ...ram]: readonly string[],
  more: readonly string[] = [],
): Promise<Vm> {
  const size = `${memoryBytes / MIB}M`;
  const child = spawn(
    PROGRAM,
    [
      ...['-machine', `pc,accel=${accelerator},memory-backend=ram`, '-m', size],
      ...['-object', [kind, 'id=ram', `size=${size}`, ...ram].join(',')],
      ...['-nodefaults', '-display', 'none', '-S'],
      ...['-chardev', `socket,id=monitor,fd=${MONITOR_FD}`, '-mon', 'chardev=monitor,mode=control'],
      ...more,
    ],
    { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] },
  );
  const exited = watchChild(child, 'QEMU');
  try {
    const socket = child.stdio[MONITOR_FD] as Socket;
    return {
      child,
      client: await QmpClient.over(socket, `process ${child.pid ?? 0}`, { timeoutMs: START_TIMEOUT_MS }),
    };
  } catch (error) {
    throw await startFailed(child, 'QEMU', exited, error, START_TIMEOUT_MS);
  }
}

/** Its RAM is touched before it answers. */
const START_TIMEOUT_MS = 60_000;

function end({ child, client }: Vm): void {
  client.close();
  child.kill('SIGKILL');
}

function writeRandom(path: string, bytes: number): void {
  const file = openSync(path, 'w');
  try {
    const block = new Uint8Array(MIB);
    for (let at = 0; at < bytes; at += block.length) writeSync(file, randomFillSync(block));
  } finally {
    closeSync(file);
  }
}
