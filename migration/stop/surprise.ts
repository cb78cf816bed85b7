/** The device is simply cut off: no request, no event, nothing that a guest could hold up. */
import { ordinary } from '../approach.js';
import type { HostFunction } from '../ports.js';
import type { StopDescriptor } from './stop.js';

export const surprise: StopDescriptor = {
  ...ordinary,
  name: 'surprise',
  text: 'the device is cut off from memory and guest at once, and reset; its driver reads all ones',
  steps: [
    "the root port forwards nothing of the device any more, its mappings are taken out of VT-d's tables, it is reset",
    'the guest reads all ones from it, and is told nothing; what the device would still write is blocked and recorded',
    'the start tells the guest what became of the device; should the migration fail, the same tells it at the source',
  ],
  use: 'For guests that do not answer, or must not be waited for: it takes no time, and needs nobody.',
  limits:
    'Packets on their way are lost, and the driver starts the device anew: the start says how it hears of that. A start that wants something done ahead asks for it first, and does without if there is no answer.',
  needs: ['fn'],
  leaves: 'lost',
  make: (device, startAgain) => {
    const fn = device.fn as HostFunction;
    let cut = false;
    return {
      quiesce: async () => {
        cut = true;
        await fn.isolate();
      },
      resume: async () => {
        if (!cut) return undefined;
        await fn.restore();
        return 'was cut off, and is set up anew by its driver';
      },
      resumed: async (patience) => {
        if (cut) await startAgain(patience);
      },
    };
  },
};
