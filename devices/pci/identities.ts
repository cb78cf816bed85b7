/** Ids of the functions in our machines, as found on real ones, so that operating systems know what they see. */
import type { Identity } from './registers.js';

export const VENDOR_INTEL = 0x8086;

/** 82G33/G31/P35/P31 Express DRAM Controller: the host bridge of the Q35 generation. */
export const HOST_BRIDGE: Identity = {
  vendorId: VENDOR_INTEL,
  deviceId: 0x29c0,
  revision: 2,
  classCode: 0x060000,
};

/** 5520/X58 I/O Hub PCI Express Root Port. */
export const ROOT_PORT: Identity = {
  vendorId: VENDOR_INTEL,
  deviceId: 0x3420,
  revision: 2,
  classCode: 0x060400,
};

/** Vendor of our designated vendor-specific block. Nobody holds this id, so that no driver takes it for another's. */
export const VENDOR_FERRY = 0xfe44;
