/**
 * The memory region and configuration space of the `edu` device, as QEMU documents it (docs/specs/edu): identification,
 * liveness, factorials, an interrupt to raise, and a DMA engine with a buffer of its own.
 */
import { registerTable } from '../../base/registers.js';
import { at, configLayout } from '../pci/capability.js';
import { aerCapability } from '../pci/extended-capabilities.js';
import { LINK_SPEED_5GT, type PcieOptions, pcieCapability } from '../pci/pcie-capability.js';
import { type BarSpec, type Identity, messageSignalledInterrupts, type0Header } from '../pci/registers.js';

export const eduIdentity: Identity = {
  vendorId: 0x1234,
  deviceId: 0x11e8,
  revision: 0x10,
  classCode: 0x00ff00,
  subsystemVendorId: 0x1af4,
  subsystemId: 0x1100,
};

export const EDU_BAR_BYTES = 1 << 20;
export const eduBars: readonly BarSpec[] = [
  { index: 0, kind: 'memory64', bytes: EDU_BAR_BYTES, prefetchable: true },
];

export const eduLink: Pick<PcieOptions, 'speed' | 'width'> = { speed: LINK_SPEED_5GT, width: 1 };

export const eduLayout = /* @__PURE__ */ configLayout('edu-config', type0Header(eduIdentity, eduBars), {
  msi: at(0x50, messageSignalledInterrupts),
  pcie: at(0xa0, pcieCapability({ kind: 'endpoint', ...eduLink })),
  aer: at(0x100, aerCapability('endpoint')),
});

/** Major version 1, minor version 0, and the device's name in the low half. */
export const EDU_IDENTIFICATION = 0x0100_00ed;

/** Where the device has its buffer, in addresses of its own. */
export const EDU_BUFFER = 0x4_0000;
export const EDU_BUFFER_BYTES = 4096;
/** What a finished transfer puts into the interrupt status. */
export const EDU_DMA_INTERRUPT = 0x100;
/** What a finished factorial puts there. */
export const EDU_FACTORIAL_INTERRUPT = 0x1;

/** The region beyond these reads all ones. */
export const eduRegisters = /* @__PURE__ */ registerTable(
  'edu',
  { bytes: 0xa0, sizes: [4], refused: 0xffff_ffff, hole: 0xffff_ffff },
  {
    IDENTIFICATION: { offset: 0x00, width: 32, access: 'const', reset: EDU_IDENTIFICATION },
    LIVENESS: { offset: 0x04, width: 32, access: 'rw' },
    FACTORIAL: { offset: 0x08, width: 32, access: 'rw' },
    STATUS: {
      offset: 0x20,
      width: 32,
      fields: { COMPUTING: [0, 1, 'ro'], FACTORIAL_INTERRUPT: [7, 1, 'rw'] },
    },
    INTERRUPT_STATUS: { offset: 0x24, width: 32, access: 'ro' },
    INTERRUPT_RAISE: { offset: 0x60, width: 32, access: 'wo' },
    INTERRUPT_ACKNOWLEDGE: { offset: 0x64, width: 32, access: 'wo' },
    DMA_SOURCE: { offset: 0x80, width: 64, access: 'rw' },
    DMA_DESTINATION: { offset: 0x88, width: 64, access: 'rw' },
    DMA_COUNT: { offset: 0x90, width: 64, access: 'rw' },
    DMA_COMMAND: {
      offset: 0x98,
      width: 32,
      fields: { START: [0, 1, 'rw'], TO_MEMORY: [1, 1, 'rw'], INTERRUPT: [2, 1, 'rw'] },
    },
  },
);
