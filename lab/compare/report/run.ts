/** One run of an approach: when what happened, what was written meanwhile, and what the peer saw. */
import * as Plot from '@observablehq/plot';
import { FLOW, type TimelineEntry } from '../../../migration/timeline.js';
import { formatCount, formatTime } from '../../report/words.js';
import type { RunDetail } from '../figures.js';
import { figure, htmlTable } from './html.js';
import { ACCENT, ALARM, INK, picture, QUIET } from './plot.js';

const MS = 1e6;
/** What a device is asked in every round is left out: the rounds are there. */
const OFTEN = 3;
const BUCKETS_MAX = 240;

interface Span {
  readonly row: string;
  /** Milliseconds since the command. */
  readonly from: number;
  readonly to: number;
}

/** Rows that are the point of it, which stand out. */
const STANDSTILL = 'guest stands still';
const GAP = 'nothing comes to the peer, until the first packet';

/** The flow in which the longest gap was, of those that the peer measures. */
function longestGap({ network }: RunDetail): { readonly atNs: number; readonly ns: number } | undefined {
  const gaps = (network?.flows ?? []).flatMap(({ arrived }) =>
    arrived === null || arrived.longestGapNs === 0
      ? []
      : [{ atNs: arrived.longestGapAtNs, ns: arrived.longestGapNs }],
  );
  return gaps.sort((a, b) => b.ns - a.ns)[0];
}

const moment = (detail: RunDetail, what: string): number | undefined =>
  detail.timeline.findLast((entry) => entry.who === FLOW && entry.what === what)?.at;

const beginning = (detail: RunDetail): number => detail.timeline[0]?.at ?? detail.network?.startNs ?? 0;

function spansOf(detail: RunDetail): Span[] {
  const start = beginning(detail);
  const ms = (at: number): number => (at - start) / MS;
  const span = (row: string, from: number, to: number): Span => ({ row, from: ms(from), to: ms(to) });
  const lasted = (entry: TimelineEntry, row: string): Span => span(row, entry.at, entry.at + entry.duration!);
  const all = detail.timeline.filter(({ duration }) => duration !== undefined);
  const rounds = all.filter(({ who, what }) => who === FLOW && what === 'round');
  const kinds = new Map<string, TimelineEntry[]>();
  for (const entry of all) {
    if (entry.who === FLOW) continue;
    const kind = `${entry.who} ${entry.what}`;
    kinds.set(kind, [...(kinds.get(kind) ?? []), entry]);
  }
  const [still, runs] = [moment(detail, 'quiescing'), moment(detail, 'running') ?? moment(detail, 'resumed')];
  const gap = longestGap(detail);
  const spans = [
    ...rounds.map((entry) => lasted(entry, 'rounds')),
    ...[...kinds].flatMap(([kind, entries]) =>
      entries.length > OFTEN ? [] : entries.map((entry) => lasted(entry, kind)),
    ),
    ...(still === undefined || runs === undefined ? [] : [span(STANDSTILL, still, runs)]),
    ...(gap === undefined ? [] : [span(GAP, gap.atNs, gap.atNs + gap.ns)]),
  ];
  // What comes when guest and traffic are back, verification above all, is no part of it.
  const end = Math.max(
    ...spans.filter(({ row }) => row === STANDSTILL || row === GAP).map(({ to }) => to),
    ...detail.devices.map(({ startedAfterNs }) => ms((runs ?? start) + (startedAfterNs ?? 0))),
  );
  return Number.isFinite(end) && end > 0 ? spans.filter(({ from }) => from < end) : spans;
}

/** Everything, and below it the time around the standstill alone. */
export function timeline(detail: RunDetail): string {
  const spans = spansOf(detail);
  if (spans.length === 0) return '';
  const whole = [0, Math.max(...spans.map(({ to }) => to))] as const;
  const still = spans.find(({ row }) => row === STANDSTILL);
  // A gap elsewhere is the host's, or of the rounds.
  const close = spans.filter(
    ({ row, from, to }) =>
      still !== undefined && (row === STANDSTILL || (row === GAP && from <= still.to && to >= still.from)),
  );
  const [from, to] = [Math.min(...close.map((one) => one.from)), Math.max(...close.map((one) => one.to))];
  const margin = (to - from) / 5;
  const windows = [
    whole,
    ...(close.length === 0 ? [] : [[Math.max(0, from - margin), to + margin] as const]),
  ];
  const drawn = windows.map((domain, i) =>
    picture(
      i === 0 ? 'What happened when, from the command on' : 'The same around the standstill',
      (_, width) => lanes(spans, domain, width),
    ),
  );
  return figure(
    'When what happened',
    drawn.join('\n'),
    'From the command on; below, the time around the standstill.',
    htmlTable(
      ['what', 'began', 'lasted'],
      spans.map((one) => [one.row, formatTime(one.from * MS), formatTime((one.to - one.from) * MS)]),
    ),
  );
}

function lanes(spans: readonly Span[], [from, to]: readonly [number, number], width: number) {
  const seen = spans
    .filter((one) => one.to >= from && one.from <= to)
    .map((one) => ({ ...one, from: Math.max(from, one.from), to: Math.min(to, one.to) }));
  const rows = [...new Set(seen.map(({ row }) => row))];
  const colour = ({ row }: Span): string => (row === STANDSTILL ? ACCENT : row === GAP ? ALARM : QUIET);
  return {
    height: rows.length * 30 + 70,
    marginLeft: 12,
    marginRight: 12,
    x: {
      domain: [from, to],
      label: 'milliseconds since the command',
      labelOffset: 40,
      grid: true,
      ticks: width / 110,
    },
    y: { domain: rows, axis: null, padding: 0.15 },
    color: { type: 'identity' as const },
    marks: [
      // A hair wide at least, so that it is seen.
      Plot.barX(seen, { y: 'row', x1: 'from', x2: 'to', fill: colour, stroke: colour, insetTop: 13 }),
      Plot.text(rows, {
        y: (row: string) => row,
        text: (row: string) => row,
        frameAnchor: 'left',
        textAnchor: 'start',
        dy: -7,
        fill: INK,
      }),
    ],
  };
}

const CAUSES = [
  ['cpu', 'by the CPU'],
  ['device', 'by the device'],
  ['both', 'by both'],
] as const;

/** Pages that were written during each round, by who wrote them. */
export function dirtyPages({ rounds }: RunDetail): string {
  const found = rounds.filter(({ last }) => !last);
  if (found.length === 0) return '';
  const bars = found.flatMap(({ round, dirtied }) =>
    CAUSES.map(([cause, words]) => ({ round, words, pages: dirtied[cause] })),
  );
  return figure(
    'Pages written during each round',
    picture('Pages written during each round, by who wrote them', () => ({
      height: 380,
      marginLeft: 46,
      marginRight: 12,
      x: {
        label: 'round',
        labelOffset: 40,
        tickFormat: 'd',
        interval: 1,
        ...(found.length > 15
          ? { ticks: [1, ...found.map(({ round }) => round).filter((round) => round % 5 === 0)] }
          : {}),
      },
      y: { type: 'sqrt', label: 'pages (by square roots)', grid: true, ticks: 2, tickFormat: inThousands },
      fy: { label: null, axis: null, domain: CAUSES.map(([, words]) => words), padding: 0.25 },
      marks: [
        Plot.barY(bars, { fy: 'words', x: 'round', y: 'pages', fill: QUIET }),
        Plot.ruleY([0], { stroke: INK }),
        Plot.text(CAUSES, {
          fy: ([, words]: readonly [string, string]) => words,
          text: ([, words]: readonly [string, string]) => words,
          frameAnchor: 'top-right',
          dy: -12,
          fill: INK,
        }),
      ],
    })),
    'By who wrote them; the next round has to send them again.',
    htmlTable(
      ['round', 'sent', ...CAUSES.map(([, words]) => words)],
      rounds.map(({ round, last, pages, dirtied }) => [
        last ? 'last pages' : String(round),
        formatCount(pages),
        ...CAUSES.map(([cause]) => (last ? '' : formatCount(dirtied[cause]))),
      ]),
    ),
  );
}

/** What came to the peer in each moment, the gap marked: of the whole move, and around the gap. */
export function packets(detail: RunDetail): string {
  const arrivals = detail.network?.flows.find((flow) => flow.arrivals !== undefined)?.arrivals;
  const gap = longestGap(detail);
  if (arrivals === undefined || gap === undefined || arrivals.counts.length === 0) return '';
  const start = beginning(detail);
  const series = arrivals.counts.map((count, i) => ({
    ms: (arrivals.startNs + i * arrivals.bucketNs - start) / MS,
    count,
  }));
  const [gapFrom, gapTo] = [(gap.atNs - start) / MS, (gap.atNs + gap.ns - start) / MS];
  const around = Math.max(100, (gapTo - gapFrom) / 2);
  const windows = [
    [series[0]!.ms, series.at(-1)!.ms],
    [gapFrom - around, gapTo + around],
  ] as const;
  const words = `no packet for ${formatTime(gap.ns)}`;
  return figure(
    'Packets as the peer saw them',
    windows
      .map(([from, to]) => {
        const points = perSecond(series.filter(({ ms }) => ms >= from && ms <= to));
        const top = Math.max(1, ...points.map(({ rate }) => rate));
        return picture(`Packets a second at the peer; ${words}`, (_, width) => ({
          height: 220,
          marginLeft: 46,
          marginRight: 12,
          x: {
            domain: [from, to],
            label: 'milliseconds since the command',
            labelOffset: 40,
            ticks: width / 110,
          },
          y: {
            domain: [0, top * 1.25],
            label: 'packets a second',
            grid: true,
            ticks: 4,
            tickFormat: inThousands,
          },
          marks: [
            Plot.rectX([0], { x1: gapFrom, x2: gapTo, fill: ALARM, fillOpacity: 0.25, stroke: ALARM }),
            Plot.areaY(points, { x: 'ms', y: 'rate', fill: QUIET, fillOpacity: 0.35, curve: 'step-after' }),
            Plot.lineY(points, { x: 'ms', y: 'rate', stroke: INK, strokeWidth: 1, curve: 'step-after' }),
            Plot.text([0], {
              x: (gapFrom + gapTo) / 2,
              text: () => words,
              frameAnchor: 'top',
              textAnchor: (gapFrom + gapTo) / 2 > (from + to) / 2 ? 'end' : 'start',
              fill: INK,
              stroke: 'var(--paper)',
              strokeWidth: 4,
            }),
          ],
        }));
      })
      .join('\n'),
    `In the whole move, and around the longest gap: ${words}.`,
    htmlTable(
      ['flow', 'received', 'lost', 'longest gap'],
      detail.network!.flows.flatMap(({ device, flow, arrived }) =>
        arrived === null
          ? []
          : [
              [
                `${device} ${flow}`,
                formatCount(arrived.received),
                formatCount(arrived.lost),
                formatTime(arrived.longestGapNs),
              ],
            ],
      ),
    ),
  );
}

/** `0`, `500`, `20k`. */
const inThousands = (value: number): string => (value >= 1000 ? `${value / 1000}k` : String(value));

/** Buckets put together until there are few enough to be seen. */
function perSecond(series: readonly { readonly ms: number; readonly count: number }[]) {
  const each = Math.max(1, Math.ceil(series.length / BUCKETS_MAX));
  return Array.from({ length: Math.ceil(series.length / each) }, (_, i) => {
    const part = series.slice(i * each, (i + 1) * each);
    const count = part.reduce((sum, one) => sum + one.count, 0);
    return { ms: part[0]!.ms, rate: (count / part.length) * 1000 };
  });
}
