/** Published figures of migrations with real devices, and what the model is asked about each. */
import { MIB } from '../../base/units.js';
import { completed, type PlanInputs } from '../../lab/plan/inputs.js';
import { planMigration } from '../../lab/plan/model.js';

interface Published {
  /** As docs/planning.md names it. */
  readonly what: string;
  readonly publishedMs: number;
  readonly modelMs: () => number;
}

const quiet: Partial<PlanInputs> = { dirtyRate: 0, deviceDirtyRate: 0, bandwidth: 12.5e9 };

const blackoutMs = (given: Partial<PlanInputs>): number =>
  planMigration(completed({ ...quiet, ...given })).blackout.totalNs / 1e6;

/** 100 MiB of state each, and 70 ms of configuration one after another. */
const multifd = (vfs: number): number => blackoutMs({ vfs, deviceState: 100 * MIB, deviceLoad: 70e6 });

/** What a switchover costs more with RAM that is pinned in it; the rate from the same source's smaller machine. */
const PIN_RATE = 39e9 / 2.63;
const pinning = (memory: number): number =>
  blackoutMs({ vfs: 1, memory, pinRate: PIN_RATE }) - blackoutMs({ vfs: 1, memory });

export const PUBLISHED: readonly Published[] = [
  { what: 'multifd device state, 1 VF', publishedMs: 274, modelMs: () => multifd(1) },
  { what: 'multifd device state, 2 VFs', publishedMs: 434, modelMs: () => multifd(2) },
  { what: 'multifd device state, 4 VFs', publishedMs: 1068, modelMs: () => multifd(4) },
  {
    what: 'switchover-ack, resources before the stop',
    publishedMs: 420,
    modelMs: () => blackoutMs({ vfs: 1, deviceState: 300e6, deviceLoad: 0 }),
  },
  {
    what: 'switchover-ack, resources in the stop',
    publishedMs: 1900,
    modelMs: () => blackoutMs({ vfs: 1, deviceState: 300e6, deviceLoad: 1480e6 }),
  },
  { what: 'vDPA, pinning 128 GB in the stop', publishedMs: 8890, modelMs: () => pinning(128e9) },
];
