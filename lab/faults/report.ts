/** What came of fault scenarios, in words. */
import type { SideEnd } from '../checkers/happened.js';
import { table } from '../report/table.js';
import { formatTime } from '../report/words.js';
import type { FaultRun } from './outcome.js';
import type { FaultScenario } from './scenario.js';

/** Those that are left out where there is no room, the first of them first. */
const SPARE = ['gap', 'took', 'destination says', 'source says'];

export function runLine({ scenario, guest, tookMs, findings }: FaultRun): string {
  const outcome = findings.length === 0 ? 'as it must be' : 'WRONG';
  return `${scenario}: guest ${whereWord(guest)}, ${formatTime(tookMs * 1e6)}, ${outcome}`;
}

export function runsText(runs: readonly FaultRun[], width: number | undefined): string {
  const rows = runs.map((run) => [
    run.scenario,
    whereWord(run.guest),
    saidBy(run.source),
    saidBy(run.destination),
    formatTime(run.tookMs * 1e6),
    run.gapMs === undefined ? '' : formatTime(run.gapMs * 1e6),
    run.findings.length === 0 ? '✔' : '✘',
  ]);
  const head = ['scenario', 'guest', 'source says', 'destination says', 'took', 'gap', ''];
  const wrong = runs.filter(({ findings }) => findings.length > 0);
  return [
    table(head, rows, { width, spare: SPARE }),
    ...wrong.flatMap(({ scenario, findings }) => findings.map((finding) => `✘ ${scenario}: ${finding}`)),
    `${runs.length - wrong.length} of ${runs.length} runs held everything`,
    '',
  ].join('\n');
}

export const scenariosText = (scenarios: readonly FaultScenario[]): string =>
  `${scenarios.map(({ name, text }) => `${name.padEnd(28)}${text}`).join('\n')}\n`;

export const whereWord = (guest: FaultRun['guest']): string =>
  guest === 'source' || guest === 'destination' ? `at the ${guest}` : guest;

/** The code of its error, or how it ended. */
export const saidBy = ({ error, status, gone }: SideEnd): string =>
  gone ? 'killed' : (error?.code ?? status ?? 'nothing');
