/** What can go wrong in a benchmark itself. */
import { catalogue, entry } from '../../base/errors.js';

export const benchErrors = catalogue('bench', {
  'process-died': entry<{ role: string; how: string }>({
    exit: 'failed',
    text: ({ role, how }) => `the ${role} process of the benchmark ended: ${how}`,
    advice: () => 'It needs memory for both ends at once; try less with `--bytes`, or free some.',
  }),
});
