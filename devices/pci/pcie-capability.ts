/**
 * The PCI Express capability, version 2 (PCI Express Base Specification 6.0, 7.5.3): device, link, slot and root
 * registers.
 */
import type { RegisterSpec } from '../../base/registers.js';
import { type Capability, capability } from './capability.js';

export const CAP_ID_PCIE = 0x10;

/** Device/port types. 7.5.3.2 */
export const PORT_ENDPOINT = 0;
export const PORT_ROOT_PORT = 4;

/** Encodings of link speed and of Max_Payload_Size and Max_Read_Request_Size. */
export const LINK_SPEED_5GT = 2;
export const PAYLOAD_512 = 2;
export const READ_REQUEST_512 = 2;

/** Slot indicators: 0 is reserved. */
export const INDICATOR_ON = 1;
export const INDICATOR_BLINK = 2;
export const INDICATOR_OFF = 3;

const slotCapabilityFields = {
  ATTENTION_BUTTON: [0, 1, 'const'],
  POWER_CONTROLLER: [1, 1, 'const'],
  MRL_SENSOR: [2, 1, 'const'],
  ATTENTION_INDICATOR: [3, 1, 'const'],
  POWER_INDICATOR: [4, 1, 'const'],
  SURPRISE: [5, 1, 'const'],
  HOT_PLUG: [6, 1, 'const'],
  POWER_LIMIT: [7, 8, 'const'],
  POWER_SCALE: [15, 2, 'const'],
  INTERLOCK: [17, 1, 'const'],
  NO_COMMAND_COMPLETED: [18, 1, 'const'],
  NUMBER: [19, 13, 'const'],
} as const satisfies RegisterSpec['fields'];

/** Encodings of Endpoint L0s and L1 Acceptable Latency: under 512 ns, under 64 us. 7.5.3.3 */
export const L0S_512_NS = 3;
export const L1_64_US = 6;

export interface PcieOptions {
  readonly kind: 'endpoint' | 'virtual-function' | 'root-port';
  readonly speed: number;
  readonly width: number;
  /** Slot Capabilities of a port with a slot; undefined: no slot. */
  readonly slot?: number;
  readonly ariForwarding?: boolean;
  /** Exit latencies that an endpoint's buffers bear, as encoded; undefined: the least. */
  readonly acceptable?: { readonly l0s: number; readonly l1: number };
  /** It uses the reference clock of its connector. */
  readonly slotClock?: boolean;
}

/**
 * The PCI Express capability, version 2. 7.5.3. In a virtual function the device controls other than FLR are reserved
 * (9.3.5.4): the physical function's govern. Its link registers show the physical function's values, as virtual
 * machine monitors present them.
 */
export function pcieCapability(options: PcieOptions) {
  const port = options.kind === 'root-port';
  const own = options.kind === 'virtual-function' ? 'const' : 'rw';
  const { l0s, l1 } = options.acceptable ?? { l0s: 0, l1: 0 };
  const slot = options.slot !== undefined;
  const slotControl = slot ? 'rw' : 'const';
  const slotEvent = slot ? 'w1c' : 'const';
  const rootControl = port ? 'rw' : 'const';
  return capability(CAP_ID_PCIE, 0x3c, {
    FLAGS: {
      offset: 0x02,
      width: 16,
      reset: 2 | ((port ? PORT_ROOT_PORT : PORT_ENDPOINT) << 4) | (slot ? 0x100 : 0),
      spec: '7.5.3.2',
      fields: {
        VERSION: [0, 4, 'const'],
        TYPE: [4, 4, 'const'],
        SLOT: [8, 1, 'const'],
        MESSAGE_NUMBER: [9, 5, 'const'],
      },
    },
    DEVICE_CAPABILITIES: {
      offset: 0x04,
      width: 32,
      reset: PAYLOAD_512 | (l0s << 6) | (l1 << 9) | (1 << 15) | (port ? 0 : 1 << 28),
      spec: '7.5.3.3',
      fields: {
        MAX_PAYLOAD: [0, 3, 'const'],
        EXTENDED_TAG: [5, 1, 'const'],
        L0S_ACCEPTABLE: [6, 3, 'const'],
        L1_ACCEPTABLE: [9, 3, 'const'],
        ROLE_BASED_ERRORS: [15, 1, 'const'],
        FLR: [28, 1, 'const'],
      },
    },
    DEVICE_CONTROL: {
      offset: 0x08,
      width: 16,
      // Relaxed ordering and no-snoop are allowed from reset on.
      reset: own === 'rw' ? (READ_REQUEST_512 << 12) | (port ? 0 : (1 << 11) | (1 << 4)) : 0,
      spec: '7.5.3.4',
      fields: {
        CORRECTABLE_ENABLE: [0, 1, own],
        NONFATAL_ENABLE: [1, 1, own],
        FATAL_ENABLE: [2, 1, own],
        UNSUPPORTED_ENABLE: [3, 1, own],
        RELAXED_ORDERING: [4, 1, own],
        MAX_PAYLOAD: [5, 3, own],
        EXTENDED_TAG: [8, 1, own],
        NO_SNOOP: [11, 1, own],
        MAX_READ_REQUEST: [12, 3, own],
        INITIATE_FLR: [15, 1, port ? 'const' : 'wo'],
      },
    },
    DEVICE_STATUS: {
      offset: 0x0a,
      width: 16,
      spec: '7.5.3.5',
      fields: {
        CORRECTABLE: [0, 1, 'w1c'],
        NONFATAL: [1, 1, 'w1c'],
        FATAL: [2, 1, 'w1c'],
        UNSUPPORTED: [3, 1, 'w1c'],
        TRANSACTIONS_PENDING: [5, 1, 'ro'],
      },
    },
    LINK_CAPABILITIES: {
      offset: 0x0c,
      width: 32,
      reset: options.speed | (options.width << 4) | (port ? 1 << 20 : 0),
      spec: '7.5.3.6',
      fields: {
        SPEED: [0, 4, 'const'],
        WIDTH: [4, 6, 'const'],
        ASPM: [10, 2, 'const'],
        SURPRISE_DOWN: [19, 1, 'const'],
        ACTIVE_REPORTING: [20, 1, 'const'],
      },
    },
    LINK_CONTROL: {
      offset: 0x10,
      width: 16,
      spec: '7.5.3.7',
      fields: {
        ASPM: [0, 2, own],
        READ_BOUNDARY: [3, 1, own],
        DISABLE: [4, 1, port ? 'rw' : 'const'],
        RETRAIN: [5, 1, port ? 'wo' : 'const'],
        COMMON_CLOCK: [6, 1, own],
        EXTENDED_SYNCH: [7, 1, own],
      },
    },
    LINK_STATUS: {
      offset: 0x12,
      width: 16,
      // A port's link is up only with a device behind it.
      reset: options.speed | (port ? 0 : options.width << 4) | (options.slotClock === true ? 1 << 12 : 0),
      spec: '7.5.3.8',
      fields: {
        SPEED: [0, 4, 'ro'],
        WIDTH: [4, 6, 'ro'],
        TRAINING: [11, 1, 'ro'],
        SLOT_CLOCK: [12, 1, 'const'],
        ACTIVE: [13, 1, 'ro'],
      },
    },
    SLOT_CAPABILITIES: {
      offset: 0x14,
      width: 32,
      reset: options.slot ?? 0,
      spec: '7.5.3.9',
      fields: slotCapabilityFields,
    },
    SLOT_CONTROL: {
      offset: 0x18,
      width: 16,
      // Both indicators off and, as an empty slot is delivered, power off.
      reset: slot ? (INDICATOR_OFF << 6) | (INDICATOR_OFF << 8) | (1 << 10) : 0,
      spec: '7.5.3.10',
      fields: {
        ATTENTION_BUTTON_ENABLE: [0, 1, slotControl],
        POWER_FAULT_ENABLE: [1, 1, slotControl],
        MRL_ENABLE: [2, 1, slotControl],
        PRESENCE_ENABLE: [3, 1, slotControl],
        COMMAND_COMPLETED_ENABLE: [4, 1, slotControl],
        HOT_PLUG_INTERRUPT_ENABLE: [5, 1, slotControl],
        ATTENTION_INDICATOR: [6, 2, slotControl],
        POWER_INDICATOR: [8, 2, slotControl],
        POWER_OFF: [10, 1, slotControl],
        LINK_STATE_ENABLE: [12, 1, slotControl],
      },
    },
    SLOT_STATUS: {
      offset: 0x1a,
      width: 16,
      spec: '7.5.3.11',
      fields: {
        ATTENTION_BUTTON: [0, 1, slotEvent],
        POWER_FAULT: [1, 1, slotEvent],
        MRL_CHANGED: [2, 1, slotEvent],
        PRESENCE_CHANGED: [3, 1, slotEvent],
        COMMAND_COMPLETED: [4, 1, slotEvent],
        MRL_STATE: [5, 1, 'ro'],
        PRESENCE: [6, 1, 'ro'],
        LINK_STATE_CHANGED: [8, 1, slotEvent],
      },
    },
    ROOT_CONTROL: {
      offset: 0x1c,
      width: 16,
      spec: '7.5.3.12',
      fields: {
        CORRECTABLE_SYSTEM_ERROR: [0, 1, rootControl],
        NONFATAL_SYSTEM_ERROR: [1, 1, rootControl],
        FATAL_SYSTEM_ERROR: [2, 1, rootControl],
        PME_INTERRUPT: [3, 1, rootControl],
      },
    },
    ROOT_STATUS: {
      offset: 0x20,
      width: 32,
      spec: '7.5.3.14',
      fields: { PME_REQUESTER: [0, 16, 'ro'], PME: [16, 1, 'w1c'], PME_PENDING: [17, 1, 'ro'] },
    },
    DEVICE_CAPABILITIES_2: {
      offset: 0x24,
      width: 32,
      reset: options.ariForwarding === true ? 1 << 5 : 0,
      spec: '7.5.3.15',
      fields: { COMPLETION_TIMEOUT: [0, 5, 'const'], ARI_FORWARDING: [5, 1, 'const'] },
    },
    DEVICE_CONTROL_2: {
      offset: 0x28,
      width: 16,
      spec: '7.5.3.16',
      fields: { ARI_FORWARDING: [5, 1, options.ariForwarding === true ? 'rw' : 'const'] },
    },
    LINK_CAPABILITIES_2: {
      offset: 0x2c,
      width: 32,
      access: 'const',
      reset: ((1 << options.speed) - 1) << 1,
      spec: '7.5.3.18',
    },
    LINK_CONTROL_2: {
      offset: 0x30,
      width: 16,
      reset: options.kind === 'virtual-function' ? 0 : options.speed,
      spec: '7.5.3.19',
      fields: { TARGET_SPEED: [0, 4, own] },
    },
    SLOT_CAPABILITIES_2: { offset: 0x34, width: 32, access: 'const', spec: '7.5.3.21' },
  });
}

export type PcieRegisters = ReturnType<typeof pcieCapability> extends Capability<infer T> ? T : never;
