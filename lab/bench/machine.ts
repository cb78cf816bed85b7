/**
 * What the machine costs: how soon a guest talks, how much memory a VMM takes besides guest RAM, how long a guest
 * stands still when it moves and where those milliseconds go, and what dirty logging costs it while it runs. All of it
 * is measured from outside, over the monitors of real VMM processes.
 */
import { readFileSync } from 'node:fs';
import { MIB, PAGE_BYTES } from '../../base/units.js';
import type { MigrationRecord } from '../../migration/record.js';
import { KERNEL_IMAGE } from '../move/scenario.js';
import { median, type Spread, spreadOf } from '../report/median.js';
import { spawnVmm, type Vmm } from '../vmm-client/spawn.js';
import { type BlackoutPartsMs, medianParts } from './blackout-parts.js';

export interface BenchMachineOptions {
  /** Repetitions of each figure. */
  readonly runs?: number;
  readonly memoryBytes?: number;
  /** Told before each part, for people who wait. */
  readonly onPart?: (what: string) => void;
}

/** Medians of a workload's blackouts, milliseconds, each part on its own. */
export interface BlackoutFigure {
  readonly workload: string;
  readonly runs: number;
  readonly totalMs: number;
  readonly totalMsMin: number;
  readonly totalMsMax: number;
  readonly partsMs: BlackoutPartsMs;
  readonly lastPages: number;
  readonly rounds: number;
}

/** A guest's own rate with the dirty log off and on. */
export interface DirtyLogFigure {
  readonly workload: string;
  readonly unit: string;
  readonly rateOff: number;
  readonly rateOn: number;
  /** 1 - on / off. */
  readonly slowdown: number;
}

export interface BenchMachineResult {
  readonly memoryBytes: number;
  /** From spawning a VMM to the guest's first console line, milliseconds: median, least, most. */
  readonly bootMs: Spread;
  /** Resident memory of a running VMM besides guest RAM, bytes: median of the boots. */
  readonly overheadBytes: number;
  /** `stop` and `cont` over the monitor, microseconds, medians: they bound the time to reach a safepoint. */
  readonly stopUs: number;
  readonly contUs: number;
  readonly blackouts: readonly BlackoutFigure[];
  readonly dirtyLog: readonly DirtyLogFigure[];
}

/** Takes about a minute with the default of 10 runs. Rejects with the FerryErrors of the VMMs. */
export async function benchMachine(options: BenchMachineOptions = {}): Promise<BenchMachineResult> {
  const { runs = 10, memoryBytes = 256 * MIB, onPart = () => {} } = options;
  onPart(`starting a VMM ${runs} times`);
  const boots = await times(runs, () => measureBoot(memoryBytes));
  onPart('stopping and continuing a guest');
  const stops = await measureStops(memoryBytes, runs * 10);
  const blackouts: BlackoutFigure[] = [];
  for (const workload of ['idle', 'ledger']) {
    onPart(`moving ${workload} there and back, ${runs} moves`);
    blackouts.push(await measureBlackout(workload, memoryBytes, runs));
  }
  const dirtyLog: DirtyLogFigure[] = [];
  for (const load of LOADS) {
    onPart(`${load.workload} with the dirty log off and on`);
    dirtyLog.push(await measureDirtyLog(load, memoryBytes));
  }
  return {
    memoryBytes,
    bootMs: spreadOf(boots.map((boot) => boot.ms)),
    overheadBytes: median(boots.map((boot) => boot.overheadBytes)),
    ...stops,
    blackouts,
    dirtyLog,
  };
}

async function times<T>(count: number, run: () => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (let i = 0; i < count; i++) results.push(await run());
  return results;
}

async function withVmm<T>(
  options: Parameters<typeof spawnVmm>[0],
  use: (vmm: Vmm) => Promise<T>,
): Promise<T> {
  const vmm = await spawnVmm(options);
  try {
    return await use(vmm);
  } finally {
    await vmm.quit();
  }
}

async function measureBoot(memoryBytes: number): Promise<{ ms: number; overheadBytes: number }> {
  const started = performance.now();
  return withVmm({ guest: KERNEL_IMAGE, memoryBytes, append: 'workload=idle status_ms=100' }, async (vmm) => {
    const first = await vmm.waitForConsole(/./);
    await vmm.waitForConsole(/idle: up/);
    return { ms: first.arrivedMs - started, overheadBytes: overheadBytes(vmm.pid, memoryBytes) };
  });
}

/** Resident bytes of a process outside mappings as large as guest RAM or larger (the kernel's own accounting). */
function overheadBytes(pid: number, ramBytes: number): number {
  let resident = 0;
  let mapping = 0;
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    const [key, value] = line.split(/:?\s+/);
    if (key === 'Size') mapping = Number(value) * 1024;
    if (key === 'Rss' && mapping < ramBytes) resident += Number(value) * 1024;
  }
  return resident;
}

async function measureStops(memoryBytes: number, count: number): Promise<{ stopUs: number; contUs: number }> {
  return withVmm({ guest: KERNEL_IMAGE, memoryBytes, append: 'workload=stress' }, async (vmm) => {
    await vmm.waitForConsole(/stress: .*clean/);
    const timed = async (command: string): Promise<number> => {
      const before = performance.now();
      await vmm.execute(command);
      return (performance.now() - before) * 1e3;
    };
    const stop: number[] = [];
    const cont: number[] = [];
    for (let i = 0; i < count; i++) {
      stop.push(await timed('stop'));
      cont.push(await timed('cont'));
    }
    return { stopUs: median(stop), contUs: median(cont) };
  });
}

/** One guest, moved back and forth between two VMMs; memory is compared by the integrity root each time. */
export async function measureBlackout(
  workload: string,
  memoryBytes: number,
  runs: number,
): Promise<BlackoutFigure> {
  const append = `workload=${workload} status_ms=200`;
  const alive = workload === 'idle' ? /idle: up/ : /clean/;
  return withVmm({ guest: KERNEL_IMAGE, memoryBytes, append }, (first) =>
    withVmm({ incoming: 'defer' }, async (second) => {
      const records: MigrationRecord[] = [];
      let [source, destination] = [first, second];
      await source.waitForConsole(alive);
      for (let i = 0; i < runs; i++) {
        const address = await destination.migrateIncoming('tcp:127.0.0.1:0');
        await source.execute('migrate-set-parameters', { 'downtime-limit': 5, verify: 'root' });
        const after = destination.console.length;
        records.push(await source.migrate(address));
        await destination.waitForConsole(alive, { after });
        [source, destination] = [destination, source];
      }
      return blackoutFigure(workload, records);
    }),
  );
}

function blackoutFigure(workload: string, records: readonly MigrationRecord[]): BlackoutFigure {
  const blackouts = records.map((record) => record.blackout!);
  const totals = blackouts.map((b) => b.totalNs / 1e6);
  return {
    workload,
    runs: records.length,
    totalMs: median(totals),
    totalMsMin: Math.min(...totals),
    totalMsMax: Math.max(...totals),
    partsMs: medianParts(blackouts),
    lastPages: median(records.map((record) => record.rounds.at(-1)?.pages ?? 0)),
    rounds: median(records.map((record) => record.rounds.length)),
  };
}

interface Load {
  readonly workload: string;
  readonly append: string;
  /** Finds the rate in a status line. */
  readonly rate: RegExp;
  readonly unit: string;
}

/** As fast as they can, so that what the log costs shows in the rate. */
const LOADS: readonly Load[] = [
  {
    workload: 'stress',
    append: 'workload=stress dirty_rate=0',
    rate: /stress: (\d+) bytes\/s/,
    unit: 'bytes/s',
  },
  {
    workload: 'ledger',
    append: 'workload=ledger transactions=0',
    rate: /ledger: (\d+) transactions\/s/,
    unit: 'transactions/s',
  },
];

const RATE_LINES = 8;

/**
 * The guest's rate alone, then during the first round of a migration whose bandwidth is so small that nothing but the
 * log is at work, then alone again.
 */
async function measureDirtyLog(load: Load, memoryBytes: number): Promise<DirtyLogFigure> {
  const append = `${load.append} status_ms=250`;
  return withVmm({ guest: KERNEL_IMAGE, memoryBytes, append }, (source) =>
    withVmm({ incoming: 'tcp:127.0.0.1:0' }, async (destination) => {
      await source.waitForConsole(load.rate);
      // The first lines come from code that the engine has not optimised yet.
      await rates(source, load.rate);
      const before = await rates(source, load.rate);
      await source.execute('migrate-set-parameters', { 'max-bandwidth': 16 * PAGE_BYTES, verify: 'off' });
      await source.execute('migrate-set-capabilities', {
        capabilities: [
          { capability: 'events', state: true },
          { capability: 'auto-converge', state: false },
        ],
      });
      const active = source.waitFor('MIGRATION_PASS');
      await source.execute('migrate', { uri: await destination.incomingAddress() });
      await active;
      const rateOn = median(await rates(source, load.rate));
      const cancelled = source.waitFor('MIGRATION', { where: ({ status }) => status === 'cancelled' });
      await source.execute('migrate_cancel');
      await cancelled;
      const rateOff = median([...before, ...(await rates(source, load.rate))]);
      return { workload: load.workload, unit: load.unit, rateOff, rateOn, slowdown: 1 - rateOn / rateOff };
    }),
  );
}

/** Rates of the next status lines; the first is left out, because its period began before. */
async function rates(vmm: Vmm, pattern: RegExp): Promise<number[]> {
  const found: number[] = [];
  for (let i = 0; i <= RATE_LINES; i++) {
    const { text } = await vmm.waitForConsole(pattern, { after: vmm.console.length });
    if (i > 0) found.push(Number(pattern.exec(text)![1]));
  }
  return found;
}
