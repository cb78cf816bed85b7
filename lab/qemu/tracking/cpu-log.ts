/** QEMU's own log is all there is, and enough: what the function writes, QEMU writes for it. */
import { cpuLog } from '../../../migration/tracking/cpu-log.js';
import type { QemuTracking } from '../approach.js';

export const cpuLogOnQemu: QemuTracking = {
  of: cpuLog,
  text: "QEMU's own log. A function that is gone before the first round writes nothing; one that is not has memory that is not shared, so that each of its writes is a message (DMA_WRITE), which QEMU carries out and logs",
  shared: false,
};
