/**
 * The registers by which firmware handles hot-plug of PCI slots (ACPI 6.5, 5.6.4 and 6.3): a block as QEMU's machines have it
 * (`docs/specs/acpi_pci_hotplug`), one bus at a time in its windows, and beside it the general-purpose event and its interrupt,
 * which a PC has elsewhere. There is no AML here that would read them: the guest's driver does what the methods would.
 */
import { ACPI_PCI_HOTPLUG_BYTES } from '../../base/abi/platform.js';
import { registerTable } from '../../base/registers.js';

/** Notifications to a slot's device (5.6.6), as OST_EVENT has them. */
export const NOTIFY_DEVICE_CHECK = 1;
export const NOTIFY_EJECT_REQUEST = 3;
/** Anything else is a failure (6.3.5). */
export const OST_SUCCESS = 0;

export const acpiHotplugRegisters = registerTable(
  'acpi_pci_hotplug',
  { bytes: ACPI_PCI_HOTPLUG_BYTES },
  {
    /** Slots of the selected bus where something was put in, a bit each; reading clears. */
    UP: { offset: 0x00, width: 32, access: 'ro' },
    /** Slots of the selected bus that are to be ejected, until they are. */
    DOWN: { offset: 0x04, width: 32, access: 'ro' },
    /** _EJ0: the device leaves the slots whose bits are set. */
    EJECT: { offset: 0x08, width: 32, access: 'wo' },
    /** Slots of the selected bus that there are. */
    REMOVABLE: { offset: 0x0c, width: 32, access: 'ro' },
    /** Number of the bus whose slots the windows show. */
    SELECT: { offset: 0x10, width: 32, access: 'rw' },
    /** _OST: how what a notification asked for has ended; a write of the status says it. Of the selected bus's slot 0. */
    OST_EVENT: { offset: 0x18, width: 32, access: 'rw' },
    OST_STATUS: { offset: 0x1c, width: 32, access: 'wo' },
    /** General-purpose event block 0. */
    GPE0_STATUS: { offset: 0x20, width: 32, fields: { PCI_HOTPLUG: [1, 1, 'w1c'] } },
    GPE0_ENABLE: { offset: 0x24, width: 32, fields: { PCI_HOTPLUG: [1, 1, 'rw'] } },
    /** The system control interrupt; vector 0: none is sent. */
    SCI: { offset: 0x28, width: 32, fields: { VECTOR: [8, 8, 'rw'], TARGET: [16, 8, 'rw'] } },
    /** What the windows show, a bit for each bus; and whose device the guest uses, as it said. */
    BUSES_UP: { offset: 0x40, width: 32, access: 'ro' },
    BUSES_DOWN: { offset: 0x44, width: 32, access: 'ro' },
    BUSES_USED: { offset: 0x48, width: 32, access: 'ro' },
  },
);
