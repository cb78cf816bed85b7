/**
 * When all is over nothing is left behind: no process, no file, and at neither side a socket more than before the migration.
 *
 * It does not check threads, mappings and memory, nor files of a process that was killed.
 */
import type { Checker } from './happened.js';

export const nothingLeft: Checker = {
  name: 'nothing-left',
  check: ({ leftovers = [] }) => leftovers.map((what) => `left behind: ${what}`),
};
