/** What the blackouts of several moves are made of. */
import type { BlackoutRecord } from '../../migration/record.js';
import { median } from '../report/median.js';

export type BlackoutPartsMs = Readonly<Record<Exclude<keyof BlackoutRecord, 'totalNs'>, number>>;

/** Medians of the parts, each on its own, milliseconds; of at least one blackout. */
export function medianParts(blackouts: readonly BlackoutRecord[]): BlackoutPartsMs {
  const ms = (part: keyof BlackoutRecord): number => median(blackouts.map((one) => one[part] / 1e6));
  return {
    quiesceNs: ms('quiesceNs'),
    pauseNs: ms('pauseNs'),
    lastPagesNs: ms('lastPagesNs'),
    deviceStateNs: ms('deviceStateNs'),
    stateNs: ms('stateNs'),
    loadNs: ms('loadNs'),
    startNs: ms('startNs'),
  };
}
