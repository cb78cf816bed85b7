/**
 * The modern PCI transport of virtio, as declared layouts: identity and capabilities, the common configuration, and what a
 * network device puts behind its own. Sections are those of the virtio specification, version 1.2.
 */
import { block, registerTable } from '../../base/registers.js';
import { at, type Capability, capability, configLayout } from '../pci/capability.js';
import { msixWindow } from '../pci/msix.js';
import { LINK_SPEED_5GT, pcieCapability } from '../pci/pcie-capability.js';
import { type BarSpec, type Identity, msixCapability, type0Header } from '../pci/registers.js';

export const VENDOR_VIRTIO = 0x1af4;
/** Modern devices have 0x1040 and their type. 4.1.2.1 */
export const VIRTIO_NET_DEVICE_ID = 0x1041;

const identity: Identity = {
  vendorId: VENDOR_VIRTIO,
  deviceId: VIRTIO_NET_DEVICE_ID,
  revision: 1,
  classCode: 0x020000,
  subsystemVendorId: VENDOR_VIRTIO,
  subsystemId: 0x1100,
};

/** Structures lie in one BAR, 4 KiB each, as QEMU has them. */
export const MSIX_BAR = 1;
export const STRUCTURES_BAR = 4;
const PAGE = 0x1000;
export const COMMON_AT = 0;
export const ISR_AT = PAGE;
export const DEVICE_AT = 2 * PAGE;
export const NOTIFY_AT = 3 * PAGE;
/** From one queue's doorbell to the next. */
export const NOTIFY_MULTIPLIER = 4;

export const virtioBars: readonly BarSpec[] = [
  { index: MSIX_BAR, kind: 'memory32', bytes: PAGE },
  { index: STRUCTURES_BAR, kind: 'memory64', bytes: 4 * PAGE, prefetchable: true },
];

/** One for configuration changes, one for each of three queues. */
export const VECTORS = 4;
/** No vector: of a queue that interrupts nobody, or read back where there is no such vector. 4.1.5.1.2 */
export const NO_VECTOR = 0xffff;

const msix = { vectors: VECTORS, bar: MSIX_BAR, tableOffset: 0, pendingOffset: 0x800 };
export const virtioMsixWindow = /* @__PURE__ */ msixWindow('virtio-msix', PAGE, msix);

const CAP_ID_VENDOR = 0x09;
const TYPE_COMMON = 1;
const TYPE_NOTIFY = 2;
const TYPE_ISR = 3;
const TYPE_DEVICE = 4;
const TYPE_PCI = 5;

/** Registers of every capability: where a structure lies. 4.1.4 */
const place = (bytes: number, type: number, offset: number, length: number) =>
  ({
    LENGTH: { offset: 2, width: 8, access: 'const', reset: bytes, spec: '4.1.4' },
    TYPE: { offset: 3, width: 8, access: 'const', reset: type, spec: '4.1.4' },
    BAR: { offset: 4, width: 8, access: 'const', reset: STRUCTURES_BAR, spec: '4.1.4' },
    OFFSET: { offset: 8, width: 32, access: 'const', reset: offset, spec: '4.1.4' },
    BYTES: { offset: 12, width: 32, access: 'const', reset: length, spec: '4.1.4' },
  }) as const;

const structure = (type: number, offset: number, length: number): Capability =>
  capability(CAP_ID_VENDOR, 16, place(16, type, offset, length));

const notification: Capability = /* @__PURE__ */ capability(CAP_ID_VENDOR, 20, {
  ...place(20, TYPE_NOTIFY, NOTIFY_AT, PAGE),
  MULTIPLIER: { offset: 16, width: 32, access: 'const', reset: NOTIFY_MULTIPLIER, spec: '4.1.4.4' },
});

/** A window through which configuration accesses reach the BARs: for firmware. 4.1.4.9 */
const pciAccess = /* @__PURE__ */ capability(CAP_ID_VENDOR, 20, {
  LENGTH: { offset: 2, width: 8, access: 'const', reset: 20, spec: '4.1.4' },
  TYPE: { offset: 3, width: 8, access: 'const', reset: TYPE_PCI, spec: '4.1.4' },
  BAR: { offset: 4, width: 8, access: 'rw', spec: '4.1.4.9' },
  OFFSET: { offset: 8, width: 32, access: 'rw', spec: '4.1.4.9' },
  BYTES: { offset: 12, width: 32, access: 'rw', spec: '4.1.4.9' },
  DATA: { offset: 16, width: 32, access: 'rw', spec: '4.1.4.9' },
});

export const virtioLayout = /* @__PURE__ */ configLayout('virtio-config', type0Header(identity, virtioBars), {
  common: at(0x40, structure(TYPE_COMMON, COMMON_AT, 0x38)),
  isr: at(0x50, structure(TYPE_ISR, ISR_AT, 1)),
  device: at(0x60, structure(TYPE_DEVICE, DEVICE_AT, PAGE)),
  notify: at(0x70, notification),
  window: at(0x84, pciAccess),
  msix: at(0x98, msixCapability(msix)),
  pcie: at(0xa4, pcieCapability({ kind: 'endpoint', speed: LINK_SPEED_5GT, width: 1 })),
});

// ---------------------------------------------------------------------------------------------------------------------
// Common configuration

/** Common configuration. Registers from QUEUE_SIZE on are those of the queue that QUEUE_SELECT names. 4.1.4.3 */
export const commonConfig = /* @__PURE__ */ registerTable(
  'virtio-common',
  { bytes: 0x38, sizes: [1, 2, 4] },
  {
    DEVICE_FEATURE_SELECT: { offset: 0x00, width: 32, access: 'rw', spec: '4.1.4.3' },
    DEVICE_FEATURE: { offset: 0x04, width: 32, access: 'ro', spec: '4.1.4.3' },
    DRIVER_FEATURE_SELECT: { offset: 0x08, width: 32, access: 'rw', spec: '4.1.4.3' },
    DRIVER_FEATURE: { offset: 0x0c, width: 32, access: 'rw', spec: '4.1.4.3' },
    CONFIG_VECTOR: { offset: 0x10, width: 16, access: 'rw', reset: NO_VECTOR, spec: '4.1.4.3' },
    QUEUES: { offset: 0x12, width: 16, access: 'ro', spec: '4.1.4.3' },
    STATUS: {
      offset: 0x14,
      width: 8,
      spec: '2.1',
      fields: {
        ACKNOWLEDGE: [0, 1, 'rw'],
        DRIVER: [1, 1, 'rw'],
        DRIVER_OK: [2, 1, 'rw'],
        FEATURES_OK: [3, 1, 'rw'],
        NEEDS_RESET: [6, 1, 'ro'],
        FAILED: [7, 1, 'rw'],
      },
    },
    GENERATION: { offset: 0x15, width: 8, access: 'ro', spec: '4.1.4.3' },
    QUEUE_SELECT: { offset: 0x16, width: 16, access: 'rw', spec: '4.1.4.3' },
    QUEUE_SIZE: { offset: 0x18, width: 16, access: 'rw', spec: '4.1.4.3' },
    QUEUE_VECTOR: { offset: 0x1a, width: 16, access: 'rw', spec: '4.1.4.3' },
    QUEUE_ENABLE: { offset: 0x1c, width: 16, access: 'rw', spec: '4.1.4.3' },
    QUEUE_NOTIFY_OFFSET: { offset: 0x1e, width: 16, access: 'ro', spec: '4.1.4.3' },
    QUEUE_DESCRIPTORS: { offset: 0x20, width: 64, access: 'rw', spec: '4.1.4.3' },
    QUEUE_DRIVER: { offset: 0x28, width: 64, access: 'rw', spec: '4.1.4.3' },
    QUEUE_DEVICE: { offset: 0x30, width: 64, access: 'rw', spec: '4.1.4.3' },
  },
);

/** Entries of the largest queue; all ours may have so many. */
export const QUEUE_SIZE_MAX = 256;

/** What a device keeps of `queues` queues, behind the registers that show one of them at a time. */
export const queueState = (queues: number) =>
  registerTable(
    'virtio-queues',
    { bytes: queues * 0x28 },
    block(queues, 0x28, {
      SIZE: { offset: 0x00, width: 16, access: 'ro', reset: QUEUE_SIZE_MAX },
      VECTOR: { offset: 0x02, width: 16, access: 'ro', reset: NO_VECTOR },
      ENABLE: { offset: 0x04, width: 16, access: 'ro' },
      /** Where the device is in the ring of available chains, and in that of used ones. */
      LAST_AVAILABLE: { offset: 0x08, width: 16, access: 'ro' },
      USED: { offset: 0x0a, width: 16, access: 'ro' },
      DESCRIPTORS: { offset: 0x10, width: 64, access: 'ro' },
      DRIVER: { offset: 0x18, width: 64, access: 'ro' },
      DEVICE: { offset: 0x20, width: 64, access: 'ro' },
    }),
  );

export type QueueStateTable = ReturnType<typeof queueState>;

/** What else of the transport is state: features that were accepted, and the interrupt status. */
export const transportState = /* @__PURE__ */ registerTable(
  'virtio-transport',
  { bytes: 0x0c },
  {
    FEATURES_LOW: { offset: 0, width: 32, access: 'ro' },
    FEATURES_HIGH: { offset: 4, width: 32, access: 'ro' },
    /** Reading it clears it. 4.1.4.5 */
    ISR: { offset: 8, width: 8, fields: { QUEUE: [0, 1, 'rc'], CONFIG: [1, 1, 'rc'] }, spec: '4.1.4.5' },
    /** The configuration has changed since the driver last read the generation. */
    CHANGED: { offset: 9, width: 8, access: 'ro' },
  },
);

// ---------------------------------------------------------------------------------------------------------------------
// Features, by bit

export const F_VERSION_1 = 32;
export const F_ACCESS_PLATFORM = 33;
export const NET_F_CSUM = 0;
export const NET_F_MTU = 3;
export const NET_F_MAC = 5;
export const NET_F_STATUS = 16;
export const NET_F_CTRL_VQ = 17;
export const NET_F_GUEST_ANNOUNCE = 21;
export const NET_F_STANDBY = 62;

// ---------------------------------------------------------------------------------------------------------------------
// Network device

export const RECEIVE_QUEUE = 0;
export const TRANSMIT_QUEUE = 1;
export const CONTROL_QUEUE = 2;
export const NET_QUEUES = 3;

/** Device configuration. Fields of features that are not offered read zero. 5.1.4 */
export const netConfig = /* @__PURE__ */ registerTable(
  'virtio-net-config',
  { bytes: 0x0c, sizes: [1, 2, 4] },
  {
    MAC: { offset: 0, width: 8, access: 'ro', count: 6, stride: 1, spec: '5.1.4' },
    STATUS: {
      offset: 6,
      width: 16,
      spec: '5.1.4',
      fields: { LINK_UP: [0, 1, 'ro'], ANNOUNCE: [1, 1, 'ro'] },
    },
    MTU: { offset: 10, width: 16, access: 'ro', spec: '5.1.4' },
  },
);

/** In front of every frame; its last field counts buffers of a frame that was received. 5.1.6 */
export const NET_HEADER_BYTES = 12;
export const HEADER_NEEDS_CSUM = 1;
export const HEADER_CSUM_START = 6;
export const HEADER_CSUM_OFFSET = 8;
export const HEADER_BUFFERS = 10;

/** Commands of the control queue: class and command, and how they are answered. 5.1.6.5 */
export const CTRL_ANNOUNCE = 3;
export const CTRL_ANNOUNCE_ACK = 0;
export const CTRL_OK = 0;
export const CTRL_ERR = 1;
