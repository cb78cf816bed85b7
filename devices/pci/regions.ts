/** A root complex on the machine's bus: its configuration window and the window of its BARs. */
import type { MmioRegion } from '../../base/mmio.js';
import type { RootComplex } from './topology.js';

/** The ECAM window. Accesses are non-posted, as configuration requests are. 7.2.2 */
export function configRegion(complex: RootComplex, base: number, bytes: number): MmioRegion {
  return {
    name: 'ecam',
    base,
    bytes,
    handler: {
      read: (offset, width) => complex.configRead(offset, width),
      write: (offset, width, value) => complex.configWrite(offset, width, value),
    },
  };
}

/** The window in which software places BARs. Memory writes are posted. */
export function barRegion(complex: RootComplex, base: number, bytes: number): MmioRegion {
  return {
    name: 'pci-memory',
    base,
    bytes,
    posted: true,
    handler: {
      read: (offset, width) => complex.memoryRead(base + offset, width),
      write: (offset, width, value) => complex.memoryWrite(base + offset, width, value),
    },
  };
}
