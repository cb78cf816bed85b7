/** What trackings cost, as a table for a terminal. */
import type { Spread } from '../report/median.js';
import { table } from '../report/table.js';
import { formatBytes, formatCount } from '../report/words.js';
import type { BenchTrackingResult, TrackingFigure } from './tracking.js';

/** Of one CPU. */
export const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

const spread = ({ median, min, max }: Spread, word: (value: number) => string): string =>
  min === max ? word(median) : `${word(median)} (${word(min)} to ${word(max)})`;

const HEADS = [
  'packets/s',
  'tracking',
  'came back',
  'guest CPU',
  'guest cost',
  'host CPU',
  'host cost',
  'of it asking',
  'pages/s',
  'asking takes',
] as const;

export const TRACKING_HEADS: readonly string[] = HEADS;
/** Left out where there is no room for them, the first of them first. */
const SPARE = [
  'asking takes',
  'pages/s',
  'of it asking',
  'guest CPU',
  'host CPU',
] as const satisfies readonly (typeof HEADS)[number][];

/** One row for each tracking and rate. */
export const trackingRow = (figure: TrackingFigure): readonly string[] => [
  formatCount(figure.rate),
  figure.tracking,
  spread(figure.packetShare, percent),
  percent(figure.guestCpu.median),
  spread(figure.guestCost, percent),
  percent(figure.hostCpu.median),
  spread(figure.hostCost, percent),
  percent(figure.askingCost.median),
  formatCount(Math.round(figure.pagesPerSecond.median)),
  `${figure.harvestMs.median.toFixed(2)} ms`,
];

/** `width`: cells in a line of the terminal, if it is one. */
export function trackingText(
  { figures, refused, runs, turnMs, periodMs }: BenchTrackingResult,
  width?: number,
): string {
  const memories = [...new Set(figures.map(({ memoryBytes }) => memoryBytes))];
  const tables = memories.map((bytes) => [
    `guest RAM ${formatBytes(bytes)}`,
    table(TRACKING_HEADS, figures.filter(({ memoryBytes }) => memoryBytes === bytes).map(trackingRow), {
      width,
      spare: SPARE,
    }),
    '',
  ]);
  return [
    ...tables.flat(),
    `${runs} turns of ${turnMs} ms each, in turn with none; medians, least and most in parentheses`,
    'came back: of what came back without a tracking; CPU: of one, without it; cost: what comes on top with it',
    `each tracking was asked every ${periodMs} ms, as by the rounds of a migration`,
    ...refused.map(({ tracking, reason }) => `${tracking} is not possible here: ${reason}`),
  ].join('\n');
}
