/** The function alone is unplugged by the slot's button, with what QEMU has for failover, whose standby has no cable. */
import { hotUnplug } from '../../../migration/stop/hot-unplug.js';
import type { QemuStop } from '../approach.js';
import { RETURNS } from './failover.js';

export const hotUnplugOnQemu: QemuStop = {
  of: hotUnplug,
  text: "QEMU pushes the slot's button and waits before the first round, as for failover, but the standby has no cable: `device_del` of a function with MSI-X aborts QEMU 11.1",
  machine: { standby: 'mute' },
  byQemu: true,
  kernelSays: [RETURNS],
};
