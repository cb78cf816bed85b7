/** A plan as one HTML file with pictures. */
import * as Plot from '@observablehq/plot';
import { VERSION } from '../../vmm/version.js';
import { figure, html, htmlTable } from '../compare/report/html.js';
import { page } from '../compare/report/page.js';
import { ACCENT, ALARM, INK, picture, QUIET, seriesColour } from '../compare/report/plot.js';
import { BLACKOUT_PARTS, roundsEndLine } from '../report/migration-tables.js';
import { formatRate, formatTime } from '../report/words.js';
import type { PlanInputs } from './inputs.js';
import { type Plan, planMigration } from './model.js';
import {
  assumedLines,
  type PlanResult,
  planHeading,
  ROUND_HEADS,
  remedyLines,
  roundRows,
  verdictLine,
} from './text.js';

const MS = 1e6;

export function planReport(result: PlanResult): string {
  const { inputs, plan, unknown } = result;
  return page(
    'a migration on paper',
    planHeading(inputs),
    `<p class="soft">${html(`${verdictLine(plan, inputs)}. Calculated by vf-ferry ${VERSION}; nothing was moved.`)}</p>`,
    [
      ...(plan.meetsLimit ? [] : [lines(remedyLines(result))]),
      rounds(plan),
      blackout(plan, inputs),
      links(inputs),
      '<h2>What was taken without being given</h2>',
      lines(assumedLines(result)),
      '<h2>What this does not know</h2>',
      lines(unknown.map((words) => `  ${words}`)),
    ],
  );
}

/** Lines as the terminal has them: those that are indented become lists. */
function lines(of: readonly string[]): string {
  const parts = of.map((line) =>
    line.startsWith(' ') ? `<li>${html(line.trim())}</li>` : `<p>${html(line)}</p>`,
  );
  return `<div class="soft">${parts.join('').replace(/(<li>.*?<\/li>)+/g, '<ul>$&</ul>')}</div>`;
}

/** What each round has to send, logarithmic: a straight way down is a guest that is caught up with. */
function rounds(plan: Plan): string {
  const last = { round: plan.rounds.length + 1, pages: plan.lastPages };
  const all = [...plan.rounds, last].filter(({ pages }) => pages >= 1);
  return figure(
    'What each round has to send',
    picture('Pages that each round has to send', (_, width) => ({
      height: 300,
      marginLeft: 60,
      marginRight: 20,
      x: { label: 'round', labelOffset: 40, ticks: Math.min(all.length, width / 60), tickFormat: 'd' },
      y: { type: 'log', label: 'pages, logarithmic', grid: true, ticks: 5, tickFormat: '~s' },
      marks: [
        Plot.line(all, { x: 'round', y: 'pages', stroke: QUIET }),
        Plot.dot(plan.rounds, { x: 'round', y: 'pages', r: 5, fill: ACCENT }),
        Plot.dot(last.pages >= 1 ? [last] : [], { x: 'round', y: 'pages', r: 5, fill: ALARM }),
      ],
    })),
    `The last one goes while the guest stands still. ${roundsEndLine(plan.rounds.length, plan.roundsEnd)}.`,
    htmlTable(ROUND_HEADS, roundRows(plan)),
  );
}

function blackout({ blackout: parts }: Plan, { downtimeLimit }: PlanInputs): string {
  let from = 0;
  const pieces = BLACKOUT_PARTS.map(([part, words], index) => {
    const piece = { words, index, from: from / MS, to: (from + parts[part]) / MS };
    from += parts[part];
    return piece;
  });
  const legend = pieces.map(
    ({ words, index }) => `<li><span style="background:${seriesColour(index)}"></span>${html(words)}</li>`,
  );
  return figure(
    'What the blackout is made of',
    `<ol class="legend">${legend.join('')}</ol>${picture('The blackout, part upon part', (_, width) => ({
      height: 120,
      marginLeft: 12,
      marginRight: 30,
      x: { label: 'milliseconds', labelOffset: 40, grid: true, ticks: width / 110 },
      color: { type: 'identity' },
      marks: [
        Plot.barX(pieces, {
          x1: 'from',
          x2: 'to',
          fill: (piece: { index: number }) => seriesColour(piece.index),
          stroke: 'var(--paper)',
          strokeWidth: 0.5,
        }),
        Plot.ruleX([downtimeLimit / MS], { stroke: ALARM, strokeWidth: 3 }),
      ],
    }))}`,
    `The upright mark is the limit of ${formatTime(downtimeLimit)}.`,
    htmlTable(
      ['part', 'time'],
      [
        ...BLACKOUT_PARTS.map(([part, words]) => [words, formatTime(parts[part])]),
        ['blackout', formatTime(parts.totalNs)],
      ],
    ),
  );
}

/** From a tenth of the link to ten times it. */
const STEPS = 41;

/** The same guest over other links. */
function links(inputs: PlanInputs): string {
  const points = Array.from({ length: STEPS }, (_, step) => {
    const bandwidth = inputs.bandwidth * 10 ** ((2 * step) / (STEPS - 1) - 1);
    const { blackout: parts, totalNs, meetsLimit } = planMigration({ ...inputs, bandwidth });
    return { gbits: (bandwidth * 8) / 1e9, bandwidth, ms: parts.totalNs / MS, totalNs, meetsLimit };
  });
  const title = 'The same guest over slower and faster links';
  return figure(
    title,
    picture(title, (_, width) => ({
      height: 300,
      marginLeft: 60,
      marginRight: 20,
      x: {
        type: 'log',
        label: 'Gbit/s, logarithmic',
        labelOffset: 40,
        grid: true,
        ticks: width / 110,
        tickFormat: '~s',
      },
      y: {
        type: 'log',
        label: 'blackout, milliseconds, logarithmic',
        grid: true,
        ticks: 5,
        tickFormat: '~s',
      },
      marks: [
        Plot.ruleY([inputs.downtimeLimit / MS], { stroke: ALARM, strokeWidth: 2 }),
        Plot.line(points, { x: 'gbits', y: 'ms', stroke: QUIET }),
        Plot.dot(points, {
          x: 'gbits',
          y: 'ms',
          r: 4,
          fill: (point: { meetsLimit: boolean }) => (point.meetsLimit ? ACCENT : ALARM),
        }),
        Plot.text([inputs.downtimeLimit / MS], {
          y: (limit: number) => limit,
          text: () => 'limit',
          frameAnchor: 'right',
          textAnchor: 'end',
          dy: -8,
          fill: INK,
        }),
      ],
      color: { type: 'identity' },
    })),
    'All other figures are as given.',
    htmlTable(
      ['link', 'blackout', 'in all', 'within the limit'],
      points.map(({ bandwidth, ms, totalNs, meetsLimit }) => [
        formatRate(bandwidth),
        formatTime(ms * MS),
        formatTime(totalNs),
        meetsLimit ? 'yes' : 'no',
      ]),
    ),
  );
}
