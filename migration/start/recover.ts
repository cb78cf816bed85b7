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
        // One after the other: an error that is reported of a device whose configuration is not back yet bears nobody's address,
        // and the guest looks for its device in vain.
        await fn.restore();
        const heard = await tell(fn, { patience, givenUp: NEVER });
        if (!heard) throw migrationErrors.error('guest-not-listening', facts);
      };
      await untilReceiving(fn, begin, () => overdue(patience, facts));
    },
  };
}
