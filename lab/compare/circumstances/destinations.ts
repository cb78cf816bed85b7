/** The destination's device is another than the source's: which start copes, and which refuses, at what point. */
import type { Difference } from '../../../migration/approach.js';
import { type NicKind, withProperties } from '../../../vmm/process/nic-options.js';
import type { CircumstanceAxis } from './circumstance.js';

const OTHER_MAC = '52:54:00:00:00:99';

interface Destination {
  readonly name: string;
  readonly text: string;
  /** What the destination is given instead of `nic`. */
  readonly destinationNic?: (nic: NicKind) => NicKind;
  readonly destinationMac?: string;
  /** Nothing can flow there. */
  readonly flows?: readonly [];
}

const DESTINATIONS: Readonly<Record<Difference, Destination>> = {
  queues: {
    name: 'fewer queues',
    text: 'the function has one queue pair instead of two',
    destinationNic: (nic) => withProperties(nic, { queues: '1' }),
  },
  revision: {
    name: 'other revision',
    text: 'the part says that it is of another revision',
    destinationNic: (nic) => withProperties(nic, { revision: '2' }),
  },
  vectors: {
    name: 'fewer vectors',
    text: 'the function has two MSI-X vectors instead of three',
    destinationNic: (nic) => withProperties(nic, { vectors: '2' }),
  },
  'mac-policy': {
    name: 'other address',
    text: "the destination's administrator has set another station address",
    destinationMac: OTHER_MAC,
  },
  'other-device': {
    name: 'other NIC',
    text: "the destination has a virtio-net device of the VMM's own",
    destinationNic: () => 'virtio',
  },
  'no-device': { name: 'no device', text: 'the destination has no NIC', destinationNic: () => 'none' },
  'link-down': {
    name: 'link down',
    text: 'the cable at the destination is not plugged in; no traffic is measured',
    destinationNic: (nic) => withProperties(nic, { link: 'down' }),
    flows: [],
  },
};

const DIFFERENCE_OF = new Map(
  Object.entries(DESTINATIONS).map(([difference, { name }]) => [name, difference as Difference]),
);

export const destinations: CircumstanceAxis = {
  name: 'destination',
  head: 'destination',
  effort: 'start',
  circumstances: Object.values(DESTINATIONS).map(({ name, text, destinationNic, ...same }) => ({
    name,
    text,
    options: (nic) => ({ ...same, ...(destinationNic && { destinationNic: destinationNic(nic) }) }),
  })),
  wrong: ({ name }, { copesWith }, { ending }) => {
    const difference = DIFFERENCE_OF.get(name)!;
    const says = copesWith.includes(difference);
    // A link can go down at any time, so that nobody refuses for it; a start may not come through until it is up again.
    const mayBeWithout = difference === 'link-down' && !says;
    if (ending === 'without-device' && !mayBeWithout) return 'the guest was moved, and has no device there';
    if (says && ending === 'refused') return 'it says of itself that it copes, and refuses';
    return !says && ending === 'verified' ? 'it copes, and says of itself that it does not' : undefined;
  },
};
