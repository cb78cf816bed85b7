/**
 * Where the guest runs in the end it works: what is sent to it is answered.
 *
 * It does not check anything of the guest but its network, nor that it works as fast as before.
 */
import type { Checker } from './happened.js';

export const survivorWorks: Checker = {
  name: 'survivor-works',
  check: ({ runs, later, leftStopped }) => {
    const last = runs.at(-1);
    if (last === undefined || !last.running || leftStopped) return [];
    const received = later?.arrived?.received ?? 0;
    const sent = later?.sent ?? 0;
    if (sent > 0 && received === sent) return [];
    return [`the guest at the ${last.side} answers ${received} of ${sent} packets in the end`];
  },
};
