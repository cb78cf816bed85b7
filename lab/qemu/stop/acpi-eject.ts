/** The same by ACPI: no button, no indicator, none of their waits. */
import { acpiEject } from '../../../migration/stop/acpi-eject.js';
import type { QemuStop } from '../approach.js';
import { RETURNS } from './failover.js';

export const acpiEjectOnQemu: QemuStop = {
  of: acpiEject,
  text: "the same, but the slot is ACPI's (q35 with acpi-pci-hotplug-with-bridge-support=on, its default): the guest is notified, and ejects the function",
  machine: { standby: 'mute', acpiSlots: true },
  byQemu: true,
  kernelSays: [RETURNS],
};
