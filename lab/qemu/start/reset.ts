/** The driver finds by itself that its function is as after a reset. */
import { startByReset } from '../../../migration/start/reset.js';
import type { QemuStart } from '../approach.js';

export const resetOnQemu: QemuStart = {
  of: startByReset,
  text: "the destination's function is set up in QEMU as the guest had it (by qtest), and nobody says anything: ixgbevf's watchdog finds it without its link",
  inPlace: true,
  wantsSetup: true,
  kernelSays: [/ixgbevf .*(Reset|reset|Hang|hang)/],
};
