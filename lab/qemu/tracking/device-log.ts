/** Our server logs what its function writes, and tells QEMU of it where nobody writes any more. */
import { deviceLog } from '../../../migration/tracking/device-log.js';
import type { QemuTracking } from '../approach.js';

export const deviceLogOnQemu: QemuTracking = {
  of: deviceLog,
  text: 'memory is shared, and our server logs what the function writes there; when no vCPU runs it writes a byte of each such page once more by message, so that QEMU has them in its log and sends them with the last pages',
  shared: true,
  begin: async ({ source }) => {
    await source.nic.execute('log-writes', { enable: true });
  },
  harvest: async ({ source }) => {
    await source.nic.execute('tell-written');
  },
};
