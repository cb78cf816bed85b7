/**
 * A migration's record as tables for people: rounds, then the blackout split so that one sees where each
 * millisecond went. `--json` prints the record itself.
 */
import Table from 'cli-table3';
import type {
  BlackoutRecord,
  DestinationParts,
  MigrationRecord,
  RoundRecord,
} from '../../migration/record.js';
import { bar, formatBytes, formatCount, formatPages, formatRate, formatTime } from './words.js';

const PLAIN = {
  style: { head: [], border: [], compact: true },
  chars: {
    top: '─',
    'top-mid': '─',
    'top-left': '',
    'top-right': '',
    bottom: '─',
    'bottom-mid': '─',
    'bottom-left': '',
    'bottom-right': '',
    left: '',
    'left-mid': '',
    right: '',
    'right-mid': '',
    mid: '─',
    'mid-mid': '─',
    middle: '  ',
  },
};

const right = (content: string): { content: string; hAlign: 'right' } => ({ content, hAlign: 'right' });

/** A plain table, columns right-aligned except the first. Rows are arrays of ready-made words. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const drawn = new Table({
    ...PLAIN,
    head: head.map((word, i) => (i === 0 ? word : right(word))) as string[],
  });
  for (const row of rows) drawn.push(row.map((word, i) => (i === 0 ? word : right(word))));
  return drawn.toString();
}

function dirtiedPages(round: RoundRecord): number {
  return round.dirtied.cpu + round.dirtied.device + round.dirtied.both;
}

/** One line per pre-copy round, for plain output as the migration goes. */
export function roundLine(round: RoundRecord): string {
  const throttle = round.throttlePercent === 0 ? '' : `, guest throttled by ${round.throttlePercent} %`;
  const dirtied = round.last ? '' : `; meanwhile dirtied ${formatCount(dirtiedPages(round))} pages`;
  return (
    `round ${round.round}${round.last ? ' (guest paused)' : ''}: ${formatCount(round.pages)} pages ` +
    `(${formatCount(round.zeroPages)} zero), ${formatBytes(round.bytes)} in ${formatTime(round.durationNs)}, ` +
    `${formatRate(round.bytesPerSecond)}${dirtied}${throttle}`
  );
}

/** Phases: set-up, every round, the blackout, the whole; time, pages, bytes and rate of each. */
export function phaseTable(record: MigrationRecord): string {
  const rows: string[][] = [['set-up', formatTime(record.setupNs), '', '', '', '', '', '']];
  for (const round of record.rounds) {
    rows.push([
      round.last ? 'last pages' : `round ${round.round}`,
      formatTime(round.durationNs),
      formatCount(round.pages),
      formatCount(round.zeroPages),
      formatCount(round.resentPages),
      formatBytes(round.bytes),
      formatRate(round.bytesPerSecond),
      round.last ? '' : formatCount(dirtiedPages(round)),
    ]);
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
    '',
  ]);
  return table(['phase', 'time', 'pages', 'zero', 'resent', 'bytes', 'rate', 'dirtied'], rows);
}

const PARTS: readonly (readonly [keyof BlackoutRecord, string])[] = [
  ['pauseNs', 'pause the vCPUs'],
  ['lastPagesNs', 'last pages'],
  ['stateNs', 'save and send state'],
  ['loadNs', 'arrive, check, load'],
  ['startNs', 'commit and start'],
];

/** The blackout's parts with a bar for each part's share. */
export function blackoutTable(blackout: BlackoutRecord, destination: DestinationParts | undefined): string {
  const rows = PARTS.map(([key, words]) => [
    words,
    formatTime(blackout[key]),
    bar(blackout[key] / blackout.totalNs, 24),
  ]);
  rows.push(['blackout', formatTime(blackout.totalNs), '']);
  const drawn = table(['guest stands still', 'time', 'share'], rows);
  if (destination === undefined) return drawn;
  return (
    `${drawn}\nof which the destination: last pages ${formatTime(destination.lastPagesNs)}, ` +
    `integrity root ${formatTime(destination.integrityNs)}, load ${formatTime(destination.loadNs)}, ` +
    `start ${formatTime(destination.startNs)}`
  );
}

/** A sentence or two on what the tables do not show. */
export function summaryLines(record: MigrationRecord): string[] {
  const lines: string[] = [];
  if (record.roundsEnd !== undefined) {
    const why = {
      'fits-downtime-limit': 'the rest was expected to fit the downtime limit',
      'nothing-left': 'nothing was left to send',
      'max-rounds': 'the limit of rounds was reached',
    }[record.roundsEnd];
    lines.push(`pre-copy ended after ${record.rounds.filter((r) => !r.last).length} rounds: ${why}`);
  }
  const { harvests } = record;
  if (harvests.count > 0) {
    lines.push(
      `dirty log read ${harvests.count} times in ${formatTime(harvests.totalNs)}, which kept vCPUs from the guest ` +
        `for ${formatTime(harvests.costNs)}`,
    );
  }
  if (record.throttlePercent > 0) lines.push(`the guest was throttled by up to ${record.throttlePercent} %`);
  if (record.remainingPages > 0 && record.status !== 'completed') {
    lines.push(`${formatPages(record.remainingPages)} had not been sent`);
  }
  return lines;
}
