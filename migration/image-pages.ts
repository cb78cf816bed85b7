/** The pages of a guest's image, which travel before all others: the destination compiles the guest's code while these come. */
import { PAGE_BYTES } from '../base/units.js';
import type { MachineDescription, PageRange } from './ports.js';

/** Those of them that travel at all. */
export function imagePages({ imageGpa, imageBytes, migratedPages }: MachineDescription): PageRange {
  const firstPage = Math.min(Math.floor(imageGpa / PAGE_BYTES), migratedPages);
  const end = Math.min(Math.ceil((imageGpa + imageBytes) / PAGE_BYTES), migratedPages);
  return { firstPage, pageCount: Math.max(0, end - firstPage) };
}
