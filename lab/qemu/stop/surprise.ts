/** Our server withdraws the function, and tells nobody. */
import { surprise } from '../../../migration/stop/surprise.js';
import type { QemuStop } from '../approach.js';

/** What ixgbevf says of a function that reads all ones. */
export const GONE = /Adapter removed|ixgbevf .*(Reset|reset|hardware|disabl)/;

export const surpriseOnQemu: QemuStop = {
  of: surprise,
  text: 'our server withdraws the function: reads are all ones, its requests and interrupts end; QEMU and the slot hear nothing of it',
  cut: async ({ source }) => {
    await source.nic.execute('set-present', { present: false });
  },
  undo: async ({ source }) => {
    await source.nic.execute('set-present', { present: true });
  },
  kernelSays: [GONE],
};
