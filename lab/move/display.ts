/**
 * What a person sees while a guest moves: console lines as they come and a bar for the round under way. On a terminal
 * the bar is live; elsewhere each finished round is one plain line.
 */
import pc from 'picocolors';
import { PAGE_BYTES } from '../../base/units.js';
import type { MigrationRecord } from '../../migration/record.js';
import { roundLine } from '../report/migration-tables.js';
import { bar, formatBytes, formatPercent, formatRate } from '../report/words.js';
import type { ConsoleLine } from './check.js';

export interface Display {
  /** A step of the whole, in a sentence. */
  step(text: string): void;
  console(line: ConsoleLine): void;
  /** Called several times a second during a migration with the record as it stands. */
  progress(record: MigrationRecord): void;
  /** Removes what is live; later output is plain. Harmless when called twice. */
  done(): void;
}

/** Shows nothing: for `--json`, and for callers of the library. */
export const silentDisplay: Display = { step() {}, console() {}, progress() {}, done() {} };

const SIDE = { source: pc.cyan('source      │'), destination: pc.green('destination │') } as const;

function consoleText(line: ConsoleLine): string {
  return `${SIDE[line.side]} ${line.text}`;
}

/** Plain lines, for pipes and files. */
export function plainDisplay(write: (text: string) => void): Display {
  let shown = 0;
  return {
    step: (text) => write(`${text}\n`),
    console: (line) => write(`${consoleText(line)}\n`),
    progress(record) {
      for (; shown < record.rounds.length; shown++) write(`${roundLine(record.rounds[shown])}\n`);
    },
    done() {},
  };
}

/** A terminal, as far as the live display needs one. */
export interface Terminal {
  /** Cells in a line. */
  readonly columns: number;
  write(text: string): unknown;
}

/** To the line's first cell, and all of it blank. */
const CLEAR_LINE = '\r\x1b[2K';
const BAR_CELLS = 28;
const BAR_CELLS_MIN = 8;

/**
 * A live bar for each round in the last line, everything else scrolling above it: lines of any length, whole, for the bar makes
 * room for each and is drawn again below.
 */
export function liveDisplay(terminal: Terminal): Display {
  let live = '';
  let round = 0;
  let over = false;

  const show = (above: string, below: string): void => {
    terminal.write(`${live === '' ? '' : CLEAR_LINE}${above}${below}`);
    live = below;
  };
  const print = (text: string): void => show(`${text}\n`, live);

  return {
    step: print,
    console: (line) => print(consoleText(line)),
    progress(record) {
      if (over) return;
      for (; round < record.rounds.length; round++) show(`${roundLine(record.rounds[round])}\n`, '');
      if (record.status === 'active') show('', progressLine(record, terminal.columns));
    },
    done() {
      over = true;
      show('', '');
    },
  };
}

/** The round under way in one line, which no terminal of `columns` cells wraps. */
function progressLine(record: MigrationRecord, columns: number): string {
  const round = record.rounds.length;
  const before = record.rounds.reduce((sum, { pages }) => sum + pages, 0);
  const sent = Math.max(0, record.transferred.pages - before);
  const total = Math.max(sent, round === 0 ? record.migratedPages : record.remainingPages, 1);
  const share = sent / total;
  const name = `round ${round + 1}`;
  const rate = record.bytesPerSecond > 0 ? `  ${formatRate(record.bytesPerSecond)}` : '';
  const figures = `${formatPercent(share)}  ${formatBytes(sent * PAGE_BYTES)} of ${formatBytes(total * PAGE_BYTES)}${rate}`;
  const cells = Math.min(BAR_CELLS, columns - 1 - name.length - figures.length - 2);
  if (cells < BAR_CELLS_MIN) return `${name} ${figures}`.slice(0, Math.max(0, columns - 1));
  return `${name} ${pc.cyan(bar(share, cells))} ${figures}`;
}
