/** A question to the guest on the channel of a device's port, and its answer, for as long as someone waits for it. */
import { toMilliseconds } from '../base/units.js';
import { migrationErrors } from './errors.js';
import type { RequestLimits } from './patience.js';
import type { AssignedDevice, GuestChannel, GuestMessage } from './ports.js';

/**
 * Asks the guest, and resolves with its answer, which carries the number of the question. `device` has a channel. Rejects with
 * `migration/guest-silent` when the patience is over, or nobody waits any more.
 */
export async function askGuest(
  { name, guest }: AssignedDevice,
  request: string,
  args: readonly number[],
  { patience, givenUp }: RequestLimits,
): Promise<GuestMessage> {
  const channel = guest as GuestChannel;
  // An answer may be heard before the question's number is known.
  const heard = new Map<number, GuestMessage>();
  let look = (): void => undefined;
  const forget = channel.onMessage((message) => {
    heard.set(message.sequence, message);
    look();
  });
  const silent = Promise.race([patience.over, givenUp]).then((): never => {
    const waitedMs = Math.round(toMilliseconds(patience.duration));
    throw migrationErrors.error('guest-silent', { device: name, request, waitedMs });
  });
  const answered = channel.request(request, args).then(
    (sequence) =>
      new Promise<GuestMessage>((resolve) => {
        look = () => {
          const message = heard.get(sequence);
          if (message !== undefined) resolve(message);
        };
        look();
      }),
  );
  try {
    return await Promise.race([answered, silent]);
  } finally {
    forget();
  }
}
