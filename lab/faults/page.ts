/** What came of fault scenarios as one HTML file: all at a glance, and for each what both sides said. */
import { VERSION } from '../../vmm/version.js';
import type { SideEnd } from '../checkers/happened.js';
import { type Card, cards, html } from '../compare/report/html.js';
import { page } from '../compare/report/page.js';
import { formatCount, formatTime } from '../report/words.js';
import type { FaultRun } from './outcome.js';
import { saidBy, whereWord } from './report.js';
import type { FaultScenario } from './scenario.js';

const HEADS = ['scenario', 'guest', 'source said', 'destination said', 'took', 'longest gap', 'held'];

/** `runs` of `scenarios`, each of which may have been run several times. */
export function faultsHtml(
  scenarios: readonly Pick<FaultScenario, 'name' | 'text' | 'guest'>[],
  runs: readonly FaultRun[],
): string {
  const ran = scenarios.flatMap((scenario) => {
    const own = runs.filter((run) => run.scenario === scenario.name);
    return own.length === 0 ? [] : [{ scenario, own }];
  });
  const wrong = runs.filter(({ findings }) => findings.length > 0).length;
  const held = `In ${formatCount(runs.length - wrong)} of ${formatCount(runs.length)} runs everything held that must hold.`;
  return page(
    'migrations under faults',
    'A guest that is moved while something goes wrong',
    `<p class="soft">${html(`${held} Real processes, moved by vf-ferry ${VERSION}.`)}</p>`,
    [
      cards(
        HEADS,
        ran.flatMap(({ own }) => own.map(cardOf)),
      ),
      ...ran.map(({ scenario, own }) => sectionOf(scenario, own)),
    ],
  );
}

const cardOf = (run: FaultRun): Card => ({
  title: run.scenario,
  anchor: run.scenario,
  cells: [
    whereWord(run.guest),
    saidBy(run.source),
    saidBy(run.destination),
    formatTime(run.tookMs * 1e6),
    run.gapMs === undefined ? '' : formatTime(run.gapMs * 1e6),
    run.findings.length === 0 ? '✔' : `✘ ${formatCount(run.findings.length)}`,
  ],
});

function sectionOf(
  { name, text, guest }: Parameters<typeof faultsHtml>[0][number],
  own: readonly FaultRun[],
): string {
  const expected =
    guest === 'source' || guest === 'destination' ? `must be at the ${guest}` : `must be: ${guest}`;
  const intro = `${text[0]!.toUpperCase()}${text.slice(1)}. In the end the guest ${expected}.`;
  const items = own.flatMap((run) => [
    ...run.findings.map((finding) => `<li class="failed">${html(finding)}</li>`),
    ...wordsOf('source', run.source),
    ...wordsOf('destination', run.destination),
  ]);
  return `<section id="${html(name)}"><h2>${html(name)}</h2>
<p>${html(intro)}</p><ul>${[...new Set(items)].join('')}</ul></section>`;
}

function wordsOf(side: string, { error }: SideEnd): readonly string[] {
  if (error === undefined) return [];
  return [`<li>${html(`The ${side}: ${error.message}. ${error.advice}`)}</li>`];
}
