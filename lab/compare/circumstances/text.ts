/** A table of circumstances for people: a line as each move ends, the table, and what stands behind its words. */
import pc from 'picocolors';
import { table } from '../../report/table.js';
import { formatBytes, formatTime } from '../../report/words.js';
import type { Cell, CellEnding, CircumstanceTable, Phase } from './circumstance.js';
import type { CellProgress } from './run.js';

/** Told apart without colour, too. */
const SIGNS: Readonly<Record<CellEnding, string>> = {
  verified: '✔',
  'fell-back': '✔',
  'without-device': '○',
  refused: '–',
  failed: '✘',
};

const ENDINGS: Readonly<Record<CellEnding, string>> = {
  verified: 'copes',
  'fell-back': 'falls back to',
  'without-device': 'moves it without its device',
  refused: 'refuses',
  failed: 'FAILS',
};

const PHASES: Readonly<Record<Phase, string>> = {
  unsent: 'before anything is sent',
  running: 'while the guest runs',
  'stood-still': 'while the guest stands still',
  committed: 'after the commit',
};

/** What a cell says besides its sign, before the time. */
const SHORT: Readonly<Record<CellEnding, (cell: Cell) => string>> = {
  verified: () => '',
  'fell-back': ({ fellBackTo }) => ` by ${fellBackTo.at(-1)}`,
  'without-device': () => ' no device',
  refused: () => ' refuses',
  failed: () => ' FAILS',
};

/** `✔ 1.21 s, CPU 310 ms`, `– refuses 8.07 s, CPU 2.1 s`: time to the end, and the guest's CPU time. */
export const cellText = (cell: Cell): string => {
  const { ending, totalNs, guestCpuNs } = cell;
  const took = totalNs === undefined ? '' : ` ${formatTime(totalNs)}`;
  const cpu = guestCpuNs === undefined ? '' : `, CPU ${formatTime(guestCpuNs)}`;
  return `${SIGNS[ending]}${SHORT[ending](cell)}${took}${cpu}`;
};

export function cellLine({ cell, done, all }: CellProgress): string {
  const { circumstance, approach, ending } = cell;
  const words = `${circumstance}, ${approach}: ${endingText(cell)}`;
  return `${ending === 'failed' ? pc.red(words) : words} ${pc.dim(`(${done} of ${all})`)}`;
}

/** `refuses before anything is sent: ...`. */
function endingText({ ending, phase, reason }: Cell): string {
  const at = phase === undefined ? '' : ` ${PHASES[phase]}`;
  if (ending === 'fell-back') return `${ENDINGS[ending]} ${reason}`;
  return `${ENDINGS[ending]}${at}${reason === undefined ? '' : `: ${reason}`}`;
}

/** For each circumstance what it is, and how approaches end in it: those that end alike together. */
export function findings({ circumstances, cells }: CircumstanceTable): readonly {
  readonly name: string;
  readonly text: string;
  readonly lines: readonly { readonly text: string; readonly failed: boolean }[];
}[] {
  return circumstances.map(({ name, text }) => {
    const alike = new Map<string, Cell[]>();
    for (const cell of cells.filter(({ circumstance }) => circumstance === name)) {
      const words = endingText({ ...cell, reason: cell.reason?.replaceAll(cell.approach, '…') });
      alike.set(words, [...(alike.get(words) ?? []), cell]);
    }
    const lines = [...alike.values()].map((those) => ({
      text: `${those.map(({ approach }) => approach).join(', ')}: ${endingText(those[0]!)}`,
      failed: those[0]!.ending === 'failed',
    }));
    return { name, text, lines };
  });
}

/** `width`: of the terminal; where the approaches have no room beside each other they stand below each other. */
export function circumstancesText(found: CircumstanceTable, width = Infinity): string {
  const { approaches, circumstances, cells, head, scenario, host } = found;
  const cell = (circumstance: string, approach: string): string => {
    const one = cells.find((known) => known.circumstance === circumstance && known.approach === approach);
    return one === undefined ? '' : cellText(one);
  };
  const draw = (some: readonly string[]): string =>
    table(
      [head, ...some],
      circumstances.map(({ name }) => [name, ...some.map((approach) => cell(name, approach))]),
    );
  const parts: string[] = [];
  for (let from = 0; from < approaches.length; ) {
    let to = approaches.length;
    const wide = (): boolean =>
      draw(approaches.slice(from, to))
        .split('\n')
        .some((line) => line.length > width);
    while (to > from + 1 && wide()) to--;
    parts.push(draw(approaches.slice(from, to)));
    from = to;
  }
  const words = findings(found).flatMap(({ name, text: what, lines }) => [
    '',
    `${name}: ${what}`,
    ...lines.map(({ text, failed }) => `  ${failed ? pc.red(text) : text}`),
  ]);
  const under = pc.dim(
    `${scenario.workload}, ${formatBytes(scenario.memoryBytes)}, seed ${scenario.seed}; ${host.cpu}, ${host.cores} cores, Node ${host.node}`,
  );
  return ['', ...parts, ...words, '', under, ''].join('\n');
}
