/** Guests that do not help: which stop comes to its end all the same, how, after what time, and at what cost to the guest. */
import type { StopDescriptor } from '../../../migration/stop/stop.js';
import { BEHAVIOUR_TEXTS, GUEST_BEHAVIOURS, type GuestBehaviour } from '../../move/guest-behaviour.js';
import { formatTime } from '../../report/words.js';
import type { CircumstanceAxis } from './circumstance.js';

/** Enough for the six seconds of a button; what a small guest's move takes without any waiting, at most. */
const [REQUEST_MS, START_MS, MOVE_MS] = [8000, 5000, 30_000];

/** They lose packets by themselves, or have no interface: how many is not for the move to account for. */
const LOSES: readonly GuestBehaviour[] = ['driverless', 'starved', 'toggling'];

export const guests: CircumstanceAxis = {
  name: 'guest',
  head: 'guest',
  effort: 'stop',
  usual: { requestTimeoutMs: REQUEST_MS, deviceStartTimeoutMs: START_MS },
  circumstances: GUEST_BEHAVIOURS.map((name) => ({
    name,
    text: `the guest ${BEHAVIOUR_TEXTS[name]}${LOSES.includes(name) ? '; no traffic is measured' : ''}`,
    options: () => ({ guestBehaviour: name, ...(LOSES.includes(name) && { flows: [] }) }),
  })),
  wrong: (
    _,
    approach,
    { totalNs = 0 },
    { requestTimeoutMs = REQUEST_MS, deviceStartTimeoutMs = START_MS },
  ) => {
    if (!approach.bounded) return undefined;
    const ways = (approach as StopDescriptor).tries?.length ?? 1;
    const boundNs = (ways * requestTimeoutMs + deviceStartTimeoutMs + MOVE_MS) * 1e6;
    if (totalNs <= boundNs) return undefined;
    return `it says of itself that it ends whatever the guest does, and took ${formatTime(totalNs)}, more than ${formatTime(boundNs)}`;
  },
};
