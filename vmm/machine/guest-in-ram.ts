/** The guest's image in guest RAM: where the destination takes its code from, and how it knows that it is still that. */
import { PAGE_BYTES } from '../../base/units.js';
import type { MachineDescription } from '../../migration/ports.js';
import { vmmErrors } from '../errors.js';
import type { MachineDrivers } from './drivers.js';
import { GuestCode } from './guest-code.js';

/** The guest on a machine. */
export interface Guest {
  readonly code: GuestCode;
  readonly imageGpa: number;
  readonly imageBytes: number;
  /** Of a guest that comes: hashes of the image's pages from before its content hash was found right. */
  readonly imagePages?: Uint32Array;
}

type Place = Pick<MachineDescription, 'imageGpa' | 'imageBytes'>;
type Host = Pick<MachineDrivers, 'ram' | 'hashPages' | 'parseImage' | 'compile'>;

/** Takes the announced image from RAM. Throws `vmm/image-refused` if it is not (yet) the one that was announced. */
export function guestInRam(incoming: MachineDescription, host: Host): Guest {
  const { imageGpa, imageBytes, imageHash } = incoming;
  // Before the content is read: a page that arrives in between makes them differ from what `isInRam` finds.
  const imagePages = pagesOf(incoming, host);
  const image = host.parseImage(host.ram.u8.subarray(imageGpa, imageGpa + imageBytes));
  const code = new GuestCode(image, host.compile, true);
  if (code.hash !== imageHash) {
    const why = `it has content hash ${code.hash}, the source announced ${imageHash}`;
    throw vmmErrors.error('image-refused', { name: code.image.meta.name, why });
  }
  return { code, imageGpa, imageBytes, imagePages };
}

/** Whether RAM still holds the image whose content hash was checked when `guest` was taken from it. */
export function isInRam(guest: Guest, host: Host): boolean {
  const now = pagesOf(guest, host);
  return guest.imagePages?.every((word, i) => word === now[i]) === true;
}

const pagesOf = ({ imageGpa, imageBytes }: Place, { hashPages }: Host): Uint32Array =>
  hashPages(imageGpa / PAGE_BYTES, Math.ceil(imageBytes / PAGE_BYTES));
