/**
 * Headers and standard capabilities of PCI Express functions (PCI Express Base Specification 6.0; sections named at each
 * register). Factories take what differs between functions; everything else is in the tables.
 */
import { invariant } from '../../base/errors.js';
import type { RegisterSpec } from '../../base/registers.js';
import { type Capability, capability, type Specs } from './capability.js';

/** One Base Address Register; a 64-bit one takes the next index too. */
export interface BarSpec {
  readonly index: number;
  readonly kind: 'memory32' | 'memory64' | 'io';
  /** Power of two, at least 16 bytes (memory) or 4 (I/O). */
  readonly bytes: number;
  readonly prefetchable?: boolean;
}

/** Where BAR 0 lies in a header. 7.5.1.2 */
export const BAR_OFFSET = 0x10;

/** Low bits of a BAR: space, width, prefetchable. 7.5.1.2.1 */
export const BAR_FLAG_IO = 1;
export const BAR_FLAG_64 = 4;
export const BAR_FLAG_PREFETCHABLE = 8;
export const BAR_FLAGS_MEMORY = 0xf;

/** Registers of declared BARs: sizing falls out of which address bits can be written. */
export function barRegisters(prefix: string, offset: number, bars: readonly BarSpec[], spec: string): Specs {
  const registers: Record<string, RegisterSpec> = {};
  for (const { index, kind, bytes, prefetchable } of bars) {
    const bits = Math.log2(bytes);
    invariant(
      Number.isInteger(bits) && bits >= (kind === 'io' ? 2 : 4) && bits < 32,
      `${prefix}${index}: size ${bytes}`,
    );
    const flagBits = kind === 'io' ? 2 : 4;
    const flags =
      kind === 'io'
        ? BAR_FLAG_IO
        : (kind === 'memory64' ? BAR_FLAG_64 : 0) | (prefetchable === true ? BAR_FLAG_PREFETCHABLE : 0);
    registers[`${prefix}${index}`] = {
      offset: offset + index * 4,
      width: 32,
      reset: flags,
      spec,
      fields: { FLAGS: [0, flagBits, 'const'], ADDRESS: [bits, 32 - bits, 'rw'] },
    };
    if (kind === 'memory64') {
      registers[`${prefix}${index + 1}`] = { offset: offset + index * 4 + 4, width: 32, access: 'rw', spec };
    }
  }
  return registers;
}

export interface Identity {
  readonly vendorId: number;
  readonly deviceId: number;
  readonly revision: number;
  /** Base class, sub-class and programming interface: 0x020000 is an Ethernet controller. */
  readonly classCode: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  readonly multifunction?: boolean;
}

const VF_ID = 0xffff;

/** Registers that headers of both types share. 7.5.1.1 */
function commonHeader(identity: Identity, headerType: number, virtualFunction: boolean) {
  const own = virtualFunction ? 'const' : 'rw';
  return {
    VENDOR_ID: {
      offset: 0x00,
      width: 16,
      access: 'const',
      reset: virtualFunction ? VF_ID : identity.vendorId,
      spec: '7.5.1.1.1',
    },
    DEVICE_ID: {
      offset: 0x02,
      width: 16,
      access: 'const',
      reset: virtualFunction ? VF_ID : identity.deviceId,
      spec: '7.5.1.1.2',
    },
    COMMAND: {
      offset: 0x04,
      width: 16,
      spec: '7.5.1.1.3',
      fields: {
        IO: [0, 1, own],
        MEMORY: [1, 1, own],
        MASTER: [2, 1, 'rw'],
        PARITY: [6, 1, own],
        SERR: [8, 1, own],
        INTX_DISABLE: [10, 1, own],
      },
    },
    STATUS: {
      offset: 0x06,
      width: 16,
      reset: 0x0010,
      spec: '7.5.1.1.4',
      fields: {
        INTX: [3, 1, 'const'],
        CAPABILITY_LIST: [4, 1, 'const'],
        MASTER_DATA_PARITY: [8, 1, 'w1c'],
        SIGNALLED_TARGET_ABORT: [11, 1, 'w1c'],
        RECEIVED_TARGET_ABORT: [12, 1, 'w1c'],
        RECEIVED_MASTER_ABORT: [13, 1, 'w1c'],
        SIGNALLED_SYSTEM_ERROR: [14, 1, 'w1c'],
        PARITY_ERROR: [15, 1, 'w1c'],
      },
    },
    REVISION: { offset: 0x08, width: 8, access: 'const', reset: identity.revision, spec: '7.5.1.1.5' },
    PROGRAMMING_INTERFACE: {
      offset: 0x09,
      width: 8,
      access: 'const',
      reset: identity.classCode & 0xff,
      spec: '7.5.1.1.6',
    },
    CLASS: { offset: 0x0a, width: 16, access: 'const', reset: identity.classCode >>> 8, spec: '7.5.1.1.6' },
    CACHE_LINE: { offset: 0x0c, width: 8, access: own, spec: '7.5.1.1.7' },
    LATENCY_TIMER: { offset: 0x0d, width: 8, access: 'const', spec: '7.5.1.1.8' },
    HEADER_TYPE: {
      offset: 0x0e,
      width: 8,
      reset: headerType | (identity.multifunction === true ? 0x80 : 0),
      spec: '7.5.1.1.9',
      fields: { LAYOUT: [0, 7, 'const'], MULTIFUNCTION: [7, 1, 'const'] },
    },
    BIST: { offset: 0x0f, width: 8, access: 'const', spec: '7.5.1.1.10' },
    INTERRUPT_LINE: { offset: 0x3c, width: 8, access: own, spec: '7.5.1.1.12' },
    INTERRUPT_PIN: { offset: 0x3d, width: 8, access: 'const', spec: '7.5.1.1.13' },
  } as const satisfies Specs;
}

/** Header type 0: an endpoint, or a virtual function (9.3.4.1), whose ids read all ones and which has no BARs. */
export function type0Header(
  identity: Identity,
  bars: readonly BarSpec[],
  options: { virtualFunction?: boolean } = {},
) {
  return {
    ...commonHeader(identity, 0, options.virtualFunction === true),
    ...barRegisters('BAR', BAR_OFFSET, bars, '7.5.1.2.1'),
    SUBSYSTEM_VENDOR_ID: {
      offset: 0x2c,
      width: 16,
      access: 'const',
      reset: identity.subsystemVendorId ?? 0,
      spec: '7.5.1.2.3',
    },
    SUBSYSTEM_ID: {
      offset: 0x2e,
      width: 16,
      access: 'const',
      reset: identity.subsystemId ?? 0,
      spec: '7.5.1.2.3',
    },
  } as const satisfies Specs;
}

/** Header type 1: a bridge, here a root port. 7.5.1.3 */
export function type1Header(identity: Identity) {
  return {
    ...commonHeader(identity, 1, false),
    PRIMARY_BUS: { offset: 0x18, width: 8, access: 'rw', spec: '7.5.1.3.2' },
    SECONDARY_BUS: { offset: 0x19, width: 8, access: 'rw', spec: '7.5.1.3.3' },
    SUBORDINATE_BUS: { offset: 0x1a, width: 8, access: 'rw', spec: '7.5.1.3.4' },
    SECONDARY_LATENCY: { offset: 0x1b, width: 8, access: 'const', spec: '7.5.1.3.5' },
    // No I/O below this port: base and limit are hardwired to zero, as 7.5.1.3.6 allows.
    IO_BASE: { offset: 0x1c, width: 8, access: 'const', spec: '7.5.1.3.6' },
    IO_LIMIT: { offset: 0x1d, width: 8, access: 'const', spec: '7.5.1.3.6' },
    SECONDARY_STATUS: {
      offset: 0x1e,
      width: 16,
      spec: '7.5.1.3.7',
      fields: {
        MASTER_DATA_PARITY: [8, 1, 'w1c'],
        SIGNALLED_TARGET_ABORT: [11, 1, 'w1c'],
        RECEIVED_TARGET_ABORT: [12, 1, 'w1c'],
        RECEIVED_MASTER_ABORT: [13, 1, 'w1c'],
        RECEIVED_SYSTEM_ERROR: [14, 1, 'w1c'],
        PARITY_ERROR: [15, 1, 'w1c'],
      },
    },
    MEMORY_BASE: { offset: 0x20, width: 16, spec: '7.5.1.3.8', fields: { ADDRESS: [4, 12, 'rw'] } },
    MEMORY_LIMIT: { offset: 0x22, width: 16, spec: '7.5.1.3.8', fields: { ADDRESS: [4, 12, 'rw'] } },
    PREFETCHABLE_BASE: {
      offset: 0x24,
      width: 16,
      reset: 1,
      spec: '7.5.1.3.9',
      fields: { WIDTH: [0, 4, 'const'], ADDRESS: [4, 12, 'rw'] },
    },
    PREFETCHABLE_LIMIT: {
      offset: 0x26,
      width: 16,
      reset: 1,
      spec: '7.5.1.3.9',
      fields: { WIDTH: [0, 4, 'const'], ADDRESS: [4, 12, 'rw'] },
    },
    PREFETCHABLE_BASE_UPPER: { offset: 0x28, width: 32, access: 'rw', spec: '7.5.1.3.10' },
    PREFETCHABLE_LIMIT_UPPER: { offset: 0x2c, width: 32, access: 'rw', spec: '7.5.1.3.10' },
    BRIDGE_CONTROL: {
      offset: 0x3e,
      width: 16,
      spec: '7.5.1.3.13',
      fields: {
        PARITY: [0, 1, 'rw'],
        SERR_FORWARD: [1, 1, 'rw'],
        ISA: [2, 1, 'rw'],
        VGA: [3, 1, 'rw'],
        SECONDARY_BUS_RESET: [6, 1, 'rw'],
      },
    },
  } as const satisfies Specs;
}

/** Bits 31:20 of an address live in the 12-bit fields of the memory windows. */
export const WINDOW_SHIFT = 20;

// ---------------------------------------------------------------------------------------------------------------------
// Standard list

export const CAP_ID_PM = 0x01;
export const CAP_ID_MSI = 0x05;
export const CAP_ID_MSIX = 0x11;

/** Power states of PMCSR. */
export const POWER_D0 = 0;
export const POWER_D3HOT = 3;

export interface PowerManagementOptions {
  readonly noSoftReset: boolean;
  /** A function that came to D0 needs more from its driver than a generic one could do (DSI). */
  readonly ownInitialization?: boolean;
}

/** Power management: D0 and D3hot, and a reset on the way back to D0 (No_Soft_Reset 0). 7.5.2 */
export const powerManagement = ({ noSoftReset, ownInitialization }: PowerManagementOptions) =>
  capability(CAP_ID_PM, 8, {
    CAPABILITIES: {
      offset: 2,
      width: 16,
      reset: 3 | (ownInitialization === true ? 1 << 5 : 0),
      spec: '7.5.2.1',
      fields: {
        VERSION: [0, 3, 'const'],
        DSI: [5, 1, 'const'],
        D1: [9, 1, 'const'],
        D2: [10, 1, 'const'],
        PME: [11, 5, 'const'],
      },
    },
    CONTROL: {
      offset: 4,
      width: 16,
      reset: noSoftReset ? 1 << 3 : 0,
      spec: '7.5.2.2',
      fields: {
        STATE: [0, 2, 'rw'],
        NO_SOFT_RESET: [3, 1, 'const'],
        PME_ENABLE: [8, 1, 'const'],
        PME_STATUS: [15, 1, 'const'],
      },
    },
  });

/** MSI with 64-bit address and per-vector masking, one vector. 7.7.1 */
export const messageSignalledInterrupts = /* @__PURE__ */ capability(CAP_ID_MSI, 0x18, {
  CONTROL: {
    offset: 0x02,
    width: 16,
    reset: 0x0180,
    spec: '7.7.1.2',
    fields: {
      ENABLE: [0, 1, 'rw'],
      MULTIPLE_CAPABLE: [1, 3, 'const'],
      MULTIPLE_ENABLE: [4, 3, 'const'],
      ADDRESS_64: [7, 1, 'const'],
      MASKABLE: [8, 1, 'const'],
    },
  },
  ADDRESS: { offset: 0x04, width: 32, spec: '7.7.1.3', fields: { ADDRESS: [2, 30, 'rw'] } },
  ADDRESS_UPPER: { offset: 0x08, width: 32, access: 'rw', spec: '7.7.1.4' },
  DATA: { offset: 0x0c, width: 16, access: 'rw', spec: '7.7.1.5' },
  MASK: { offset: 0x10, width: 32, spec: '7.7.1.7', fields: { VECTOR_0: [0, 1, 'rw'] } },
  PENDING: { offset: 0x14, width: 32, spec: '7.7.1.8', fields: { VECTOR_0: [0, 1, 'ro'] } },
});

export interface MsixPlace {
  readonly vectors: number;
  readonly bar: number;
  readonly tableOffset: number;
  readonly pendingOffset: number;
}

/** MSI-X; table and pending bits lie in one BAR. 7.7.2 */
export function msixCapability({ vectors, bar, tableOffset, pendingOffset }: MsixPlace) {
  return capability(CAP_ID_MSIX, 12, {
    CONTROL: {
      offset: 2,
      width: 16,
      reset: vectors - 1,
      spec: '7.7.2.2',
      fields: { TABLE_SIZE: [0, 11, 'const'], FUNCTION_MASK: [14, 1, 'rw'], ENABLE: [15, 1, 'rw'] },
    },
    TABLE: { offset: 4, width: 32, access: 'const', reset: tableOffset | bar, spec: '7.7.2.3' },
    PENDING: { offset: 8, width: 32, access: 'const', reset: pendingOffset | bar, spec: '7.7.2.4' },
  });
}

export type MsixRegisters = ReturnType<typeof msixCapability> extends Capability<infer T> ? T : never;
