/**
 * A migration's record as tables for people: rounds, then the blackout split so that one sees where each
 * millisecond went. `--json` prints the record itself.
 */
import type { PageRanges } from '../../migration/page-ranges.js';
import type {
  BlackoutRecord,
  DestinationParts,
  DirtiedPages,
  MigrationRecord,
  RoundRecord,
  RoundsEnd,
} from '../../migration/record.js';
import { table } from './table.js';
import { bar, formatBytes, formatCount, formatPages, formatRate, formatTime } from './words.js';

const dirtiedPages = ({ cpu, device, both }: DirtiedPages): number => cpu + device + both;

/** `1,200`, and where a device wrote too, `1,200 (900 CPU, 250 device, 50 both)`. */
function dirtiedInWords(dirtied: DirtiedPages): string {
  const { cpu, device, both } = dirtied;
  const all = formatCount(dirtiedPages(dirtied));
  if (device + both === 0) return all;
  return `${all} (${formatCount(cpu)} CPU, ${formatCount(device)} device, ${formatCount(both)} both)`;
}

/** One line per pre-copy round, for plain output as the migration goes. */
export function roundLine(round: RoundRecord): string {
  const throttle = round.throttlePercent === 0 ? '' : `, guest throttled by ${round.throttlePercent} %`;
  const dirtied = round.last ? '' : `; meanwhile dirtied ${dirtiedInWords(round.dirtied)} pages`;
  return (
    `round ${round.round}${round.last ? ' (guest paused)' : ''}: ${formatCount(round.pages)} pages ` +
    `(${formatCount(round.zeroPages)} zero), ${formatBytes(round.bytes)} in ${formatTime(round.durationNs)}, ` +
    `${formatRate(round.bytesPerSecond)}${dirtied}${throttle}`
  );
}

/**
 * Phases: set-up, every round, the blackout, the whole; time, pages, bytes and rate of each, and what was dirtied
 * meanwhile. With an assigned device the dirtied pages are told apart by who wrote them, as far as the machine can. `width`: of the terminal.
 */
export function phaseTable(record: MigrationRecord, width?: number): string {
  const byCause = record.deviceDirtied !== undefined;
  const dirtiedHead = byCause ? ['by CPU', 'by device', 'by both'] : ['dirtied'];
  const dirtied = (pages: DirtiedPages): string[] =>
    byCause ? [pages.cpu, pages.device, pages.both].map(formatCount) : [formatCount(dirtiedPages(pages))];
  const head = ['phase', 'time', 'pages', 'zero', 'resent', 'bytes', 'rate', ...dirtiedHead];
  const padded = (row: readonly string[]): string[] => head.map((_, i) => row[i] ?? '');
  const rows: string[][] = [padded(['set-up', formatTime(record.setupNs)])];
  for (const round of record.rounds) {
    rows.push(
      padded([
        round.last ? 'last pages' : `round ${round.round}`,
        formatTime(round.durationNs),
        formatCount(round.pages),
        formatCount(round.zeroPages),
        formatCount(round.resentPages),
        formatBytes(round.bytes),
        formatRate(round.bytesPerSecond),
        ...(round.last ? [] : dirtied(round.dirtied)),
      ]),
    );
  }
  const { transferred } = record;
  rows.push([
    'in all',
    formatTime(record.totalNs),
    formatCount(transferred.pages),
    formatCount(transferred.zeroPages),
    formatCount(transferred.resentPages),
    formatBytes(transferred.bytes),
    '',
    ...(byCause ? dirtied(record.dirtied) : ['']),
  ]);
  return table(head, rows, { width, spare: ['resent', 'zero', 'by both', 'rate', 'bytes'] });
}

/** Those of an assigned device are left out where there is none. */
export const BLACKOUT_PARTS: readonly (readonly [keyof BlackoutRecord, string])[] = [
  ['quiesceNs', 'quiesce the device'],
  ['pauseNs', 'pause the vCPUs'],
  ['lastPagesNs', 'last pages'],
  ['deviceStateNs', 'device state'],
  ['stateNs', 'save and send state'],
  ['loadNs', 'arrive, check, load'],
  ['startNs', 'commit and start'],
];

/** The blackout's parts, as they came and as they were expected, with a bar for each part's share. */
export function blackoutTable(
  blackout: BlackoutRecord,
  expected: BlackoutRecord | undefined,
  destination: DestinationParts | undefined,
  width?: number,
): string {
  const times = (key: keyof BlackoutRecord): string[] => [
    formatTime(blackout[key]),
    expected === undefined ? '' : formatTime(expected[key]),
  ];
  const rows = BLACKOUT_PARTS.filter(([key]) => blackout[key] > 0).map(([key, words]) => [
    words,
    ...times(key),
    bar(blackout[key] / blackout.totalNs, 24),
  ]);
  rows.push(['blackout', ...times('totalNs'), '']);
  const drawn = table(['guest stands still', 'time', 'expected', 'share'], rows, { width, spare: ['share'] });
  if (destination === undefined) return drawn;
  const { lastPagesNs, integrityNs, loadNs, deviceLoadNs, startNs, deviceStartNs } = destination;
  const ofIt = deviceStartNs > 0 ? `, ${formatTime(deviceStartNs)} of it for the device` : '';
  const steps =
    `of which the destination: last pages ${formatTime(lastPagesNs)}, integrity root ${formatTime(integrityNs)}, ` +
    `load ${formatTime(loadNs)}, start ${formatTime(startNs)}${ofIt}`;
  // It begins with the device's last piece, which may come long before the last page.
  const beside = `beside these steps it took the device's state in, in ${formatTime(deviceLoadNs)}`;
  return [drawn, steps, ...(deviceLoadNs > 0 ? [beside] : [])].join('\n');
}

/** Why rounds ended, to go after "pre-copy ended". */
const ROUNDS_END_WORDS: Readonly<Record<RoundsEnd, string>> = {
  'fits-downtime-limit': 'the rest was expected to fit the downtime limit',
  'nothing-left': 'nothing was left to send',
  'no-longer-shrinks': 'further rounds no longer shortened the expected blackout',
  'max-rounds': 'the limit of rounds was reached',
  'same-pages': 'the tracking names the same pages in every round, written or not',
};

/** `pre-copy ended after 3 rounds: nothing was left to send`. `rounds`: those before the blackout. */
export const roundsEndLine = (rounds: number, end: RoundsEnd): string =>
  `pre-copy ended after ${rounds} ${rounds === 1 ? 'round' : 'rounds'}: ${ROUNDS_END_WORDS[end]}`;

/** A sentence or two on what the tables do not show. */
export function summaryLines(record: MigrationRecord): string[] {
  const lines: string[] = [];
  if (record.roundsEnd !== undefined) {
    const rounds = record.rounds.filter((round) => !round.last).length;
    lines.push(roundsEndLine(rounds, record.roundsEnd));
  }
  const { harvests } = record;
  if (harvests.count > 0) {
    lines.push(
      `dirty log read ${harvests.count} times in ${formatTime(harvests.totalNs)}, which kept vCPUs from the guest ` +
        `for ${formatTime(harvests.costNs)}`,
    );
  }
  lines.push(...deviceLines(record));
  if (record.throttlePercent > 0) lines.push(`the guest was throttled by up to ${record.throttlePercent} %`);
  if (record.remainingPages > 0 && record.status !== 'completed') {
    lines.push(`${formatPages(record.remainingPages)} had not been sent`);
  }
  return lines;
}

/** Ranges of pages that a line names. */
const RANGES_SHOWN = 6;

/** What the assigned devices had to do with it: the approaches, their state, the pages that they wrote. */
function deviceLines({ devices, deviceDirtied, approaches, fallbacks }: MigrationRecord): string[] {
  if (devices.length === 0) return [];
  const names = devices.map(({ name }) => name).join(', ');
  const { tracking = '?', stop = '?', start = '?' } = approaches ?? {};
  const sum = (part: 'preCopyBytes' | 'blackoutBytes'): string =>
    formatBytes(devices.reduce((total, device) => total + device[part], 0));
  const lines = [
    `assigned ${devices.length === 1 ? 'device' : 'devices'} ${names}: tracking ${tracking}, stop ${stop}, start ${start}; ` +
      `of the state ${sum('preCopyBytes')} went ahead, ${sum('blackoutBytes')} in the blackout`,
  ];
  for (const { effort, from, to, because } of fallbacks)
    lines.push(`${effort} ${to} instead of ${from}: ${because}`);
  for (const { name, startedAfterNs, problem, takenBack, unprepared } of devices) {
    if (unprepared !== undefined)
      lines.push(`nothing was done ahead for the start of ${name}: ${unprepared}`);
    if (takenBack !== undefined) lines.push(`${name} ${takenBack}`);
    if (problem !== undefined) lines.push(`${name} does not work at the destination: ${problem}`);
    else if (startedAfterNs !== undefined)
      lines.push(`${name} worked ${formatTime(startedAfterNs)} after the guest ran`);
  }
  if (deviceDirtied !== undefined) lines.push(`${names} ${writtenInWords(deviceDirtied)}`);
  return lines;
}

function writtenInWords({ pages, ranges, rangesLeftOff }: PageRanges): string {
  if (pages === 0) return 'wrote no page';
  const shown = ranges
    .slice(0, RANGES_SHOWN)
    .map(([first, last]) => (first === last ? `${first}` : `${first} to ${last}`));
  const more = ranges.length - shown.length + rangesLeftOff;
  return (
    `dirtied ${formatCount(pages)} pages: ${shown.join(', ')}` +
    (more > 0 ? ` and ${formatCount(more)} more ranges` : '')
  );
}
