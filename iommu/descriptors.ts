/** Descriptors of the invalidation queue (VT-d 6.5.2) and of the page-request queue (7.4.1). */
import { bits } from '../base/bits.js';

export const DESCRIPTOR_BYTES = 16;
export const WIDE_DESCRIPTOR_BYTES = 32;

/** Type [3:0]; [11:9] extend it and are zero for all types there are. */
const TYPE = [0, 4] as const;

export const TYPE_CONTEXT = 1;
export const TYPE_IOTLB = 2;
export const TYPE_DEVICE_TLB = 3;
export const TYPE_INTERRUPT_ENTRY = 4;
export const TYPE_WAIT = 5;
export const TYPE_PASID_IOTLB = 6;
export const TYPE_PASID_CACHE = 7;
export const TYPE_PASID_DEVICE_TLB = 8;
export const TYPE_PAGE_GROUP_RESPONSE = 9;

export const GLOBAL = 1;
export const DOMAIN_SELECTIVE = 2;
/** Device-selective for contexts, page-selective for translations. */
export const SELECTIVE = 3;

export const contextDescriptor = bits({ TYPE, G: [4, 2], DID: [16, 16], SID: [32, 16], FM: [48, 2] });

export const iotlbDescriptor = bits({
  TYPE,
  G: [4, 2],
  DW: [6, 1],
  DR: [7, 1],
  DID: [16, 16],
  AM: [64, 6],
  IH: [70, 1],
  ADDR: [76, 52],
});

export const deviceTlbDescriptor = bits({
  TYPE,
  PFSID_LOW: [12, 4],
  MIP: [16, 5],
  SID: [32, 16],
  PFSID_HIGH: [52, 12],
  S: [64, 1],
  ADDR: [76, 52],
});

export const interruptEntryDescriptor = bits({ TYPE, G: [4, 1], IM: [27, 5], IIDX: [32, 16] });

export const waitDescriptor = bits({
  TYPE,
  IF: [4, 1],
  SW: [5, 1],
  FN: [6, 1],
  PD: [7, 1],
  DATA: [32, 32],
  ADDR_LOW: [66, 30],
  ADDR_HIGH: [96, 32],
});

export const PASID_ALL_PAGES = 2;
export const PASID_PAGES = 3;
export const pasidIotlbDescriptor = bits({
  TYPE,
  G: [4, 2],
  DID: [16, 16],
  PASID: [32, 20],
  AM: [64, 6],
  IH: [70, 1],
  ADDR: [76, 52],
});

export const PASID_CACHE_DOMAIN = 0;
export const PASID_CACHE_PASID = 1;
export const PASID_CACHE_GLOBAL = 3;
export const pasidCacheDescriptor = bits({ TYPE, G: [4, 2], DID: [16, 16], PASID: [32, 20] });

export const pasidDeviceTlbDescriptor = bits({
  TYPE,
  MIP: [4, 5],
  PFSID_LOW: [12, 4],
  SID: [16, 16],
  PASID: [32, 20],
  PFSID_HIGH: [52, 12],
  G: [64, 1],
  S: [75, 1],
  ADDR: [76, 52],
});

export const pageGroupResponse = bits({
  TYPE,
  PP: [4, 1],
  CODE: [12, 4],
  RID: [16, 16],
  PASID: [32, 20],
  PRGI: [67, 9],
});
