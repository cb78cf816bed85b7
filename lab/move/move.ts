/**
 * The main job, as a library call and as the heart of `ferry migrate`: spawn a source and a destination VMM process,
 * boot a guest, move it while it works, watch it go on, and judge. Everything goes over the monitors of the two
 * processes, as anybody could do it by hand.
 */
import { FerryError } from '../../base/errors.js';
import type { MigrationRecord } from '../../migration/record.js';
import { type ConsoleEntry, type SpawnOptions, spawnVmm, type Vmm } from '../vmm-client/spawn.js';
import { type Display, silentDisplay } from './display.js';
import {
  commandLine,
  KERNEL_IMAGE,
  type MigrateOptions,
  monitorParameters,
  type Scenario,
  STATUS_PERIOD_MS,
  scenarioOf,
} from './scenario.js';
import { type ConsoleLine, judge, statusPattern, type Verdict } from './verdict.js';

/** What came of a move, as plain data. */
export interface MigrateResult {
  readonly verdict: Verdict;
  readonly record: MigrationRecord | undefined;
  readonly console: readonly ConsoleLine[];
  /** The scenario as it was run, the seed among it: the same options again give the same guest. */
  readonly scenario: Scenario;
  /** From spawning the source to the guest's first console line, milliseconds. */
  readonly bootMs: number;
}

/** A guest that prints nothing for so long is not working. */
const SILENCE_MS = 15_000;

/**
 * Moves a working guest from one new VMM process to another and says whether it arrived whole.
 *
 * Resolves also if the move fails: then `verdict.outcome` is `failed` and the record holds the typed error. Rejects
 * with a FerryError if no move came about (options, image, memory, a VMM that died). Both processes have ended when it
 * settles.
 *
 *     const { verdict, record } = await migrate({ workload: 'stress', dirtyRate: 100 * 2 ** 20 });
 */
export async function migrate(
  options: MigrateOptions = {},
  display: Display = silentDisplay,
): Promise<MigrateResult> {
  const scenario = scenarioOf(options);
  const statusLine = statusPattern(scenario.guest === KERNEL_IMAGE);
  const lines: ConsoleLine[] = [];
  const started = performance.now();
  let bootMs = 0;
  const vmms: Vmm[] = [];
  try {
    display.step('starting a source and a destination VMM');
    const spawned = async (side: ConsoleLine['side'], options: SpawnOptions): Promise<Vmm> => {
      const vmm = await spawnVmm({ name: side, ...options });
      vmms.push(vmm);
      const take = ({ text, arrivedMs }: ConsoleEntry): void => {
        if (lines.length === 0) bootMs = arrivedMs - started;
        const line: ConsoleLine = { side, text };
        lines.push(line);
        display.console(line);
      };
      for (const entry of vmm.console) take(entry);
      vmm.onConsole(take);
      return vmm;
    };
    const [source, destination] = await settleAll([
      spawned('source', {
        guest: scenario.guest,
        memoryBytes: scenario.memoryBytes,
        vcpus: scenario.vcpus,
        append: commandLine(scenario),
        seed: scenario.seed,
        ...(scenario.recordTo === undefined ? {} : { recordTo: scenario.recordTo }),
      }),
      spawned('destination', { incoming: 'tcp:127.0.0.1:0' }),
    ]);
    await statusLines(source, statusLine, Math.max(1, Math.round(scenario.settleMs / STATUS_PERIOD_MS)));

    display.step(`moving the guest from process ${source.pid} to process ${destination.pid}`);
    await source.execute('migrate-set-parameters', monitorParameters(scenario));
    const record = await moved(source, await destination.incomingAddress(), display);
    display.done();

    const wanted = Math.max(2, Math.round(scenario.settleMs / STATUS_PERIOD_MS));
    if (record?.status === 'completed') {
      // A guest that falls silent there is a finding for the verdict, not an error here.
      await statusLines(destination, statusLine, wanted).catch(onlyErrors);
    }
    const verdict = judge({
      record,
      sourceStatus: await statusOf(source),
      destinationStatus: await statusOf(destination),
      console: lines,
      statusLinesMin: wanted,
      statusLine,
    });
    return { verdict, record, console: lines, scenario, bootMs };
  } finally {
    display.done();
    await Promise.all(vmms.map((vmm) => vmm.quit()));
  }
}

/** Moves the guest; the record also of a migration that failed. */
async function moved(source: Vmm, address: string, display: Display): Promise<MigrationRecord | undefined> {
  try {
    const record = await source.migrate(address, (soFar) => display.progress(soFar));
    display.progress(record);
    return record;
  } catch (error) {
    onlyErrors(error);
    const record = await source.record();
    if (record === undefined) throw error;
    return record;
  }
}

/** Resolves when the guest has printed `count` status lines here; rejects with `lab/timeout` when it falls silent. */
async function statusLines(vmm: Vmm, statusLine: RegExp, count: number): Promise<void> {
  for (let seen = 0, after = 0; seen < count; seen++) {
    await vmm.waitForConsole(statusLine, { after, timeoutMs: SILENCE_MS });
    after = vmm.console.findIndex(({ text }, i) => i >= after && statusLine.test(text)) + 1;
  }
}

/** As Promise.all, but nothing of it still runs when it rejects. */
async function settleAll<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(promises);
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}

function onlyErrors(error: unknown): void {
  if (!(error instanceof FerryError)) throw error;
}

async function statusOf(vmm: Vmm): Promise<string | undefined> {
  try {
    return await vmm.runState();
  } catch (error) {
    onlyErrors(error);
    return undefined;
  }
}
