/** A function comes into the slot. */
import { hotPlug } from '../../../migration/start/hot-plug.js';
import type { QemuStart } from '../approach.js';

export const hotPlugOnQemu: QemuStart = {
  of: hotPlug,
  text: 'with a standby QEMU plugs the function in when the guest that wants it arrives (FAILOVER_NEGOTIATED); else our command does, by device_add, once the guest runs. ixgbevf sets it up from scratch',
  inPlace: false,
  afterRun: (stage) => stage.destination.plug(),
};
