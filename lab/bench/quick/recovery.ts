/**
 * How long the network is away where the driver has to set its device up anew, beside moves of the same guest in which nothing is set
 * up: what is left is recovery, and not the blackout that both have.
 */
import { startByDeviceState } from '../../../migration/start/device-state.js';
import { errorRecoveryNonfatal } from '../../../migration/start/error-recovery.js';
import { stopByDeviceState } from '../../../migration/stop/device-state.js';
import { surprise } from '../../../migration/stop/surprise.js';
import { migrate } from '../../move/move.js';
import type { MigrateOptions } from '../../move/scenario.js';
import { median } from '../../report/median.js';
import { benchErrors } from '../errors.js';

/** The least of a move that is asked for here. */
type Mover = (
  options: MigrateOptions,
) => Promise<Pick<Awaited<ReturnType<typeof migrate>>, 'verdict' | 'network'>>;

const COMMON = {
  workload: 'ledger',
  flows: ['echo'],
  rate: 10_000,
  settleMs: 500,
} as const satisfies MigrateOptions;
const WITH_STATE = { stop: stopByDeviceState.name, start: startByDeviceState.name };
/** No fixed wait of Linux's is in it but that of the driver's own reset. */
const RECOVERED = { stop: surprise.name, start: errorRecoveryNonfatal.name };

/**
 * The longest network gap of a recovery over that of a move with state: medians of `moves` of each, in turn. Rejects with
 * `bench/move-failed`, and with what the moves reject with.
 */
export async function recoveryRatio(moves: number, move: Mover = migrate): Promise<number> {
  const gaps = { state: [] as number[], recovery: [] as number[] };
  for (let turn = 0; turn < moves; turn++) {
    gaps.state.push(await gapMs(move, WITH_STATE));
    gaps.recovery.push(await gapMs(move, RECOVERED));
  }
  return median(gaps.recovery) / median(gaps.state);
}

async function gapMs(move: Mover, approach: typeof WITH_STATE): Promise<number> {
  const { verdict, network } = await move({ ...COMMON, ...approach });
  if (verdict.outcome !== 'verified') {
    const failed = verdict.checks.find(({ outcome }) => outcome === 'failed');
    const problem = failed === undefined ? verdict.outcome : `${failed.name}: ${failed.seen}`;
    throw benchErrors.error('move-failed', { what: `a move with ${approach.start}`, problem });
  }
  const gaps = network!.move.flows.flatMap(({ arrived }) => arrived?.longestGapNs ?? []);
  return Math.max(...gaps) / 1e6;
}
