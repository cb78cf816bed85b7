/** The other server's function goes on with the state, where QEMU's part of it has been set up as it was. */
import { startByDeviceState } from '../../../migration/start/device-state.js';
import type { QemuStart } from '../approach.js';

/** Bytes of a piece: its base64 fits a command of the monitor. */
const PIECE_BYTES = 0x4_0000;

export const deviceStateStartOnQemu: QemuStart = {
  of: startByDeviceState,
  text: 'the state goes into the other server; base addresses, command and MSI-X, which QEMU emulates and forgets, are written again as the guest had them (by qtest), and the function runs on',
  inPlace: true,
  wantsSetup: true,
  load: async ({ destination: { nic }, carried: { state = new Uint8Array(0) } }) => {
    await nic.execute('set-state', { state: 'RESUMING' });
    for (let at = 0; at < state.length; at += PIECE_BYTES) {
      const data = Buffer.from(state.subarray(at, at + PIECE_BYTES)).toString('base64');
      await nic.execute('write-state', { data });
    }
    await nic.execute('set-state', { state: 'RUNNING' });
  },
  afterRun: async ({ destination: { nic } }) => {
    // Of this function QEMU announces nothing, and a guest that has noticed nothing neither.
    await nic.execute('announce-self', { initial: 50, max: 550, rounds: 5, step: 100 });
  },
};
