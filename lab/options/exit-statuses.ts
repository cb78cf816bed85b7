/** The exit statuses of a command, for its help: from the one table, so that what the help says is what comes. */
import { EXIT_STATUS, EXIT_WORDS, type ExitClass } from '../../base/exit-status.js';

/**
 * The end of a help text. `success`: what status 0 means. `classes`: those that the command can end with, besides wrong use
 * and a defect. `also`: other statuses, with their meaning.
 */
export function exitStatuses(
  success: string,
  classes: readonly ExitClass[],
  also: readonly (readonly [status: number, words: string])[] = [],
): string {
  const known = (Object.keys(EXIT_STATUS) as ExitClass[]).filter(
    (one) => one === 'usage' || one === 'defect' || classes.includes(one),
  );
  const rows: (readonly [number, string])[] = [
    [0, success],
    ...known.map((one) => [EXIT_STATUS[one], EXIT_WORDS[one]] as const),
    ...also,
  ];
  const lines = rows.map(([status, words]) => `  ${String(status).padEnd(4)} ${words}`);
  return `\nExit status (the error's own code is in its words and in --json):\n${lines.join('\n')}`;
}
