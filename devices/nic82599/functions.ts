/** The PCI Express personality of the 82599: configuration space of physical and virtual functions, as on real ones. */
import { memoized } from '../../base/memo.js';
import { at, configLayout } from '../pci/capability.js';
import {
  aerCapability,
  alternativeRouting,
  serialNumber,
  sriovCapability,
} from '../pci/extended-capabilities.js';
import { VENDOR_INTEL } from '../pci/identities.js';
import { msixWindow } from '../pci/msix.js';
import { L0S_512_NS, L1_64_US, LINK_SPEED_5GT, pcieCapability } from '../pci/pcie-capability.js';
import {
  type BarSpec,
  type Identity,
  messageSignalledInterrupts,
  msixCapability,
  powerManagement,
  type0Header,
} from '../pci/registers.js';
import type { SriovGeometry } from '../pci/sriov.js';
import { PF_BAR_BYTES, PF_VECTORS } from './pf-registers.js';
import { VF_BAR_BYTES, VF_VECTORS } from './registers.js';

export const PF_DEVICE_ID = 0x10fb;
export const VF_DEVICE_ID = 0x10ed;
/**
 * What the part offers (public dumps of its capability): a pool for each. With all of them there is none left for the
 * physical function, which is why Linux's driver takes 63 at most.
 */
export const VFS_MAX = 64;

const MSIX_BAR_BYTES = 16 * 1024;
const MSIX_PENDING_OFFSET = 0x2000;
const IO_BYTES = 32;
export const LINK_WIDTH = 8;

const identity: Identity = {
  vendorId: VENDOR_INTEL,
  deviceId: PF_DEVICE_ID,
  revision: 1,
  classCode: 0x020000,
  subsystemVendorId: VENDOR_INTEL,
  subsystemId: 0x0003,
};

/** What an operating system derives for a virtual function, whose own ids read all ones. */
export const vfIdentity: Identity = { ...identity, deviceId: VF_DEVICE_ID };

export const PF_REGISTER_BAR = 0;
export const PF_MSIX_BAR = 4;
export const VF_REGISTER_BAR = 0;
export const VF_MSIX_BAR = 3;

export const pfBars: readonly BarSpec[] = [
  { index: PF_REGISTER_BAR, kind: 'memory64', bytes: PF_BAR_BYTES, prefetchable: true },
  { index: 2, kind: 'io', bytes: IO_BYTES },
  { index: PF_MSIX_BAR, kind: 'memory64', bytes: MSIX_BAR_BYTES, prefetchable: true },
];

export const vfBars: readonly BarSpec[] = [
  { index: VF_REGISTER_BAR, kind: 'memory64', bytes: VF_BAR_BYTES, prefetchable: true },
  { index: VF_MSIX_BAR, kind: 'memory64', bytes: MSIX_BAR_BYTES, prefetchable: true },
];

/** VFs start on the next bus unless the hierarchy is ARI-capable, and lie two apart: the other port's between them. */
export const sriovGeometry: SriovGeometry = {
  totalVfs: VFS_MAX,
  bars: vfBars,
  withAri: { offset: 128, stride: 2 },
  withoutAri: { offset: 384, stride: 2 },
};

const pfMsix = {
  vectors: PF_VECTORS,
  bar: PF_MSIX_BAR,
  tableOffset: 0,
  pendingOffset: MSIX_PENDING_OFFSET,
};
export const vfMsix = {
  vectors: VF_VECTORS,
  bar: VF_MSIX_BAR,
  tableOffset: 0,
  pendingOffset: MSIX_PENDING_OFFSET,
};

export const pfMsixWindow = /* @__PURE__ */ msixWindow('82599-pf-msix', MSIX_BAR_BYTES, pfMsix);
export const vfMsixWindow = /* @__PURE__ */ msixWindow('82599-vf-msix', MSIX_BAR_BYTES, vfMsix);

const link = {
  speed: LINK_SPEED_5GT,
  width: LINK_WIDTH,
  acceptable: { l0s: L0S_512_NS, l1: L1_64_US },
  slotClock: true,
} as const;

/** The physical function's; the serial number is the EUI-64 of its MAC address. */
export const pfLayout = (mac: Uint8Array) => pfLayoutOf([...mac]);

const pfLayoutOf = /* @__PURE__ */ memoized((mac: readonly number[]) => {
  const serialLow = (mac[3]! * 2 ** 16 + mac[4]! * 2 ** 8 + mac[5]! + 0xff * 2 ** 24) >>> 0;
  const serialHigh = (mac[0]! * 2 ** 24 + mac[1]! * 2 ** 16 + mac[2]! * 2 ** 8 + 0xff) >>> 0;
  return configLayout('82599-pf-config', type0Header(identity, pfBars), {
    pm: at(0x40, powerManagement({ noSoftReset: false, ownInitialization: true })),
    msi: at(0x50, messageSignalledInterrupts),
    msix: at(0x70, msixCapability(pfMsix)),
    pcie: at(0xa0, pcieCapability({ kind: 'endpoint', ...link })),
    aer: at(0x100, aerCapability('endpoint')),
    dsn: at(0x140, serialNumber(serialLow, serialHigh)),
    ari: at(0x150, alternativeRouting),
    sriov: at(
      0x160,
      sriovCapability({ totalVfs: VFS_MAX, vfDeviceId: VF_DEVICE_ID, functionLink: 0, bars: vfBars }),
    ),
  });
});

/** Every virtual function's. */
export const vfLayout = /* @__PURE__ */ configLayout(
  '82599-vf-config',
  type0Header(identity, [], { virtualFunction: true }),
  {
    msix: at(0x70, msixCapability(vfMsix)),
    pcie: at(0xa0, pcieCapability({ kind: 'virtual-function', ...link })),
    aer: at(0x100, aerCapability('virtual-function')),
    ari: at(0x150, alternativeRouting),
  },
);
