/**
 * VMM processes as objects.
 *
 *     const destination = await spawnVmm({ incoming: 'tcp:127.0.0.1:0' });
 *     const source = await spawnVmm({ guest: 'kernel.img', append: 'workload=ledger' });
 *     await source.waitForConsole(/clean/);
 *     const record = await source.migrate(await destination.incomingAddress());
 *     await destination.waitForConsole(/clean/);
 *     await Promise.all([source.quit(), destination.quit()]);
 *
 * The spawner talks to its process over an inherited socket. When the spawner ends, however it ends, that socket
 * closes, and the process ends as well: nothing is left behind.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { FerryError, invariant } from '../../base/errors.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import { bundleOf } from '../../vmm/built.js';
import type { MemoryInfo, MigrationInfo, NicInfo } from '../../vmm/monitor/control.js';
import type { RunState } from '../../vmm/monitor/run-state.js';
import type { VmmOptions } from '../../vmm/process/options.js';
import { formatSocketAddress } from '../../vmm/sockets/address.js';
import { afterMs } from '../../vmm/timers.js';
import { labErrors } from '../errors.js';
import { endChild, endOf, type ProcessExit, startFailed, watchChild } from './child.js';
import { QmpClient, type QmpEvent, type QmpWaitOptions } from './qmp-client.js';

export interface SpawnOptions extends VmmOptions {
  /** Longest wait until the guest is loaded, or the address listened at; 30 s if absent. */
  readonly startTimeoutMs?: number;
}

/** A console line, and when it arrived here, on `performance.now()`'s clock. */
export interface ConsoleEntry {
  readonly text: string;
  readonly arrivedMs: number;
}

/** How often `migrate` reports progress, if asked to. */
const PROGRESS_PERIOD_MS = 50;
const MONITOR_FD = 3;
/** A process that lives and does not answer for so long is stopped, or hangs. */
const ANSWER_TIMEOUT_MS = 15_000;
/** Console lines that are quoted when the guest ends. */
const LAST_LINES = 3;

const ENDS: readonly unknown[] = ['completed', 'failed', 'cancelled'];

/**
 * Spawns a VMM. Resolves when its guest is loaded and about to run, or when it listens for a guest. Rejects with the
 * error that the process ended with, `lab/process-died` if it did not say, or `lab/process-silent`.
 */
export async function spawnVmm(options: SpawnOptions = {}): Promise<Vmm> {
  const { startTimeoutMs = 30_000, ...vmmOptions } = options;
  const main = fileURLToPath(bundleOf(new URL('../../vmm/process/main.js', import.meta.url)));
  const child = spawn(
    process.execPath,
    [main, JSON.stringify({ ...vmmOptions, json: true }), String(MONITOR_FD)],
    { stdio: ['ignore', options.console === 'stdio' ? 'inherit' : 'ignore', 'pipe', 'pipe'] },
  );
  const exited = watchChild(child, 'VMM');
  const socket = child.stdio[MONITOR_FD] as Socket;
  const console = new GuestConsole();
  try {
    const client = await QmpClient.over(socket, `process ${child.pid ?? 0}`, {
      timeoutMs: startTimeoutMs,
      onEvent: (event) => console.take(event),
    });
    return new Vmm(child, client, exited, console);
  } catch (error) {
    throw await startFailed(child, 'VMM', exited, error, startTimeoutMs);
  }
}

/** The console lines of one VMM, as they come, and the end of its guest, if it crashes. */
class GuestConsole {
  readonly entries: ConsoleEntry[] = [];
  /** Why there will be no more lines. */
  end: FerryError | undefined;
  readonly #listeners = new Set<(entry: ConsoleEntry) => void>();
  readonly #endListeners = new Set<(end: FerryError) => void>();

  take({ event, data }: QmpEvent): void {
    if (event === 'GUEST_PANICKED') {
      const { desc = 'the guest crashed' } = (data.info ?? {}) as { desc?: string };
      const lastLines = this.entries.slice(-LAST_LINES).map(({ text }) => text);
      this.end = labErrors.error('guest-ended', { desc, lastLines: lastLines.join(' | ') });
      for (const listener of [...this.#endListeners]) listener(this.end);
    }
    if (event !== 'X_FERRY_CONSOLE') return;
    const arrivedMs = performance.now();
    for (const text of data.lines as readonly string[]) {
      const entry = { text, arrivedMs };
      this.entries.push(entry);
      for (const listener of [...this.#listeners]) listener(entry);
    }
  }

  listen(listener: (entry: ConsoleEntry) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onEnd(listener: (end: FerryError) => void): () => void {
    this.#endListeners.add(listener);
    return () => this.#endListeners.delete(listener);
  }
}

export class Vmm {
  readonly pid: number;
  /** The monitor connection, for everything that has no method here. */
  readonly client: QmpClient;
  /** Resolves when the process has ended. */
  readonly exited: Promise<ProcessExit>;

  readonly #child: ChildProcess;
  readonly #console: GuestConsole;

  /** Made by `spawnVmm`. */
  constructor(child: ChildProcess, client: QmpClient, exited: Promise<ProcessExit>, console: GuestConsole) {
    this.pid = child.pid ?? 0;
    this.client = client;
    this.exited = exited;
    this.#child = child;
    this.#console = console;
  }

  /** All console lines since the start of this process, in order. */
  get console(): readonly ConsoleEntry[] {
    return this.#console.entries;
  }

  /** Calls `listener` for every console line from now on, until the returned function is called. */
  onConsole(listener: (entry: ConsoleEntry) => void): () => void {
    return this.#console.listen(listener);
  }

  /**
   * Resolves with the first console line that matches, among those that came already as well, unless `after` is given:
   * then only lines from that index on count. Rejects with `lab/timeout` (`what` names the line for its message),
   * `lab/guest-ended` if the guest crashes, or as the process ends.
   */
  async waitForConsole(
    pattern: RegExp,
    {
      timeoutMs = 30_000,
      after = 0,
      what = `a console line like ${pattern.source}`,
    }: { timeoutMs?: number; after?: number; what?: string } = {},
  ): Promise<ConsoleEntry> {
    const found = this.#console.entries.slice(after).find(({ text }) => pattern.test(text));
    if (found !== undefined) return found;
    if (this.#console.end !== undefined) throw this.#console.end;
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        endPatience();
        cancel();
        forget();
      };
      const forget = this.#console.onEnd((end) => {
        settle();
        reject(end);
      });
      const cancel = this.onConsole((entry) => {
        if (!pattern.test(entry.text)) return;
        settle();
        resolve(entry);
      });
      const endPatience = afterMs(timeoutMs, () => {
        settle();
        const last = this.#console.entries.at(-1)?.text;
        const heard = last === undefined ? 'the guest has printed nothing' : `its last line: ${last}`;
        reject(labErrors.error('timeout', { what: `${what} (${heard})`, waitedMs: timeoutMs }));
      });
      void this.exited.then((exit) => {
        settle();
        reject(endOf(this.#child, 'VMM', exit));
      });
    });
  }

  /** Runs a monitor command; see `QmpClient.execute`. Rejects with `lab/timeout` if the process does not answer. */
  execute(command: string, args?: Readonly<Record<string, unknown>>): Promise<unknown> {
    return within(ANSWER_TIMEOUT_MS, `an answer of process ${this.pid} to '${command}'`, () =>
      this.client.execute(command, args),
    );
  }

  /** The next event of this name; see `QmpClient.waitFor`. */
  waitFor(event: string, options: QmpWaitOptions = {}): Promise<QmpEvent> {
    return this.client.waitFor(event, options);
  }

  async runState(): Promise<RunState> {
    return ((await this.execute('query-status')) as { status: RunState }).status;
  }

  async memory(): Promise<MemoryInfo> {
    const info = (await this.execute('x-ferry-query-memory')) as Record<string, number>;
    return {
      ramBytes: info['ram-bytes'],
      migratedPages: info['migrated-pages'],
      pageBytes: info['page-size'],
      residentBytes: info['resident-bytes'],
      residentBytesMax: info['resident-bytes-max'],
    };
  }

  /** What this VMM's host knows of each of the guest's network devices. Rejects without any, and when the guest has moved away for good. */
  async nics(): Promise<readonly NicInfo[]> {
    return (await this.execute('x-ferry-query-nic')) as readonly NicInfo[];
  }

  /** Where this VMM listens for a guest, as `migrate` of another takes it. Rejects if it does not. */
  async incomingAddress(): Promise<string> {
    const info = (await this.execute('query-migrate')) as MigrationInfo;
    const [address] = info['socket-address'] ?? [];
    if (address === undefined) {
      const desc = 'this VMM does not wait for a guest';
      throw labErrors.error('monitor-refused', { command: 'query-migrate', class: 'GenericError', desc });
    }
    return formatSocketAddress(
      address.type === 'unix'
        ? { kind: 'unix', path: address.path }
        : { kind: 'tcp', host: address.host, port: Number(address.port) },
    );
  }

  /** Lets a guest come to this VMM (started with `incoming: 'defer'`, or after its guest left); resolves with where. */
  async migrateIncoming(address: string): Promise<string> {
    await this.execute('migrate-incoming', { uri: address });
    return this.incomingAddress();
  }

  /**
   * Moves the guest to the VMM that listens at `address`. Resolves with the record when the guest runs there; rejects
   * with the error that ended the migration otherwise (`record()` still tells what happened). `onProgress` gets the
   * record as it stands, several times a second.
   */
  async migrate(address: string, onProgress?: (record: MigrationRecord) => void): Promise<MigrationRecord> {
    await this.execute('migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] });
    const ended = endOfNextMigration(this.client);
    // Should the command be refused, nobody waits for the event.
    ended.catch(() => undefined);
    await this.execute('migrate', { uri: address });
    const timer =
      onProgress === undefined ? undefined : setInterval(() => this.#report(onProgress), PROGRESS_PERIOD_MS);
    try {
      await ended;
    } catch {
      throw endOf(this.#child, 'VMM', await this.exited);
    } finally {
      clearInterval(timer);
    }
    const record = await this.record();
    invariant(record?.role === 'source', 'a migration that ended left no record');
    if (record.status !== 'completed') throw FerryError.from(record.error ?? {});
    return record;
  }

  /** The record of the last migration away from here, as it stands; undefined before the first. */
  record({ timeline = true } = {}): Promise<MigrationRecord | undefined> {
    return this.#record(timeline);
  }

  /** The record of the last migration that came here, as it stands; undefined before the first. */
  recordOfArrival(): Promise<DestinationRecord | undefined> {
    return this.#record(true);
  }

  async #record<R>(timeline: boolean): Promise<R | undefined> {
    const { record } = (await this.execute('x-ferry-query-record', { timeline })) as { record: R | null };
    return record ?? undefined;
  }

  /** The process is gone. */
  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Ends the VMM, and its guest if it is here; resolves when the process is gone. One that does not end is killed. */
  async quit(): Promise<ProcessExit> {
    return endChild(this.#child, this.exited, () => this.client.execute('quit'));
  }

  /** Ends the process at once, as a crash would. */
  async kill(): Promise<ProcessExit> {
    this.#child.kill('SIGKILL');
    return this.exited;
  }

  #report(onProgress: (record: MigrationRecord) => void): void {
    this.record({ timeline: false }).then(
      (record) => {
        if (record?.role === 'source') onProgress(record);
      },
      () => undefined,
    );
  }
}

/**
 * The event that ends the migration which is started next. A VMM that a guest has just come to may still have that arrival's
 * to tell, so what comes before the next `setup` does not count.
 */
export function endOfNextMigration(client: QmpClient): Promise<QmpEvent> {
  let begun = false;
  return client.waitFor('MIGRATION', {
    where: ({ status }) => {
      begun ||= status === 'setup';
      return begun && ENDS.includes(status);
    },
  });
}

/** What `work` resolves with, if it does so in time; rejects with `lab/timeout` otherwise. */
async function within<T>(timeoutMs: number, what: string, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(labErrors.error('timeout', { what, waitedMs: timeoutMs })), timeoutMs);
  });
  try {
    return await Promise.race([work(), late]);
  } finally {
    clearTimeout(timer);
  }
}
