// Which driver has which device: tables of ids, as struct pci_device_id.
import { ListHead } from '../../lib/list';
import { PciDev } from './pci';
import { pci_devices } from './probe';

// @ts-ignore: decorator
@unmanaged export class PciDriver {
  /** String literal. */
  name: usize;
  /** Words of (device << 16 | vendor), ended by 0. */
  id_table: usize;
  probe: (dev: PciDev) => bool;
}

function pci_match_device(driver: PciDriver, dev: PciDev): bool {
  for (let at = driver.id_table; load<u32>(at) != 0; at += 4) {
    if (load<u32>(at) == ((dev.device << 16) | dev.vendor)) return true;
  }
  return false;
}

/** Offers the driver every device that it knows and that nobody has. */
export function pci_register_driver(driver: PciDriver): void {
  const devices: ListHead = pci_devices();
  for (let entry = devices.next; entry != devices; entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (dev.driver_name != 0 || !pci_match_device(driver, dev)) continue;
    dev.driver_name = driver.name;
    if (!driver.probe(dev)) dev.driver_name = 0;
  }
}
