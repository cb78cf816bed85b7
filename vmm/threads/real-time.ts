/**
 * The scheduler of real processes: the monotonic clock and the timers of this thread. All processes of a host read the same
 * clock (CLOCK_MONOTONIC), so that what each of them recorded can be put side by side.
 */
import type { Scheduler } from '../../base/clock.js';
import { type Duration, instant, toMilliseconds } from '../../base/units.js';
import { afterMs } from '../timers.js';
import { hostTime } from './host-time.js';

/** A process that was kept waiting between two clocks' readings would be ahead of the others for as long as it lives. */
const sinceBoot = hostTime(0n);

export const realTime: Scheduler = {
  now: () => instant(Math.round(sinceBoot())),

  after: (duration: Duration, callback: () => void) => afterMs(toMilliseconds(duration), callback),

  sleep(duration, signal) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => {
        cancel();
        reject(signal?.reason);
      };
      const cancel = afterMs(toMilliseconds(duration), () => {
        signal?.removeEventListener('abort', onAbort);
        resolve();
      });
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  },

  yield: () => new Promise((resolve) => setImmediate(resolve)),
};
