/**
 * How fast a guest and its devices write memory, measured by a tracking at work without a migration: as `calc-dirty-rate` of
 * QEMU. The tracking is asked at even times, as the rounds of a migration would, so that what it costs comes with it.
 */
import { AtomicBitmap } from '../base/bitmap.js';
import type { AbortSignalLike, Scheduler } from '../base/clock.js';
import type { Duration } from '../base/units.js';
import { trackingWait } from './after-run.js';
import { chooseApproaches } from './approaches.js';
import type { MigrationParameters } from './parameters.js';
import { NEVER, withPatience } from './patience.js';
import type { SourceMachine } from './ports.js';
import { AUTO } from './registry.js';

export interface DirtyRateOptions {
  readonly machine: SourceMachine;
  readonly scheduler: Scheduler;
  /** Which tracking, and how long a guest that has a part in it may take. */
  readonly parameters: MigrationParameters;
  /** From the start of the tracking to its last harvest, and between two of them. */
  readonly duration: Duration;
  readonly period: Duration;
  /** Ends it early; what was measured until then stands. */
  readonly signal: AbortSignalLike;
  /** The tracking of that name is at work. */
  begun?(tracking: string): void;
}

export interface DirtyRateRecord {
  /** The tracking that was at work. */
  readonly tracking: string;
  readonly durationNs: number;
  readonly harvests: number;
  /** Pages of all harvests: one that is written again after a harvest counts again. */
  readonly dirtied: { readonly cpu: number; readonly device: number; readonly both: number };
  /** How long vCPUs were away from the guest for the harvests, and how long those took. */
  readonly vcpusAwayNs: number;
  readonly harvestNs: number;
}

/** Rejects as the tracking does, and with `migration/approach` or `migration/blocked` if there is none. */
export async function measureDirtyRate(options: DirtyRateOptions): Promise<DirtyRateRecord> {
  const { machine, scheduler, parameters, signal } = options;
  const { values, registry } = parameters;
  const wanted = { tracking: values.tracking, stop: AUTO, start: AUTO };
  const chosen = await chooseApproaches(wanted, machine.devices, registry);
  const tracking = chosen.tracking.make(machine, machine.devices);
  const wait = trackingWait({ chosen, machine, parameters });
  const pages = new AtomicBitmap(machine.description.migratedPages);
  let [cpu, device, both, harvests, vcpusAwayNs, harvestNs] = [0, 0, 0, 0, 0, 0];
  let began = scheduler.now();
  try {
    await withPatience(scheduler, wait, (patience) => tracking.start({ patience, givenUp: NEVER }));
    began = scheduler.now();
    options.begun?.(chosen.tracking.name);
    while (!signal.aborted && scheduler.now() - began < options.duration) {
      await scheduler.sleep(options.period, signal).catch(() => undefined);
      const from = scheduler.now();
      const report = await tracking.harvest(pages, false);
      harvestNs += scheduler.now() - from;
      // Each harvest finds the bitmap empty, so that it counts what was written since the last.
      pages.clear();
      harvests++;
      cpu += report.cpuPages;
      device += report.devicePages;
      both += report.bothPages;
      vcpusAwayNs += report.cost;
    }
  } finally {
    await withPatience(scheduler, wait, (patience) => tracking.stop({ patience, givenUp: NEVER }));
  }
  const durationNs = scheduler.now() - began;
  return {
    tracking: chosen.tracking.name,
    durationNs,
    harvests,
    dirtied: { cpu, device, both },
    vcpusAwayNs,
    harvestNs,
  };
}
