/** The ratios that were committed, with the range that they had, and how new ones are held against them. */

import { median } from '../../report/median.js';
import { table } from '../../report/table.js';
import { formatPercent } from '../../report/words.js';
import { AT_MOST, LESS_IS_BETTER, RATIO_NAMES, RATIOS, type RatioName, type Ratios } from './ratios.js';

/** A change of this layout is a new version. */
export const COMMITTED_VERSION = 1;

export interface CommittedRatio {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface Committed {
  readonly version: typeof COMMITTED_VERSION;
  /** Where, and how often. */
  readonly machine: { readonly cpu: string; readonly cores: number; readonly node: string };
  readonly passes: number;
  /** Of those that are held against a range. */
  readonly ratios: { readonly [Name in RatioName]?: CommittedRatio };
}

const RANGED = RATIO_NAMES.filter((name) => AT_MOST[name] === undefined);

/** Beyond the least and the most of a few passes, as a share of them: what other machines and hours make of a ratio. */
export const ALLOWANCE = 0.15;

/** The range of each over several passes, at least one. */
export function committedFrom(passes: readonly Ratios[], machine: Committed['machine']): Committed {
  const rounded = (value: number): number => Number(value.toPrecision(3));
  const of = (name: RatioName): CommittedRatio => {
    const values = passes.map((ratios) => ratios[name]);
    return {
      median: rounded(median(values)),
      min: rounded(Math.min(...values)),
      max: rounded(Math.max(...values)),
    };
  };
  const ratios: Committed['ratios'] = Object.fromEntries(RANGED.map((name) => [name, of(name)]));
  return { version: COMMITTED_VERSION, machine, passes: passes.length, ratios };
}

/** The committed figures in a file's text; undefined for what are none, of this version and with every ratio that has a range. */
export function parseCommitted(text: string): Committed | undefined {
  let found: Partial<Committed> | null;
  try {
    found = JSON.parse(text) as Partial<Committed> | null;
  } catch {
    return undefined;
  }
  const whole = RANGED.every((name) => {
    const { median: middle, min, max } = found?.ratios?.[name] ?? {};
    return [middle, min, max].every((value) => typeof value === 'number' && value > 0) && min! <= max!;
  });
  return found?.version === COMMITTED_VERSION && whole ? (found as Committed) : undefined;
}

export type Judgement = 'within' | 'below' | 'above';

export function judged(value: number, { min, max }: CommittedRatio): Judgement {
  if (!(value >= min * (1 - ALLOWANCE))) return 'below';
  return value > max * (1 + ALLOWANCE) ? 'above' : 'within';
}

/** Against its range, or what it may be at most. */
function judgedByName(name: RatioName, value: number, ratios: Committed['ratios']): Judgement {
  const most = AT_MOST[name];
  if (most === undefined) return judged(value, ratios[name]!);
  return value <= most ? 'within' : 'above';
}

/** Names of the ratios that fell out of their ranges, or are more than they may be. */
export const fallenOut = (measured: Ratios, { ratios }: Committed): readonly RatioName[] =>
  RATIO_NAMES.filter((name) => judgedByName(name, measured[name], ratios) !== 'within');

const isBetter = (name: RatioName, judgement: Judgement): boolean =>
  (judgement === 'below') === LESS_IS_BETTER.includes(name);

/** Each ratio beside the committed one and its range. */
export function quickText(measured: Ratios, { ratios, machine, passes }: Committed): string {
  const rows = RATIO_NAMES.map((name) => {
    const committed = ratios[name];
    const judgement = judgedByName(name, measured[name], ratios);
    return [
      RATIOS[name],
      measured[name].toFixed(2),
      committed?.median.toFixed(2) ?? '–',
      committed === undefined
        ? `at most ${AT_MOST[name]!.toFixed(2)}`
        : `${committed.min.toFixed(2)} to ${committed.max.toFixed(2)}`,
      judgement === 'within'
        ? ''
        : `${judgement} its range: ${isBetter(name, judgement) ? 'better' : 'worse'}`,
    ];
  });
  const out = fallenOut(measured, { ratios, machine, passes, version: COMMITTED_VERSION });
  return [
    table(['ratio', 'now', 'committed', 'range', ''], rows),
    `committed: ${passes} passes on ${machine.cpu}, ${machine.cores} cores, Node ${machine.node}; a range counts with ` +
      `${formatPercent(ALLOWANCE)} beyond either end`,
    out.length === 0
      ? 'all are within their ranges'
      : `out of their ranges: ${out.join(', ')}; if it is so again on a calm machine, look for the change that did it, or renew the figures (-- --write)`,
    '',
  ].join('\n');
}
