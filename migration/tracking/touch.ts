/**
 * Tracking by the guest: whoever touches the pages that a device wrote does it by a store, which the vCPUs' log has. That
 * covers what the device gave back. Rings and posted buffers are written while they are mapped, and nobody touches them in
 * time; so the guest counts how often each of its pages is mapped for a device's writes, and says where the counts lie. They are
 * read once, when devices and vCPUs stand still, and every page with a count is in the last pass.
 *
 * The guest's word is believed: one that does not touch, or does not count, damages nobody's memory but its own.
 */
import type { AtomicBitmap } from '../../base/bitmap.js';
import { isFerryError } from '../../base/errors.js';
import { settleAll } from '../../base/settle.js';
import { PAGE_BYTES } from '../../base/units.js';
import { askGuest } from '../ask-guest.js';
import { migrationErrors } from '../errors.js';
import type { RequestLimits } from '../patience.js';
import type { AssignedDevice, GuestMessage, SourceMachine } from '../ports.js';
import { logOf } from './cpu-log.js';
import type { DirtyTracking } from './tracking.js';

/** The argument of the request. */
const [OFF, ON] = [0, 1];

/** The tracking of a guest that is asked by `request` to touch: its answer is that word, where the counts lie, and how many. */
export function trackByTouch(
  machine: SourceMachine,
  devices: readonly AssignedDevice[],
  request: string,
): DirtyTracking {
  const log = logOf(machine);
  let counts: Uint16Array | undefined;
  let asked = false;
  return {
    start: async (limits) => {
      asked = true;
      const found = await settleAll(
        devices.map(async (device) => {
          const answer = await askGuest(device, request, [ON], limits);
          return countsOf(machine, device, request, answer);
        }),
      );
      // One kernel drives them all, and counts all mappings in one place.
      [counts] = found;
      await log.start(limits);
    },
    harvest: async (into, last) => {
      const report = await log.harvest(into, last);
      if (!last || counts === undefined) return report;
      return { ...report, devicePages: report.devicePages + addMapped(counts, into) };
    },
    stop: async (limits) => {
      const told =
        counts === undefined
          ? withdraw(asked ? devices : [], request)
          : touchNoMore(devices, request, limits);
      await settleAll([log.stop(limits), told]);
    },
  };
}

/** A guest that goes on touching spends its own time, and harms nobody: that it did not hear of it is no failure. */
export async function touchNoMore(
  devices: readonly AssignedDevice[],
  request: string,
  limits: RequestLimits,
): Promise<void> {
  await settleAll(
    devices.map(async (device) => {
      const features = (await device.guest?.features()) ?? [];
      if (!features.includes(request)) return;
      await askGuest(device, request, [OFF], limits).catch((error) => {
        if (!isFerryError(error)) throw error;
      });
    }),
  );
}

/** A guest that did not answer is not waited for: it hears of it when it has. */
async function withdraw(devices: readonly AssignedDevice[], request: string): Promise<void> {
  await settleAll(devices.map(async ({ guest }) => guest?.request(request, [OFF])));
}

/** What the answer points at, if it lies in the memory that travels. */
function countsOf(
  { ram, description }: SourceMachine,
  { name }: AssignedDevice,
  request: string,
  { word, args }: GuestMessage,
): Uint16Array {
  const [address = 0, pages = 0] = args;
  const bytes = description.migratedPages * PAGE_BYTES;
  const fits = address % 2 === 0 && address + pages * 2 <= bytes && pages >= description.migratedPages;
  if (word === request && address > 0 && fits)
    return new Uint16Array(ram.buffer, ram.byteOffset + address, description.migratedPages);
  const answer = word === request ? `counts of ${pages} pages at 0x${address.toString(16)}` : word;
  throw migrationErrors.error('guest-refused', { device: name, request, answer });
}

/** Sets the pages that are mapped for a device's writes; returns how many were not set before. */
function addMapped(counts: Uint16Array, into: AtomicBitmap): number {
  let added = 0;
  for (let page = 0; page < into.length; page++) {
    if (counts[page] !== 0 && into.set(page)) added++;
  }
  return added;
}
