/** Starts that put back what the source's host had read out of the device: they differ in how much of it. */
import type { AssignedDevice, FunctionReplay, HostFunction } from '../ports.js';
import { overdue, untilReceiving } from '../until-receiving.js';
import type { DeviceStart } from './start.js';

export const readOut = (device: AssignedDevice): Promise<Uint8Array> =>
  (device.replay as FunctionReplay).readOut();

/**
 * The start called `approach`. With `configuration` the device works when its driver has set it up again, by itself; with
 * `registers` at once.
 */
export function startByPuttingBack(
  approach: string,
  device: AssignedDevice,
  what: 'configuration' | 'registers',
): DeviceStart {
  const replay = device.replay as FunctionReplay;
  const fn = device.fn as HostFunction;
  const pieces: Uint8Array[] = [];
  return {
    async take(piece) {
      pieces.push(piece);
    },
    async load() {
      await replay.take(joined(pieces));
      await replay.putBack(what);
    },
    async afterRun(patience) {
      const begin = async (): Promise<void> => {
        // At the source, where a move came to nothing, it has not been.
        await replay.putBack(what);
        await replay.release();
      };
      if (what === 'configuration') {
        return untilReceiving(fn, begin, () => overdue(patience, { approach, device: device.name }));
      }
      await begin();
      await fn.announce();
    },
  };
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
