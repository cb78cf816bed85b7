/** Starts that give a driver its device anew where it believes the old one: they differ in how the guest hears of it. */
import { migrationErrors } from '../errors.js';
import { NEVER, type RequestLimits } from '../patience.js';
import type { AssignedDevice, HostFunction } from '../ports.js';
import { overdue, untilReceiving } from '../until-receiving.js';
import type { DeviceStart } from './start.js';

/**
 * The start called `approach`. The device stays cut off until the guest is told by `tell`, which resolves with false if the
 * guest does not listen; it works when its driver takes what comes for it.
 */
export function startByRecovery(
  approach: string,
  device: AssignedDevice,
  tell: (fn: HostFunction, limits: RequestLimits) => Promise<boolean>,
): DeviceStart {
  const fn = device.fn as HostFunction;
  return {
    load: () => fn.isolate(),
    async afterRun(patience) {
      const facts = { approach, device: device.name };
      const begin = async (): Promise<void> => {
        // What is asked of a function is done in the order in which it is asked: the second need not wait for the first.
        const restored = fn.restore();
        const telling = tell(fn, { patience, givenUp: NEVER });
        const [heard] = await Promise.all([telling, restored]);
        if (!heard) throw migrationErrors.error('guest-not-listening', facts);
      };
      await untilReceiving(fn, begin, () => overdue(patience, facts));
    },
  };
}
