// Recovery from errors of devices, as drivers/pci/pcie/err.c: the drivers below a port are asked what they need, the
// port resets what is below it if need be, and the drivers go on. Every function below the port takes part.
import { pr_err, pr_info } from '../../kernel/printk';
import { msleep } from '../../kernel/sched';
import { NSEC_PER_SEC, ktime_get } from '../../kernel/time';
import { pci_devices } from './bus';
import {
  PCI_ERS_RESULT_CAN_RECOVER,
  PCI_ERS_RESULT_DISCONNECT,
  PCI_ERS_RESULT_NEED_RESET,
  PCI_ERS_RESULT_NO_AER_DRIVER,
  PCI_ERS_RESULT_RECOVERED,
  PciDev,
  PciErrorHandlers,
  pci_aer_init,
  pci_channel_io_frozen,
  pci_channel_io_normal,
  pci_channel_io_perm_failure,
  pci_device_is_present,
  pci_read_config_word,
  pci_restore_bars,
  pci_write_config_word,
} from './pci';
import { PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_BUS_RESET } from './pci_regs';

// What is asked of each driver, in this order.
const ERROR_DETECTED: u32 = 0;
const MMIO_ENABLED: u32 = 1;
const SLOT_RESET: u32 = 2;
const RESUME: u32 = 3;

/** The answer of all drivers so far, and that of one more. */
function merge_result(all: u32, one: u32): u32 {
  if (one == PCI_ERS_RESULT_NO_AER_DRIVER || all == PCI_ERS_RESULT_NO_AER_DRIVER) return PCI_ERS_RESULT_NO_AER_DRIVER;
  if (all == PCI_ERS_RESULT_CAN_RECOVER || all == PCI_ERS_RESULT_RECOVERED) return one;
  return all == PCI_ERS_RESULT_DISCONNECT && one == PCI_ERS_RESULT_NEED_RESET ? one : all;
}

function handlers_of(dev: PciDev): PciErrorHandlers | null {
  const driver = dev.driver;
  return driver !== null ? driver.err_handler : null;
}

function report_error_detected(dev: PciDev, state: u32): u32 {
  if (dev.error_state == pci_channel_io_perm_failure) return PCI_ERS_RESULT_DISCONNECT;
  dev.error_state = state;
  const handlers = handlers_of(dev);
  if (handlers !== null) return handlers.error_detected(dev, state);
  pr_info("pci %S: can't recover (no error_detected callback)", dev.name);
  return PCI_ERS_RESULT_NO_AER_DRIVER;
}

/** One step for one device; `unasked` where its driver has nothing to say. */
function report(dev: PciDev, step: u32, state: u32, unasked: u32): u32 {
  if (step == ERROR_DETECTED) return report_error_detected(dev, state);
  const handlers = handlers_of(dev);
  if (handlers === null) return unasked;
  if (step == MMIO_ENABLED) {
    const mmio_enabled = handlers.mmio_enabled;
    return mmio_enabled !== null ? mmio_enabled(dev) : unasked;
  }
  if (step == SLOT_RESET) {
    // Configuration space is as after power-on.
    dev.error_state = pci_channel_io_normal;
    pci_restore_bars(dev);
    pci_aer_init(dev);
    const slot_reset = handlers.slot_reset;
    return slot_reset !== null ? slot_reset(dev) : unasked;
  }
  dev.error_state = pci_channel_io_normal;
  const resume = handlers.resume;
  if (resume !== null) resume(dev);
  return unasked;
}

/** One step for every device below `bridge`; returns what all of them say. */
function walk_bridge(bridge: PciDev, step: u32, state: u32, result: u32): u32 {
  let all = result;
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (dev.bus == bridge.secondary) all = merge_result(all, report(dev, step, state, all));
  }
  return all;
}

/** A hot-plug driver takes note that the link below a bridge went down and up by our own doing. */
// @ts-ignore: decorator
@unmanaged class SlotReset {
  done: ((bridge: PciDev) => void) | null;
}

const slot_reset = changetype<SlotReset>(memory.data(16, 16));

/** Boot CPU: `done` is called after each reset of a bus, before anybody else hears of its link. */
export function pci_register_slot_reset(done: (bridge: PciDev) => void): void {
  slot_reset.done = done;
}

/** Resets what is below `bridge`; false if it does not answer again within a second. */
export function pci_bridge_secondary_bus_reset(bridge: PciDev): bool {
  const control = pci_read_config_word(bridge, PCI_BRIDGE_CONTROL);
  pci_write_config_word(bridge, PCI_BRIDGE_CONTROL, control | PCI_BRIDGE_CTL_BUS_RESET);
  msleep(2);
  pci_write_config_word(bridge, PCI_BRIDGE_CONTROL, control);
  // The link trains, and the device may not be asked before (PCI Express 6.6.1).
  msleep(100);
  const deadline = ktime_get() + NSEC_PER_SEC;
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (dev.bus != bridge.secondary) continue;
    while (!pci_device_is_present(dev)) {
      if (ktime_get() >= deadline) return false;
      msleep(20);
    }
  }
  const done = slot_reset.done;
  if (done !== null) done(bridge);
  pr_info('pcieport %S: AER: Root Port link has been reset (0)', bridge.name);
  return true;
}

/**
 * What is below the port `bridge` was replaced by its like: the drivers let go of the old device, of which nothing is to be asked
 * any more, and set up the new one. Returns whether all could. Task context, with the hot-plug lock.
 */
export function pci_bridge_replaced(bridge: PciDev): bool {
  let status = walk_bridge(bridge, ERROR_DETECTED, pci_channel_io_frozen, PCI_ERS_RESULT_CAN_RECOVER);
  if (status == PCI_ERS_RESULT_CAN_RECOVER || status == PCI_ERS_RESULT_NEED_RESET) {
    status = walk_bridge(bridge, SLOT_RESET, pci_channel_io_normal, PCI_ERS_RESULT_RECOVERED);
  }
  if (status != PCI_ERS_RESULT_RECOVERED) {
    pr_err('pcieport %S: ferry: the driver could not take over the new device', bridge.name);
    return false;
  }
  walk_bridge(bridge, RESUME, pci_channel_io_normal, PCI_ERS_RESULT_RECOVERED);
  pr_info('pcieport %S: ferry: the device was replaced', bridge.name);
  return true;
}

/**
 * Brings what is below the port `bridge` back from an error: `state` is pci_channel_io_normal for one that left the link
 * alive, or pci_channel_io_frozen. `reset_subordinates` resets what is below and says whether it answers again. Returns
 * whether the devices work. Task context, with the hot-plug lock.
 */
export function pcie_do_recovery(bridge: PciDev, state: u32, reset_subordinates: (bridge: PciDev) => bool): bool {
  let status = walk_bridge(bridge, ERROR_DETECTED, state, PCI_ERS_RESULT_CAN_RECOVER);
  if (state == pci_channel_io_frozen && !reset_subordinates(bridge)) {
    pr_err('pcieport %S: AER: subordinate device reset failed', bridge.name);
    status = PCI_ERS_RESULT_DISCONNECT;
  }
  if (status == PCI_ERS_RESULT_CAN_RECOVER) status = walk_bridge(bridge, MMIO_ENABLED, state, PCI_ERS_RESULT_RECOVERED);
  if (status == PCI_ERS_RESULT_NEED_RESET) status = walk_bridge(bridge, SLOT_RESET, state, PCI_ERS_RESULT_RECOVERED);
  if (status != PCI_ERS_RESULT_RECOVERED) {
    pr_err('pcieport %S: AER: device recovery failed', bridge.name);
    return false;
  }
  walk_bridge(bridge, RESUME, state, PCI_ERS_RESULT_RECOVERED);
  pr_info('pcieport %S: AER: device recovery successful', bridge.name);
  return true;
}
