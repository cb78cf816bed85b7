/** Starts that give a driver its device anew where it believes the old one: they differ in how the guest hears of it. */
import { toMilliseconds } from '../../base/units.js';
import { migrationErrors } from '../errors.js';
import type { Patience, RequestLimits } from '../patience.js';
import type { AssignedDevice, HostFunction } from '../ports.js';
import type { DeviceStart } from './start.js';

/**
 * The start called `approach`. The device stays cut off until the guest is told by `tell`, which resolves with false if the
 * guest does not listen; it works when its driver lets it receive.
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
      const receives = receiving(fn);
      try {
        await fn.restore();
        const heard = await tell(fn, { patience, givenUp: new Promise(() => undefined) });
        if (!heard) throw migrationErrors.error('guest-not-listening', facts);
        await Promise.race([receives.on, overdue(patience, facts)]);
        await fn.announce();
      } finally {
        receives.cancel();
      }
    },
  };
}

/** Resolves when the driver has switched the device's reception on. */
export function receiving(fn: HostFunction): { readonly on: Promise<void>; readonly cancel: () => void } {
  let cancel = (): void => undefined;
  const on = new Promise<void>((resolve) => {
    cancel = fn.onReceiver((switchedOn) => {
      if (switchedOn) resolve();
    });
  });
  return { on, cancel: () => cancel() };
}

/** Rejects when the patience is over. */
export async function overdue(
  { duration, over }: Patience,
  facts: { readonly approach: string; readonly device: string },
): Promise<never> {
  await over;
  throw migrationErrors.error('not-recovered', { ...facts, waitedMs: Math.round(toMilliseconds(duration)) });
}
