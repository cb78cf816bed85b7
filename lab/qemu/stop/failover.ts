/** QEMU's own failover: it asks the guest for the function, and net_failover goes on by the standby. */
import { failover } from '../../../migration/stop/failover.js';
import type { QemuStop } from '../approach.js';

/** net_failover says so when the function comes back. */
export const RETURNS = /failover.*(primary|standby)|slave dev when primary already present/;

export const failoverOnQemu: QemuStop = {
  of: failover,
  text: "QEMU pushes the slot's button (UNPLUG_PRIMARY) and waits (wait-unplug) before the first round; the virtio-net standby carries the traffic until the destination's function is there",
  machine: { standby: 'carries' },
  byQemu: true,
  kernelSays: [RETURNS],
};
