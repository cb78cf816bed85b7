/** All approaches side by side: blackout and gap, what the blackout is made of, and CPU time. */
import * as Plot from '@observablehq/plot';
import type { BlackoutRecord } from '../../../migration/record.js';
import { BLACKOUT_PARTS } from '../../report/migration-tables.js';
import { formatTime } from '../../report/words.js';
import { titleOf } from '../compare.js';
import { type CompareEntry, type Figures, goalsOf } from '../figures.js';
import { FORMATS, HEADS, spreadText } from '../text.js';
import { figure, htmlTable } from './html.js';
import { ACCENT, ALARM, INK, picture, QUIET, seriesColour } from './plot.js';

const MS = 1e6;
const ROW = 40;

interface Row {
  readonly entry: CompareEntry;
  readonly title: string;
}

const rowsOf = (entries: readonly CompareEntry[]): Row[] =>
  entries.map((entry) => ({ entry, title: titleOf(entry) }));

/** The names stand above their rows, where they have room on any page. */
const names = (rows: readonly Row[]): Plot.Markish =>
  Plot.text(rows, {
    y: 'title',
    text: 'title',
    frameAnchor: 'left',
    textAnchor: 'start',
    dy: -13,
    fill: INK,
  });

const bands = (rows: readonly Row[]): Plot.ScaleOptions => ({
  domain: rows.map(({ title }) => title),
  axis: null,
  padding: 0.2,
});

/** The VM's blackout and the network's gap: medians as dots, from the least to the most as a line. */
export function standstills(entries: readonly CompareEntry[]): string {
  const known = (['blackoutNs', 'gapNs'] as const).filter((name) =>
    entries.some(({ figures }) => figures[name] !== undefined),
  );
  return known
    .map((name) => {
      const rows = rowsOf(entries.filter(({ figures }) => figures[name] !== undefined));
      const of = ({ entry }: Row) => entry.figures[name]!;
      const goals = rows.flatMap(({ entry, title }) =>
        goalsOf(entry).flatMap((goal) => (goal.of === name ? [{ title, ms: goal.ns / MS }] : [])),
      );
      const what =
        name === 'blackoutNs' ? 'How long the VM stood still' : 'How long nothing came to the peer';
      return figure(
        what,
        picture(`${what}, by approach`, () => ({
          height: rows.length * ROW + 70,
          marginLeft: 12,
          marginRight: 76,
          x: {
            type: 'log',
            label: 'milliseconds, logarithmic',
            labelOffset: 40,
            grid: true,
            ticks: 4,
            tickFormat: '~s',
          },
          y: bands(rows),
          marks: [
            Plot.ruleY(rows, {
              y: 'title',
              x1: (row: Row) => of(row).min / MS,
              x2: (row: Row) => of(row).max / MS,
              stroke: ACCENT,
              strokeWidth: 3,
              dy: 6,
            }),
            Plot.dot(rows, {
              y: 'title',
              x: (row: Row) => of(row).median / MS,
              r: 5,
              fill: ACCENT,
              stroke: 'var(--paper)',
              dy: 6,
            }),
            Plot.text(rows, {
              y: 'title',
              x: (row: Row) => of(row).max / MS,
              text: (row: Row) => formatTime(of(row).median),
              textAnchor: 'start',
              dx: 10,
              dy: 6,
              fill: INK,
            }),
            Plot.tickX(goals, { y: 'title', x: 'ms', stroke: ALARM, strokeWidth: 3, insetTop: 15 }),
            names(rows),
          ],
        })),
        `Dots are medians, lines reach from the least to the most of the runs${goals.length === 0 ? '' : '; upright marks are goals'}.`,
        htmlTable(
          ['approach', HEADS[name]],
          rows.map((row) => [row.title, spreadText(name, of(row))]),
        ),
      );
    })
    .join('\n');
}

/** The blackout of the median run of each, part upon part; parts have numbers, where there is room for them. */
export function blackouts(entries: readonly CompareEntry[]): string {
  const rows = rowsOf(entries.filter(({ detail }) => detail?.blackout !== undefined));
  if (rows.length === 0) return '';
  const time = ({ entry }: Row, part: keyof BlackoutRecord): number => entry.detail!.blackout![part];
  const longest = Math.max(...rows.map((row) => time(row, 'totalNs')));
  const parts = rows.flatMap((row) => {
    let from = 0;
    return BLACKOUT_PARTS.map(([part], index) => {
      const ns = time(row, part);
      const piece = { title: row.title, index, from: from / MS, to: (from + ns) / MS, share: ns / longest };
      from += ns;
      return piece;
    });
  });
  const legend = BLACKOUT_PARTS.map(
    ([, words], i) => `<li><span style="background:${seriesColour(i)}"></span>${i + 1} ${words}</li>`,
  ).join('');
  return figure(
    'What the blackout is made of',
    `<ol class="legend">${legend}</ol>${picture(
      'The blackout of each approach, part upon part',
      (_, width) => ({
        height: rows.length * ROW + 70,
        marginLeft: 12,
        marginRight: 76,
        x: { label: 'milliseconds', labelOffset: 40, grid: true, ticks: width / 110 },
        y: bands(rows),
        marks: [
          Plot.barX(parts, {
            y: 'title',
            x1: 'from',
            x2: 'to',
            fill: (part: { index: number }) => seriesColour(part.index),
            stroke: 'var(--paper)',
            strokeWidth: 0.5,
            insetTop: 14,
          }),
          Plot.text(
            parts.filter(({ share }) => share * width > 26),
            {
              y: 'title',
              x: (part: { from: number; to: number }) => (part.from + part.to) / 2,
              text: (part: { index: number }) => String(part.index + 1),
              dy: 7,
              fill: 'var(--on-series)',
              fontWeight: 'bold',
            },
          ),
          Plot.text(rows, {
            y: 'title',
            x: (row: Row) => time(row, 'totalNs') / MS,
            text: (row: Row) => formatTime(time(row, 'totalNs')),
            textAnchor: 'start',
            dx: 8,
            dy: 7,
            fill: INK,
          }),
          names(rows),
        ],
        color: { type: 'identity' },
      }),
    )}`,
    'Of the run with the median blackout.',
    htmlTable(
      ['approach', ...BLACKOUT_PARTS.map(([, words]) => words), 'blackout'],
      rows.map((row) => [
        row.title,
        ...BLACKOUT_PARTS.map(([part]) => formatTime(time(row, part))),
        formatTime(time(row, 'totalNs')),
      ]),
    ),
  );
}

/** CPU time of guest and host, from the command until traffic flowed again. */
export function cpuTimes(entries: readonly CompareEntry[]): string {
  const names_ = ['guestCpuNs', 'hostCpuNs'] as const satisfies readonly (keyof Figures)[];
  const rows = rowsOf(entries.filter(({ figures }) => names_.every((name) => figures[name] !== undefined)));
  if (rows.length === 0) return '';
  const bars = rows.flatMap(({ entry, title }) =>
    names_.map((name) => ({
      title,
      side: HEADS[name],
      ns: entry.figures[name]!.median,
      words: FORMATS[name],
    })),
  );
  return figure(
    'CPU time of guest and host',
    picture('CPU time of guest and host, by approach', (_, width) => ({
      height: 2 * (rows.length * ROW + 20) + 70,
      marginLeft: 12,
      marginRight: 76,
      x: { label: 'seconds of a CPU', labelOffset: 40, grid: true, ticks: width / 110 },
      y: bands(rows),
      fy: { label: null, axis: null, domain: names_.map((name) => HEADS[name]), padding: 0.12 },
      marks: [
        Plot.axisFy({
          label: null,
          anchor: 'right',
          textAnchor: 'end',
          frameAnchor: 'top-right',
          dx: 70,
          fontWeight: 'bold',
          fill: INK,
        }),
        Plot.barX(bars, {
          fy: 'side',
          y: 'title',
          x: (bar: { ns: number }) => bar.ns / 1e9,
          fill: QUIET,
          insetTop: 14,
        }),
        Plot.text(bars, {
          fy: 'side',
          y: 'title',
          x: (bar: { ns: number }) => bar.ns / 1e9,
          text: (bar: { ns: number; words: (ns: number) => string }) => bar.words(bar.ns),
          textAnchor: 'start',
          dx: 8,
          dy: 7,
          fill: INK,
        }),
        Plot.text(bars, {
          fy: 'side',
          y: 'title',
          text: 'title',
          frameAnchor: 'left',
          textAnchor: 'start',
          dy: -13,
          fill: INK,
        }),
      ],
    })),
    'Medians; the guest’s is that of its vCPUs, the host’s all else in both VMMs, from the command until traffic flowed again.',
    htmlTable(
      ['approach', ...names_.map((name) => HEADS[name])],
      rows.map(({ entry, title }) => [title, ...names_.map((name) => spreadText(name, entry.figures[name]))]),
    ),
  );
}
