/** What can go wrong in a benchmark itself. */
import { catalogue, entry } from '../../base/errors.js';

export const benchErrors = catalogue('bench', {
  'process-died': entry<{ role: string; how: string }>({
    exit: 'failed',
    text: ({ role, how }) => `the ${role} process of the benchmark ended: ${how}`,
    advice: () => 'It needs memory for both ends at once; try less with `--bytes`, or free some.',
  }),
  'move-failed': entry<{ what: string; problem: string }>({
    exit: 'not-verified',
    text: ({ what, problem }) => `${what} was not verified: ${problem}`,
    advice: () => 'Move such a guest with `ferry migrate`, which shows all of its checks.',
  }),
});
