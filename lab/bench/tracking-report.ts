/** What trackings cost, as one HTML file with pictures: medians as dots, from the least to the most as a line. */
import * as Plot from '@observablehq/plot';
import { VERSION } from '../../vmm/version.js';
import { figure, html, htmlTable } from '../compare/report/html.js';
import { page } from '../compare/report/page.js';
import { ACCENT, INK, picture, QUIET } from '../compare/report/plot.js';
import type { Spread } from '../report/median.js';
import { formatBytes, formatCount } from '../report/words.js';
import type { BenchTrackingResult, TrackingFigure } from './tracking.js';
import { TRACKING_HEADS, trackingRow } from './tracking-text.js';

const ROW = 18;

const COSTS = [
  ['guestCost', 'CPU time of the guest that each tracking costs', 'guest'],
  ['hostCost', 'CPU time of the host that each tracking costs', 'host'],
] as const;

export function trackingReport(
  result: BenchTrackingResult,
  host: { readonly cpu: string; readonly cores: number },
): string {
  const { figures, refused, runs, turnMs, periodMs } = result;
  const title = 'What it costs to know which pages a device writes';
  const conditions =
    `${runs} turns of ${turnMs} ms of each tracking, in turn with none, under echoes; each was asked every ${periodMs} ms. ` +
    `Host: ${host.cpu}, ${host.cores} cores, Node ${process.version}, vf-ferry ${VERSION}.`;
  const left = refused.map(
    ({ tracking, reason }) => `<li>${html(`${tracking} is not possible here: ${reason}`)}</li>`,
  );
  return page(title, title, `<p class="soft">${html(conditions)}</p>`, [
    ...COSTS.map(([cost, what]) => costs(figures, cost, what)),
    ...(left.length === 0 ? [] : [`<ul class="soft">${left.join('')}</ul>`]),
  ]);
}

interface Row extends Spread {
  readonly where: string;
  readonly tracking: string;
}

function costs(figures: readonly TrackingFigure[], cost: 'guestCost' | 'hostCost', what: string): string {
  const rows: Row[] = figures.map((one) => ({
    where: `${formatBytes(one.memoryBytes)}, ${formatCount(one.rate)} packets/s`,
    tracking: one.tracking,
    median: one[cost].median * 100,
    min: one[cost].min * 100,
    max: one[cost].max * 100,
  }));
  const places = [...new Set(rows.map(({ where }) => where))];
  const trackings = [...new Set(rows.map(({ tracking }) => tracking))];
  const drawn = picture(`${what}, by packet rate and size of RAM`, () => ({
    height: places.length * (trackings.length * ROW + 30) + 90,
    marginLeft: 92,
    marginRight: 20,
    fy: { domain: places, axis: null, padding: 0.12 },
    y: { domain: trackings, label: null, tickSize: 0 },
    x: { label: 'percent of one CPU', labelOffset: 40, grid: true, nice: true },
    marks: [
      Plot.ruleX([0], { stroke: QUIET }),
      Plot.ruleY(rows, { fy: 'where', y: 'tracking', x1: 'min', x2: 'max', stroke: ACCENT, strokeWidth: 3 }),
      Plot.dot(rows, { fy: 'where', y: 'tracking', x: 'median', r: 4, fill: ACCENT, stroke: 'var(--paper)' }),
      Plot.text(places, {
        fy: (place: string) => place,
        text: (place: string) => place,
        frameAnchor: 'top-left',
        textAnchor: 'start',
        dy: -9,
        fill: INK,
      }),
    ],
  }));
  return figure(
    what,
    drawn,
    'Dots are medians, lines reach from the least to the most of the turns; what goes beyond zero comes on top of the same traffic without a tracking.',
    htmlTable(
      ['guest RAM', ...TRACKING_HEADS],
      figures.map((one) => [formatBytes(one.memoryBytes), ...trackingRow(one)]),
    ),
  );
}
