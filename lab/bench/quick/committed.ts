/** The ratios that were committed, with the range that they had, and how new ones are held against them. */

import { median } from '../../report/median.js';
import { table } from '../../report/table.js';
import { formatPercent } from '../../report/words.js';
import { LESS_IS_BETTER, RATIO_NAMES, RATIOS, type RatioName, type Ratios } from './ratios.js';

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
  readonly ratios: Readonly<Record<RatioName, CommittedRatio>>;
}

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
  const ratios = Object.fromEntries(RATIO_NAMES.map((name) => [name, of(name)])) as Committed['ratios'];
  return { version: COMMITTED_VERSION, machine, passes: passes.length, ratios };
}

/** The committed figures in a file's text; undefined for what are none, of this version and with every ratio. */
export function parseCommitted(text: string): Committed | undefined {
  let found: Partial<Committed> | null;
  try {
    found = JSON.parse(text) as Partial<Committed> | null;
  } catch {
    return undefined;
  }
  const whole = RATIO_NAMES.every((name) => {
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

/** Names of the ratios that fell out of their ranges. */
export const fallenOut = (measured: Ratios, { ratios }: Committed): readonly RatioName[] =>
  RATIO_NAMES.filter((name) => judged(measured[name], ratios[name]) !== 'within');

const isBetter = (name: RatioName, judgement: Judgement): boolean =>
  (judgement === 'below') === LESS_IS_BETTER.includes(name);

/** Each ratio beside the committed one and its range. */
export function quickText(measured: Ratios, { ratios, machine, passes }: Committed): string {
  const rows = RATIO_NAMES.map((name) => {
    const { median: middle, min, max } = ratios[name];
    const judgement = judged(measured[name], ratios[name]);
    return [
      RATIOS[name],
      measured[name].toFixed(2),
      middle.toFixed(2),
      `${min.toFixed(2)} to ${max.toFixed(2)}`,
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
