// The PCI bus of the driver model: which devices there are, which drivers, and who has whom. A device and a driver that
// know each other are brought together whichever of them comes later.
import { param_count } from '../../kernel/params';
import { pr_info } from '../../kernel/printk';
import { INIT_LIST_HEAD, ListHead, list_add_tail, list_del_init } from '../../lib/list';
import { kfree } from '../../mm/slab';
import { PciDev, PciDriver, pci_channel_io_perm_failure, pci_device_is_present } from './pci';

const devices = changetype<ListHead>(memory.data(16, 16));
const drivers = changetype<ListHead>(memory.data(16, 16));

/** Head of the list of all PciDev, in the order in which they were found. */
// @ts-ignore: decorator
@inline export function pci_devices(): ListHead { return devices; }

/** Boot CPU, first of all. */
export function pci_bus_init(): void {
  INIT_LIST_HEAD(devices);
  INIT_LIST_HEAD(drivers);
}

function pci_match_device(driver: PciDriver, dev: PciDev): bool {
  for (let at = driver.id_table; load<u32>(at) != 0; at += 4) {
    if (load<u32>(at) == ((dev.device << 16) | dev.vendor)) return true;
  }
  return false;
}

/** Gives `dev`, which nobody has, to `driver`, if that knows it and takes it. */
function really_probe(driver: PciDriver, dev: PciDev): bool {
  if (!pci_match_device(driver, dev)) return false;
  dev.driver = driver;
  dev.driver_name = driver.name;
  if (driver.probe(dev)) return true;
  dev.driver = null;
  dev.driver_name = 0;
  return false;
}

/** Offers `dev` to each driver until one takes it; true if it has one then. Task context, with the hot-plug lock. */
export function device_attach(dev: PciDev): bool {
  if (dev.driver !== null) return true;
  for (let entry = drivers.next; entry != drivers; entry = entry.next) {
    if (really_probe(changetype<PciDriver>(entry), dev)) return true;
  }
  return false;
}

/** Takes `dev` away from its driver, if it has one. Task context, with the hot-plug lock. */
export function device_release_driver(dev: PciDev): void {
  const driver = dev.driver;
  if (driver === null) return;
  driver.remove(dev);
  dev.driver = null;
  dev.driver_name = 0;
  // That was said of the driver; the next one finds a device as any other.
  dev.is_suspended = false;
}

/**
 * Boot CPU: a driver, which gets every device that it knows and nobody has, those that come later too. One that
 * `module_blacklist=` names gets none, as if it had not been built.
 */
export function pci_register_driver(driver: PciDriver): void {
  if (param_count('module_blacklist', changetype<string>(driver.name)) != 0) {
    pr_info('Module %s is blacklisted', driver.name);
    return;
  }
  list_add_tail(driver, drivers);
  for (let entry = devices.next; entry != devices; entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (dev.driver === null) really_probe(driver, dev);
  }
}

/** Whether every device below the bridge `port` is `driver`'s. */
export function pci_driver_has_all(port: PciDev, driver: PciDriver): bool {
  for (let entry = devices.next; entry != devices; entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (dev.bus == port.secondary && dev.driver != driver) return false;
  }
  return true;
}

/** A device that was found; its driver comes with device_attach, once it has addresses. */
export function pci_device_add(dev: PciDev): void {
  list_add_tail(dev, devices);
}

/**
 * Takes a device out: from its driver, then from the bus. One that does not answer any more is marked as gone first, so
 * that nobody waits for it. Task context, with the hot-plug lock.
 */
export function pci_stop_and_remove_bus_device(dev: PciDev): void {
  if (!pci_device_is_present(dev)) dev.error_state = pci_channel_io_perm_failure;
  device_release_driver(dev);
  pr_info('pci %S: removed', dev.name);
  list_del_init(dev);
  kfree(dev.resource);
  kfree(dev.name);
  kfree(changetype<usize>(dev));
}
