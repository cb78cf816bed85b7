/** Starts that give a driver its device anew where it believes the old one: they differ in how the guest hears of it. */
import { toMilliseconds } from '../../base/units.js';
import { migrationErrors } from '../errors.js';
import type { Patience, RequestLimits } from '../patience.js';
import type { AssignedDevice, HostFunction } from '../ports.js';
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
        await fn.restore();
        const heard = await tell(fn, { patience, givenUp: new Promise(() => undefined) });
        if (!heard) throw migrationErrors.error('guest-not-listening', facts);
      };
      await untilReceiving(fn, begin, () => overdue(patience, facts));
    },
  };
}

/** Resolves when `begin` has, the driver takes what comes for the device, and the network was told where it is. Rejects as `begin` or `late`. */
export async function untilReceiving(
  fn: HostFunction,
  begin: () => Promise<void>,
  late: () => Promise<never>,
): Promise<void> {
  const announced = announcedOnceReceiving(fn);
  await begin();
  await Promise.race([announced, late()]);
}

/**
 * Tells the network where the device is when its driver takes what comes for it, whoever still waits for that: a guest that was
 * moved while it stood still looks at its device when it is let go on, and if it only answers, nobody finds it who was not told.
 * Not before: packets that come while the driver is at it keep it from getting done.
 */
export function announcedOnceReceiving(fn: HostFunction): Promise<void> {
  const announced = new Promise<void>((resolve, reject) => {
    const cancel = fn.onReceiver((on) => {
      if (!on) return;
      cancel();
      fn.announce().then(resolve, reject);
    });
  });
  // Whoever waits for it hears of a failure.
  announced.catch(() => undefined);
  return announced;
}

/** Rejects when the patience is over. */
export async function overdue(
  { duration, over }: Patience,
  facts: { readonly approach: string; readonly device: string },
): Promise<never> {
  await over;
  throw migrationErrors.error('not-recovered', { ...facts, waitedMs: Math.round(toMilliseconds(duration)) });
}
