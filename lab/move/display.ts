/**
 * What a person sees while a guest moves: console lines as they come and a bar for the round under way. On a terminal
 * the bar is live; elsewhere each finished round is one plain line.
 */
import { MultiBar, Presets, type SingleBar } from 'cli-progress';
import pc from 'picocolors';
import { PAGE_BYTES } from '../../base/units.js';
import type { MigrationRecord } from '../../migration/record.js';
import { roundLine } from '../report/migration-tables.js';
import { formatBytes, formatRate } from '../report/words.js';
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

/** A live bar for each round, console lines scrolling above. `stream` is a terminal. */
export function liveDisplay(stream: NodeJS.WriteStream): Display {
  let bars: MultiBar | undefined;
  let current: SingleBar | undefined;
  let round = 0;
  let over = false;

  const print = (text: string): void => {
    if (bars === undefined) stream.write(`${text}\n`);
    else bars.log(`${text}\n`);
  };
  const open = (): MultiBar =>
    new MultiBar(
      {
        stream,
        format: `{name} ${pc.cyan('{bar}')} {percentage} %  {sent} of {size}  {rate}`,
        // Left as it is: an interrupted command would leave the terminal without one.
        hideCursor: false,
        forceRedraw: true,
        barsize: 28,
        autopadding: true,
      },
      Presets.shades_classic,
    );
  const finishRound = (text: string): void => {
    if (current !== undefined) bars?.remove(current);
    current = undefined;
    print(text);
  };

  return {
    step: print,
    console: (line) => print(consoleText(line)),
    progress(record) {
      if (over) return;
      bars ??= open();
      for (; round < record.rounds.length; round++) finishRound(roundLine(record.rounds[round]));
      if (record.status !== 'active') return;
      const before = record.rounds.reduce((sum, r) => sum + r.pages, 0);
      const sent = Math.max(0, record.transferred.pages - before);
      const total = Math.max(sent, round === 0 ? record.migratedPages : record.remainingPages, 1);
      const words = {
        name: `round ${round + 1}`,
        sent: formatBytes(sent * PAGE_BYTES),
        size: formatBytes(total * PAGE_BYTES),
        rate: record.bytesPerSecond > 0 ? formatRate(record.bytesPerSecond) : '',
      };
      current ??= bars.create(total, 0, words);
      current.setTotal(total);
      current.update(sent, words);
    },
    done() {
      over = true;
      bars?.stop();
      bars = undefined;
    },
  };
}
