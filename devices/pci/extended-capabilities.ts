/**
 * Extended capabilities (PCI Express Base Specification 6.0; sections named at each): Advanced Error Reporting, Device
 * Serial Number, Access Control Services, Alternative Routing-ID, SR-IOV and designated vendor-specific blocks.
 */
import { type Capability, extendedCapability } from './capability.js';
import { type BarSpec, barRegisters } from './registers.js';

export const EXT_ID_AER = 0x01;
export const EXT_ID_DSN = 0x03;
export const EXT_ID_ACS = 0x0d;
export const EXT_ID_ARI = 0x0e;
export const EXT_ID_SRIOV = 0x10;
export const EXT_ID_DVSEC = 0x23;

/** Fields of the uncorrectable status, mask and severity registers. 7.8.4.2 */
const uncorrectable = <A extends 'w1cs' | 'rws' | 'const'>(access: A) =>
  ({
    DATA_LINK: [4, 1, access],
    SURPRISE_DOWN: [5, 1, access],
    POISONED: [12, 1, access],
    FLOW_CONTROL: [13, 1, access],
    COMPLETION_TIMEOUT: [14, 1, access],
    COMPLETER_ABORT: [15, 1, access],
    UNEXPECTED_COMPLETION: [16, 1, access],
    OVERFLOW: [17, 1, access],
    MALFORMED: [18, 1, access],
    ECRC: [19, 1, access],
    UNSUPPORTED_REQUEST: [20, 1, access],
    ACS_VIOLATION: [21, 1, access],
    INTERNAL: [22, 1, access],
  }) as const;

/** Fields of the correctable status and mask registers. 7.8.4.5 */
const correctable = <A extends 'w1cs' | 'rws' | 'const'>(access: A) =>
  ({
    RECEIVER: [0, 1, access],
    BAD_TLP: [6, 1, access],
    BAD_DLLP: [7, 1, access],
    REPLAY_ROLLOVER: [8, 1, access],
    REPLAY_TIMER: [12, 1, access],
    ADVISORY: [13, 1, access],
    INTERNAL: [14, 1, access],
    LOG_OVERFLOW: [15, 1, access],
  }) as const;

/** Errors that are fatal from reset on: data link, surprise down, flow control, overflow, malformed, internal. */
const SEVERITY_RESET = 0x0046_2030;
const UNCORRECTABLE_MASK_RESET = 0x0040_0000;
const CORRECTABLE_MASK_RESET = 0x0000_e000;

/**
 * Advanced Error Reporting. In a virtual function mask, severity and control are the physical function's
 * (reserved in the VF); status and header log are its own.
 */
function errorRegisters(own: 'rws' | 'const') {
  return {
    UNCORRECTABLE_STATUS: { offset: 0x04, width: 32, spec: '7.8.4.2', fields: uncorrectable('w1cs') },
    UNCORRECTABLE_MASK: {
      offset: 0x08,
      width: 32,
      reset: own === 'const' ? 0 : UNCORRECTABLE_MASK_RESET,
      spec: '7.8.4.3',
      fields: uncorrectable(own),
    },
    UNCORRECTABLE_SEVERITY: {
      offset: 0x0c,
      width: 32,
      reset: own === 'const' ? 0 : SEVERITY_RESET,
      spec: '7.8.4.4',
      fields: uncorrectable(own),
    },
    CORRECTABLE_STATUS: { offset: 0x10, width: 32, spec: '7.8.4.5', fields: correctable('w1cs') },
    CORRECTABLE_MASK: {
      offset: 0x14,
      width: 32,
      reset: own === 'const' ? 0 : CORRECTABLE_MASK_RESET,
      spec: '7.8.4.6',
      fields: correctable(own),
    },
    CONTROL: {
      offset: 0x18,
      width: 32,
      spec: '7.8.4.7',
      fields: {
        FIRST_ERROR: [0, 5, 'ros'],
        ECRC_GENERATION_CAPABLE: [5, 1, 'const'],
        ECRC_CHECK_CAPABLE: [7, 1, 'const'],
      },
    },
    HEADER_LOG: { offset: 0x1c, width: 32, access: 'ros', count: 4, spec: '7.8.4.8' },
  } as const;
}

/** Advanced Error Reporting of an endpoint, version 1: what the 82599 has. */
export function aerCapability(kind: 'endpoint' | 'virtual-function') {
  return extendedCapability(EXT_ID_AER, 1, 0x2c, errorRegisters(kind === 'endpoint' ? 'rws' : 'const'));
}

/** Root error reporting: only in root ports. 7.8.4.9 to 7.8.4.11 */
const rootErrorRegisters = {
  ROOT_COMMAND: {
    offset: 0x2c,
    width: 32,
    spec: '7.8.4.9',
    fields: { CORRECTABLE: [0, 1, 'rw'], NONFATAL: [1, 1, 'rw'], FATAL: [2, 1, 'rw'] },
  },
  ROOT_STATUS: {
    offset: 0x30,
    width: 32,
    spec: '7.8.4.10',
    fields: {
      CORRECTABLE: [0, 1, 'w1cs'],
      MULTIPLE_CORRECTABLE: [1, 1, 'w1cs'],
      UNCORRECTABLE: [2, 1, 'w1cs'],
      MULTIPLE_UNCORRECTABLE: [3, 1, 'w1cs'],
      FIRST_FATAL: [4, 1, 'w1cs'],
      NONFATAL: [5, 1, 'w1cs'],
      FATAL: [6, 1, 'w1cs'],
      MESSAGE_NUMBER: [27, 5, 'const'],
    },
  },
  ERROR_SOURCE: {
    offset: 0x34,
    width: 32,
    spec: '7.8.4.11',
    fields: { CORRECTABLE: [0, 16, 'ros'], UNCORRECTABLE: [16, 16, 'ros'] },
  },
} as const;

/** Advanced Error Reporting of a root port. */
export function rootPortAer() {
  return extendedCapability(EXT_ID_AER, 2, 0x38, { ...errorRegisters('rws'), ...rootErrorRegisters });
}

/** Device Serial Number, an EUI-64 in two halves. 7.9.3 */
export function serialNumber(low: number, high: number) {
  return extendedCapability(EXT_ID_DSN, 1, 12, {
    LOW: { offset: 4, width: 32, access: 'const', reset: low >>> 0, spec: '7.9.3.2' },
    HIGH: { offset: 8, width: 32, access: 'const', reset: high >>> 0, spec: '7.9.3.2' },
  });
}

/** Alternative Routing-ID Interpretation; the last function of a device has next function 0. 7.8.8 */
export const alternativeRouting = /* @__PURE__ */ extendedCapability(EXT_ID_ARI, 1, 8, {
  CAPABILITIES: {
    offset: 4,
    width: 16,
    spec: '7.8.8.2',
    fields: { MFVC: [0, 1, 'const'], ACS: [1, 1, 'const'], NEXT_FUNCTION: [8, 8, 'const'] },
  },
  CONTROL: {
    offset: 6,
    width: 16,
    spec: '7.8.8.3',
    fields: { MFVC: [0, 1, 'const'], ACS: [1, 1, 'const'], GROUP: [4, 3, 'const'] },
  },
});

/** Source validation, request redirect, completion redirect, upstream forwarding: what isolation needs. */
export const ACS_ISOLATION = 0x1d;

const acsFields = <A extends 'rw' | 'const'>(access: A) =>
  ({
    SOURCE_VALIDATION: [0, 1, access],
    TRANSLATION_BLOCKING: [1, 1, 'const'],
    REQUEST_REDIRECT: [2, 1, access],
    COMPLETION_REDIRECT: [3, 1, access],
    UPSTREAM_FORWARDING: [4, 1, access],
  }) as const;

/** Access Control Services of a root port. 7.7.11 */
export const accessControl = /* @__PURE__ */ extendedCapability(EXT_ID_ACS, 1, 8, {
  CAPABILITIES: {
    offset: 4,
    width: 16,
    reset: ACS_ISOLATION,
    spec: '7.7.11.2',
    fields: acsFields('const'),
  },
  CONTROL: { offset: 6, width: 16, spec: '7.7.11.3', fields: acsFields('rw') },
});

export interface SriovOptions {
  readonly totalVfs: number;
  readonly vfDeviceId: number;
  readonly functionLink: number;
  /** VF BARs: size of one VF's aperture. */
  readonly bars: readonly BarSpec[];
}

/** VF BAR 0 within the capability. 9.3.3.14 */
export const VF_BAR_OFFSET = 0x24;

/** Pages of 4 KiB, 8 KiB, 64 KiB, 256 KiB, 1 MiB and 4 MiB: the set every SR-IOV device must support. 9.3.3.12 */
const PAGE_SIZES = 0x553;

/** Single Root I/O Virtualization. 9.3.3 */
export function sriovCapability(options: SriovOptions) {
  return extendedCapability(EXT_ID_SRIOV, 1, 0x40, {
    CAPABILITIES: { offset: 0x04, width: 32, access: 'const', spec: '9.3.3.2' },
    CONTROL: {
      offset: 0x08,
      width: 16,
      spec: '9.3.3.3',
      fields: {
        VF_ENABLE: [0, 1, 'rw'],
        MIGRATION_ENABLE: [1, 1, 'const'],
        MIGRATION_INTERRUPT: [2, 1, 'const'],
        VF_MEMORY: [3, 1, 'rw'],
        ARI_HIERARCHY: [4, 1, 'rw'],
      },
    },
    STATUS: { offset: 0x0a, width: 16, access: 'const', spec: '9.3.3.4' },
    INITIAL_VFS: { offset: 0x0c, width: 16, access: 'const', reset: options.totalVfs, spec: '9.3.3.5' },
    TOTAL_VFS: { offset: 0x0e, width: 16, access: 'const', reset: options.totalVfs, spec: '9.3.3.6' },
    NUM_VFS: { offset: 0x10, width: 16, access: 'rw', spec: '9.3.3.7' },
    FUNCTION_LINK: {
      offset: 0x12,
      width: 8,
      access: 'const',
      reset: options.functionLink,
      spec: '9.3.3.8',
    },
    FIRST_VF_OFFSET: { offset: 0x14, width: 16, access: 'ro', spec: '9.3.3.9' },
    VF_STRIDE: { offset: 0x16, width: 16, access: 'ro', spec: '9.3.3.10' },
    VF_DEVICE_ID: { offset: 0x1a, width: 16, access: 'const', reset: options.vfDeviceId, spec: '9.3.3.11' },
    SUPPORTED_PAGE_SIZES: { offset: 0x1c, width: 32, access: 'const', reset: PAGE_SIZES, spec: '9.3.3.12' },
    SYSTEM_PAGE_SIZE: { offset: 0x20, width: 32, access: 'rw', reset: 1, spec: '9.3.3.13' },
    ...barRegisters('VF_BAR', VF_BAR_OFFSET, options.bars, '9.3.3.14'),
    MIGRATION_STATE: { offset: 0x3c, width: 32, access: 'const', spec: '9.3.3.15' },
  });
}

export type AerRegisters = ReturnType<typeof aerCapability> extends Capability<infer T> ? T : never;
export type SriovRegisters = ReturnType<typeof sriovCapability> extends Capability<infer T> ? T : never;
