/** The function's state moves between our two servers, beside QEMU's stream, which has none of it. */
import { stopByDeviceState } from '../../../migration/stop/device-state.js';
import type { ServedNic } from '../../nic/spawn.js';
import type { QemuStop } from '../approach.js';

export const deviceStateOnQemu: QemuStop = {
  of: stopByDeviceState,
  text: "when no vCPU runs (pre-switchover) our server holds the function still and gives its state, which goes to the other server beside QEMU's stream",
  cut: async ({ source }) => {
    await source.nic.execute('set-state', { state: 'STOP' });
  },
  readOut: async ({ source, carried }) => {
    carried.state = await stateOf(source.nic);
  },
  undo: async ({ source }) => {
    await source.nic.execute('set-state', { state: 'RUNNING' });
  },
};

async function stateOf(nic: ServedNic): Promise<Uint8Array> {
  await nic.execute('set-state', { state: 'STOP_COPY' });
  const pieces: Buffer[] = [];
  for (;;) {
    const { data, end } = (await nic.execute('read-state')) as { data: string; end: boolean };
    pieces.push(Buffer.from(data, 'base64'));
    if (end) return Buffer.concat(pieces);
  }
}
