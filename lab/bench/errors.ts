/** What can go wrong in a benchmark itself. */
import { catalogue, entry } from '../../base/errors.js';

export const benchErrors = catalogue('bench', {
  'process-died': entry<{ role: string; how: string }>({
    exit: 'failed',
    text: ({ role, how }) => `the ${role} process of the benchmark ended: ${how}`,
    advice: () => 'It needs memory for both ends at once; try less with `--bytes`, or free some.',
  }),
  'qemu-failed': entry<{ problem: string }>({
    exit: 'environment',
    text: ({ problem }) => `QEMU did not move its machine: ${problem}`,
    advice: () => 'Leave out `--beside-qemu`, or try another version of QEMU.',
  }),
  'iperf3-failed': entry<{ problem: string }>({
    exit: 'environment',
    text: ({ problem }) => `iperf3 measured nothing: ${problem}`,
    advice: () => 'Leave out `--beside-iperf3`, or run iperf3 by hand to see what it lacks.',
  }),
  'move-failed': entry<{ what: string; problem: string }>({
    exit: 'not-verified',
    text: ({ what, problem }) => `${what} was not verified: ${problem}`,
    advice: () => 'Move such a guest with `ferry migrate`, which shows all of its checks.',
  }),
});
