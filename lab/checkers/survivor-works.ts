/**
 * Where the guest runs in the end it works: what is sent to it is answered, and it finds nothing wrong with its memory and devices.
 *
 * It does not check the network where there is none left, or no device that the driver has not given up, what the guest does not look at, nor that it works as fast as before.
 */
import type { Checker } from './happened.js';

export const survivorWorks: Checker = {
  name: 'survivor-works',
  check: ({ runs, later, leftStopped, networkGone = false, deviceGivenUp = false, guestFindings = [] }) => {
    const last = runs.at(-1);
    if (last === undefined || !last.running || leftStopped || networkGone || deviceGivenUp)
      return guestFindings;
    const received = later?.arrived?.received ?? 0;
    const sent = later?.sent ?? 0;
    if (sent > 0 && received === sent) return guestFindings;
    return [
      ...guestFindings,
      `the guest at the ${last.side} answers ${received} of ${sent} packets in the end`,
    ];
  },
};
