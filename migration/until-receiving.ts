/** Waiting for a driver in the guest that sets its device up: it is done when it takes what comes for it. */
import { toMilliseconds } from '../base/units.js';
import { migrationErrors } from './errors.js';
import type { Patience } from './patience.js';
import type { HostFunction } from './ports.js';

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
      resolve();
    });
    fn.announceOnceReceiving().catch(reject);
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
