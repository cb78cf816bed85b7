/**
 * Posting an interrupt (VT-d 5.2.3): the request goes into the descriptor that the vCPU reads, and a notification is
 * sent only if none is outstanding.
 *
 * The descriptor is shared with the vCPU. Order of stores: request bit first, then the outstanding bit. A vCPU that
 * clears the outstanding bit before it takes the requests therefore never sleeps on a request it has not seen.
 */
import { postedDescriptor as fields, POSTED_DESCRIPTOR_BYTES } from './entries.js';
import type { HostMemory } from './host-memory.js';
import type { InterruptSink } from './interrupt-sink.js';

/**
 * Posts `vector` to the descriptor at `address`; false if nothing answers there. `extended`: destinations are x2APIC
 * ids of 32 bits.
 */
export function postInterrupt(
  memory: HostMemory,
  address: number,
  vector: number,
  urgent: boolean,
  extended: boolean,
  sink: InterruptSink,
): boolean {
  const region = memory.find(address, POSTED_DESCRIPTOR_BYTES);
  if (region === undefined) return false;
  const { words } = region;
  const base = region.index(address);
  Atomics.or(words, base + fields.PIR.word + (vector >>> 5), 1 << (vector & 31));
  const control = base + fields.ON.word;
  const outstanding = fields.ON.mask;
  for (;;) {
    const now = Atomics.load(words, control);
    if ((now & outstanding) !== 0 || (fields.SN.get(now) === 1 && !urgent)) return true;
    if (Atomics.compareExchange(words, control, now, now | outstanding) === now) {
      // In xAPIC form the destination's id stands in bits [15:8] (5.2.3).
      const destination = Atomics.load(words, base + fields.NDST.word);
      sink.notify(extended ? destination >>> 0 : (destination >>> 8) & 0xff, fields.NV.get(now));
      return true;
    }
  }
}
