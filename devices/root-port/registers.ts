/** A PCI Express root port with a hot-plug slot, and the block through which hypervisor and guest talk. */
import { memoized } from '../../base/memo.js';
import { at, configLayout, extendedCapability } from '../pci/capability.js';
import { accessControl, EXT_ID_DVSEC, rootPortAer } from '../pci/extended-capabilities.js';
import { ROOT_PORT, VENDOR_FERRY } from '../pci/identities.js';
import { LINK_SPEED_5GT, pcieCapability } from '../pci/pcie-capability.js';
import { messageSignalledInterrupts, powerManagement, type1Header } from '../pci/registers.js';

/**
 * Slot Capabilities: both indicators, hot-plug capable, and unless it is a quick slot attention button and power
 * controller; command completed is reported. 7.5.3.9
 */
const SLOT_BUTTON = 1 << 0;
const SLOT_POWER_CONTROLLER = 1 << 1;
const SLOT_ATTENTION_INDICATOR = 1 << 3;
const SLOT_POWER_INDICATOR = 1 << 4;
const SLOT_SURPRISE = 1 << 5;
const SLOT_HOT_PLUG = 1 << 6;
const SLOT_NUMBER_SHIFT = 19;

export interface SlotOptions {
  /** Physical slot number, unique in the chassis. */
  readonly number: number;
  /** Devices may vanish without notice. */
  readonly surprise: boolean;
  /**
   * It has neither attention button nor power controller, and so none of the waits that software owes a person with a hand on
   * it: five seconds after the button, one after power went off.
   */
  readonly quick?: boolean;
  /** Not the port handles hot-plug, but firmware: it offers software none of it. */
  readonly byFirmware?: boolean;
}

export const LINK_WIDTH = 8;

/** Number and revision of our vendor-specific block. */
export const CHANNEL_DVSEC_ID = 0x0001;
const CHANNEL_REVISION = 3;
const CHANNEL_BYTES = 0x60;

/**
 * The vendor block: what the hypervisor asks (`HOST_*`, read-only for the guest) and what the guest answers
 * (`GUEST_*`). A new `HOST_SEQUENCE` announces a request and sets `STATUS.REQUEST`, which interrupts if `CONTROL`
 * allows; writing `GUEST_SEQUENCE` hands the guest's words over, and as an answer makes way for the next request, which may be
 * there before that write has ended. `GUEST_FEATURE` is what its driver says that it can do.
 */
export const hypervisorChannel = /* @__PURE__ */ extendedCapability(EXT_ID_DVSEC, 1, CHANNEL_BYTES, {
  VENDOR: {
    offset: 0x04,
    width: 32,
    access: 'const',
    reset: VENDOR_FERRY + CHANNEL_REVISION * 2 ** 16 + CHANNEL_BYTES * 2 ** 20,
    spec: 'PCIe 7.9.6.2',
  },
  ID: { offset: 0x08, width: 16, access: 'const', reset: CHANNEL_DVSEC_ID, spec: 'PCIe 7.9.6.3' },
  CONTROL: { offset: 0x0c, width: 16, fields: { INTERRUPT: [0, 1, 'rw'] } },
  STATUS: { offset: 0x0e, width: 16, fields: { REQUEST: [0, 1, 'w1c'] } },
  HOST_SEQUENCE: { offset: 0x10, width: 32, access: 'ro' },
  HOST_REQUEST: { offset: 0x14, width: 32, access: 'ro' },
  HOST_ARGUMENT: { offset: 0x18, width: 32, access: 'ro', count: 4 },
  GUEST_SEQUENCE: { offset: 0x28, width: 32, access: 'rw' },
  GUEST_ANSWER: { offset: 0x2c, width: 32, access: 'rw' },
  GUEST_ARGUMENT: { offset: 0x30, width: 32, access: 'rw', count: 4 },
  GUEST_FEATURE: { offset: 0x40, width: 32, access: 'rw', count: 8 },
});

/** The layout of a root port whose slot is described by `slot`. */
export const rootPortLayout = /* @__PURE__ */ memoized((slot: SlotOptions) => {
  const native =
    (slot.quick ? 0 : SLOT_BUTTON + SLOT_POWER_CONTROLLER) +
    SLOT_ATTENTION_INDICATOR +
    SLOT_POWER_INDICATOR +
    SLOT_HOT_PLUG +
    (slot.surprise ? SLOT_SURPRISE : 0);
  const slotCapabilities = (slot.byFirmware ? 0 : native) + slot.number * 2 ** SLOT_NUMBER_SHIFT;
  return configLayout('root-port', type1Header(ROOT_PORT), {
    // A port that lost its slot's and link's state in a sleep would lose the device behind it.
    pm: at(0x40, powerManagement({ noSoftReset: true })),
    msi: at(0x60, messageSignalledInterrupts),
    pcie: at(
      0x90,
      pcieCapability({
        kind: 'root-port',
        speed: LINK_SPEED_5GT,
        width: LINK_WIDTH,
        slot: slotCapabilities,
        ariForwarding: true,
      }),
    ),
    aer: at(0x100, rootPortAer()),
    acs: at(0x148, accessControl),
    channel: at(0x200, hypervisorChannel),
  });
});

export type RootPortLayout = ReturnType<typeof rootPortLayout>;
