/**
 * A comparison as one HTML file that needs nothing else: it opens from disk, without network and without scripts. Tables say all
 * that the pictures say.
 */
import { chosenBeside, givenFor, titleOf } from '../compare.js';
import type { CompareEntry, Comparison, Figures } from '../figures.js';
import { GOAL_HEADS, goalRows, goalsText, HEADS, spreadText } from '../text.js';
import { cards, html, htmlTable } from './html.js';
import { blackouts, cpuTimes, standstills } from './overview.js';
import { conditions, page } from './page.js';
import { plugs } from './plug.js';
import { dirtyPages, packets, timeline } from './run.js';

export function reportHtml(comparison: Comparison): string {
  const { entries } = comparison;
  const run = entries.filter(({ outcome }) => outcome !== 'impossible' && outcome !== 'same');
  const { runs } = comparison;
  return page(
    'approaches compared',
    'A guest with a virtual function, moved: the approaches compared',
    conditions(`${runs} ${runs === 1 ? 'run' : 'runs'} each, in turn, with the same seed`, comparison),
    [
      run.length === 0 ? '<p>No approach was possible.</p>' : summary(run),
      goals(comparison),
      leftOut(entries),
      standstills(run),
      blackouts(run),
      cpuTimes(run),
      plugs(run),
      ...run.map((entry) => section(entry, comparison)),
    ],
  );
}

const anchor = ({ effort, name }: CompareEntry): string => `${effort}-${name}`;

const OUTCOMES: Readonly<Record<CompareEntry['outcome'], string>> = {
  verified: '✔ verified',
  unverified: '– not verified',
  failed: '✘ failed',
  impossible: 'not possible',
  same: 'the same choice',
};

/** The table of all, which on a narrow page becomes a list of cards. */
function summary(run: readonly CompareEntry[]): string {
  const names = Object.keys(HEADS) as (keyof Figures)[];
  const heads = ['approach', ...names.map((name) => HEADS[name]), 'outcome', 'goals'];
  const rows = run.map((entry) => {
    const cells = [
      ...names.map((name) => spreadText(name, entry.figures[name], false)),
      OUTCOMES[entry.outcome],
      goalsText(entry) || '–',
    ];
    return { title: titleOf(entry), anchor: anchor(entry), cells };
  });
  return `${cards(heads, rows)}
<p class="soft">Medians; CPU time from the command until traffic flowed again.</p>`;
}

/** What is to be reached, and what was. */
function goals(comparison: Comparison): string {
  const rows = goalRows(comparison);
  return rows.length === 0
    ? ''
    : `<section id="goals"><h2>What is to be reached</h2>${htmlTable(GOAL_HEADS, rows)}</section>`;
}

function leftOut(entries: readonly CompareEntry[]): string {
  const words = entries.flatMap((entry) => {
    if (entry.outcome === 'impossible') return [`${titleOf(entry)} is not possible here: ${entry.reason}`];
    return entry.outcome === 'same' ? [`${titleOf(entry)} is the same choice as ${entry.reason}`] : [];
  });
  return words.length === 0
    ? ''
    : `<ul class="soft">${words.map((one) => `<li>${html(one)}</li>`).join('')}</ul>`;
}

function section(entry: CompareEntry, comparison: Comparison): string {
  const { detail, reason, fallbacks } = { fallbacks: entry.detail?.fallbacks ?? [], ...entry };
  const beside = [chosenBeside(entry), givenFor(entry, comparison)]
    .filter((words) => words !== '')
    .join(', ');
  const words = [
    `${entry.text[0]?.toUpperCase() ?? ''}${entry.text.slice(1)}${beside === '' ? '' : `; with ${beside}`}.`,
    ...fallbacks.map(
      ({ effort, from, to, because }) => `Fell back to ${effort} ${to}, not ${from}: ${because}.`,
    ),
  ];
  const failed = entry.runs.filter(({ outcome }) => outcome === 'failed').length;
  const why =
    reason === undefined
      ? ''
      : `<p class="failed">${html(`✘ ${failed} of ${entry.runs.length} runs failed: ${reason}`)}</p>`;
  const pictures =
    detail === undefined ? '' : [timeline(detail), packets(detail), dirtyPages(detail)].join('\n');
  return `<section id="${html(anchor(entry))}"><h2>${html(titleOf(entry))}</h2>
${words.map((one) => `<p>${html(one)}</p>`).join('\n')}
${why}${pictures}</section>`;
}
