/** The two formats of a page table that a device's requests go through: what the bits of an entry's low word are called there. */
import { firstStageEntry, secondStageEntry } from '../entries.js';

/** Rights of a mapping, in either format. */
export const MAP_READ = 1;
export const MAP_WRITE = 2;

export interface TableFormat {
  readonly stage: 'first' | 'second';
  /** Levels that a table may have. */
  readonly levels: readonly number[];
  /** With any of these an entry is there. */
  readonly present: number;
  /** All that says what may be done. */
  readonly rights: number;
  readonly large: number;
  readonly accessed: number;
  readonly dirty: number;
  /** `rights` of a mapping (MAP_READ and MAP_WRITE) as a leaf has them; an entry that leads to a table allows all. */
  leaf(rights: number): number;
}

const { R, W } = secondStageEntry;

/** 9.8 */
export const SECOND_STAGE: TableFormat = {
  stage: 'second',
  levels: [3, 4, 5],
  present: R.mask | W.mask,
  rights: R.mask | W.mask,
  large: secondStageEntry.PS.mask,
  accessed: secondStageEntry.A.mask,
  dirty: secondStageEntry.D.mask,
  leaf: (rights) => ((rights & MAP_READ) !== 0 ? R.mask : 0) | ((rights & MAP_WRITE) !== 0 ? W.mask : 0),
};

const { P, RW, US } = firstStageEntry;

/** 9.7: the CPU's own. What is there can be read; devices ask as users do. */
export const FIRST_STAGE: TableFormat = {
  stage: 'first',
  levels: [4, 5],
  present: P.mask,
  rights: P.mask | RW.mask | US.mask,
  large: firstStageEntry.PS.mask,
  accessed: firstStageEntry.A.mask,
  dirty: firstStageEntry.D.mask,
  leaf: (rights) => P.mask | US.mask | ((rights & MAP_WRITE) !== 0 ? RW.mask : 0),
};
