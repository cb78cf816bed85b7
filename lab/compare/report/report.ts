/**
 * A comparison as one HTML file that needs nothing else: it opens from disk, without network and without scripts. Tables say all
 * that the pictures say.
 */
import { VERSION } from '../../../vmm/version.js';
import { formatBytes, formatCount } from '../../report/words.js';
import { chosenBeside, titleOf } from '../compare.js';
import type { CompareEntry, Comparison, Figures } from '../figures.js';
import { goalsText, HEADS, spreadText } from '../text.js';
import { html } from './html.js';
import { blackouts, cpuTimes, standstills } from './overview.js';
import { dirtyPages, packets, timeline } from './run.js';
import { STYLE } from './style.js';

export function reportHtml(comparison: Comparison): string {
  const { entries } = comparison;
  const run = entries.filter(({ outcome }) => outcome !== 'impossible' && outcome !== 'same');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>vf-ferry: approaches compared</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<h1>A guest with a virtual function, moved: the approaches compared</h1>
${conditions(comparison)}
</header>
<main>
${run.length === 0 ? '<p>No approach was possible.</p>' : summary(run)}
${leftOut(entries)}
${standstills(run)}
${blackouts(run)}
${cpuTimes(run)}
${run.map(section).join('\n')}
</main>
</body>
</html>
`;
}

function conditions({ scenario, host, runs }: Comparison): string {
  const flows =
    scenario.flows.length === 0
      ? 'no traffic'
      : `${formatCount(scenario.rate)} packets/s of ${scenario.flows.join(', ')}`;
  return `<p class="soft">${html(
    `${runs} ${runs === 1 ? 'run' : 'runs'} each, in turn, with the same seed (${scenario.seed}). Guest: ${formatBytes(scenario.memoryBytes)}, ` +
      `${scenario.vcpus} ${scenario.vcpus === 1 ? 'vCPU' : 'vCPUs'}, workload ${scenario.workload}, ${flows}. Host: ${host.cpu}, ${host.cores} cores, ` +
      `${formatBytes(host.memoryBytes)}, Node ${host.node}, vf-ferry ${VERSION}.`,
  )}</p>`;
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
    const data = cells.map((cell, i) => `<td data-head="${html(heads[i + 1]!)}">${html(cell)}</td>`).join('');
    return `<tr><th scope="row"><a href="#${html(anchor(entry))}">${html(titleOf(entry))}</a></th>${data}</tr>`;
  });
  return `<div class="table cards"><table><thead><tr>${heads.map((head) => `<th scope="col">${head}</th>`).join('')}</tr></thead>
<tbody>${rows.join('\n')}</tbody></table></div>
<p class="soft">Medians; CPU time from the command until traffic flowed again.</p>`;
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

function section(entry: CompareEntry): string {
  const { detail, reason, fallbacks } = { fallbacks: entry.detail?.fallbacks ?? [], ...entry };
  const beside = chosenBeside(entry);
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
