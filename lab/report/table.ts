/** Tables for people, of as many columns as there is room for. */
import Table from 'cli-table3';

const PLAIN = {
  style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': 0 },
  chars: {
    top: '─',
    'top-mid': '──',
    'top-left': '',
    'top-right': '',
    bottom: '─',
    'bottom-mid': '──',
    'bottom-left': '',
    'bottom-right': '',
    left: '',
    'left-mid': '',
    right: '',
    'right-mid': '',
    mid: '─',
    'mid-mid': '──',
    middle: '  ',
  },
};

const right = (content: string): { content: string; hAlign: 'right' } => ({ content, hAlign: 'right' });

export interface Fit {
  /** Cells in a line of the terminal; without one, as in files and pipes, every column is shown. */
  readonly width: number | undefined;
  /** Heads of the columns that are left out where there is no room, the first of them first. */
  readonly spare: readonly string[];
}

/**
 * A plain table, columns right-aligned except the first. Rows are arrays of ready-made words. What was left out to fit is
 * named in a line below.
 */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  { width = Infinity, spare }: Fit = { width: undefined, spare: [] },
): string {
  const order = spare.filter((name) => head.includes(name));
  for (let left = 0; ; left++) {
    const out = order.slice(0, left);
    const pick = (row: readonly string[]): string[] => row.filter((_, i) => !out.includes(head[i]!));
    const drawn = draw(pick(head), rows.map(pick));
    if (left < order.length && drawn.split('\n').some((line) => line.length > width)) continue;
    return out.length === 0 ? drawn : `${drawn}\nnot shown for want of room: ${out.join(', ')}`;
  }
}

function draw(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const drawn = new Table({
    ...PLAIN,
    head: head.map((word, i) => (i === 0 ? word : right(word))) as string[],
  });
  for (const row of rows) drawn.push(row.map((word, i) => (i === 0 ? word : right(word))));
  return drawn.toString();
}
