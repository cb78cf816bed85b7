// Finding what is there: bus 0, and behind each bridge. Bus numbers and addresses that firmware gave are kept, others are
// given (setup_bus). A machine without PCI costs one read.
import { readl } from '../../asm/io';
import { boot_params } from '../../asm/setup';
import { pr_info } from '../../kernel/printk';
import { str } from '../../lib/string';
import { scnprintf } from '../../lib/vsprintf';
import { kmalloc } from '../../mm/slab';
import { device_attach, pci_device_add, pci_devices, pci_bus_init, pci_stop_and_remove_bus_device } from './bus';
import {
  IORESOURCE_MEM,
  IORESOURCE_MEM_64,
  IORESOURCE_PREFETCH,
  PCI_FUNC,
  PCI_SLOT,
  PCI_STD_NUM_BARS,
  PciDev,
  Resource,
  pci_aer_init,
  pci_channel_io_normal,
  pci_channel_io_perm_failure,
  pci_device_is_present,
  pci_ecam_map_bus,
  pci_find_capability,
  pci_id_is_valid,
  pci_is_bridge,
  pci_read_config_byte,
  pci_read_config_dword,
  pci_read_config_word,
  pci_resource,
  pci_write_config_dword,
  pci_write_config_word,
} from './pci';
import {
  PCI_BASE_ADDRESS_0,
  PCI_BASE_ADDRESS_MEM_PREFETCH,
  PCI_BASE_ADDRESS_MEM_TYPE_64,
  PCI_BASE_ADDRESS_SPACE_IO,
  PCI_CAP_ID_EXP,
  PCI_CAP_ID_MSIX,
  PCI_CLASS_REVISION,
  PCI_COMMAND,
  PCI_COMMAND_MEMORY,
  PCI_EXP_FLAGS,
  PCI_EXP_TYPE_ROOT_PORT,
  PCI_HEADER_TYPE,
  PCI_HEADER_TYPE_BRIDGE,
  PCI_HEADER_TYPE_MASK,
  PCI_HEADER_TYPE_MFD,
  PCI_SECONDARY_BUS,
  PCI_VENDOR_ID,
} from './pci_regs';
import { pci_assign_resources, pci_bridge_set_bus } from './setup_bus';

const DEVICES_PER_BUS: u32 = 32;

/** Learns size and address of each memory BAR. Decode is off meanwhile: a BAR of all ones answers at odd places. */
function pci_read_bases(dev: PciDev, count: u32): void {
  const command = pci_read_config_word(dev, PCI_COMMAND);
  pci_write_config_word(dev, PCI_COMMAND, command & ~PCI_COMMAND_MEMORY);
  for (let bar: u32 = 0; bar < count; bar++) {
    const at = PCI_BASE_ADDRESS_0 + (bar << 2);
    const former = pci_read_config_dword(dev, at);
    pci_write_config_dword(dev, at, 0xffff_ffff);
    const mask = pci_read_config_dword(dev, at);
    pci_write_config_dword(dev, at, former);
    if (mask == 0 || (mask & PCI_BASE_ADDRESS_SPACE_IO) != 0) continue;
    const resource = pci_resource(dev, bar);
    resource.flags = IORESOURCE_MEM;
    if (mask & PCI_BASE_ADDRESS_MEM_PREFETCH) resource.flags |= IORESOURCE_PREFETCH;
    resource.size = ~(mask & ~15) + 1;
    resource.start = former & ~15;
    if ((mask & PCI_BASE_ADDRESS_MEM_TYPE_64) == 0) continue;
    resource.flags |= IORESOURCE_MEM_64;
    bar++;
    // RAM and windows lie below 4 GiB: an address beyond counts as none.
    if (pci_read_config_dword(dev, at + 4) != 0) resource.start = 0;
  }
  pci_write_config_word(dev, PCI_COMMAND, command);
}

function pcie_type_name(dev: PciDev): usize {
  if (dev.pcie_cap == 0) return str('conventional PCI');
  const type = (pci_read_config_word(dev, dev.pcie_cap + PCI_EXP_FLAGS) >> 4) & 15;
  return type == PCI_EXP_TYPE_ROOT_PORT ? str('PCIe Root Port') : str('PCIe Endpoint');
}

function pci_setup_device(bus: u32, devfn: u32, id: u32): PciDev {
  const dev = changetype<PciDev>(kmalloc(offsetof<PciDev>()));
  dev.error_state = pci_channel_io_normal;
  dev.bus = bus;
  dev.devfn = devfn;
  dev.vendor = id & 0xffff;
  dev.device = id >> 16;
  dev.name = kmalloc(16);
  scnprintf(dev.name, 15, '0000:%02x:%02x.%u', bus, PCI_SLOT(devfn), PCI_FUNC(devfn));
  dev.resource = kmalloc(PCI_STD_NUM_BARS * offsetof<Resource>());
  dev.class_code = pci_read_config_dword(dev, PCI_CLASS_REVISION) >> 8;
  dev.hdr_type = pci_read_config_byte(dev, PCI_HEADER_TYPE);
  dev.pcie_cap = pci_find_capability(dev, PCI_CAP_ID_EXP);
  dev.msix_cap = pci_find_capability(dev, PCI_CAP_ID_MSIX);
  pr_info(
    'pci %S: [%04x:%04x] type %02x class 0x%06x %s', dev.name, dev.vendor, dev.device,
    dev.hdr_type & PCI_HEADER_TYPE_MASK, dev.class_code, pcie_type_name(dev),
  );
  if (!pci_is_bridge(dev)) pci_read_bases(dev, PCI_STD_NUM_BARS);
  for (let bar: u32 = 0; bar < PCI_STD_NUM_BARS; bar++) {
    const resource = pci_resource(dev, bar);
    if (resource.size == 0) continue;
    pr_info(
      'pci %S: BAR %u [mem 0x%08x-0x%08x%s%s]', dev.name, bar, resource.start, resource.start + resource.size - 1,
      resource.flags & IORESOURCE_MEM_64 ? str(' 64bit') : str(''),
      resource.flags & IORESOURCE_PREFETCH ? str(' pref') : str(''),
    );
  }
  pci_aer_init(dev);
  pci_device_add(dev);
  return dev;
}

/** The device that was found at `devfn`, or null. */
function pci_get_slot(bus: u32, devfn: u32): PciDev | null {
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (dev.bus == bus && dev.devfn == devfn) return dev;
  }
  return null;
}

/** Functions of the device in `slot`; other functions than the first exist only in a multi-function device. */
function pci_scan_slot(bus: u32, slot: u32): void {
  for (let fn: u32 = 0; fn < 8; fn++) {
    const devfn = (slot << 3) + fn;
    const id = readl(pci_ecam_map_bus(bus, devfn) + PCI_VENDOR_ID);
    if (!pci_id_is_valid(id)) {
      if (fn == 0) return;
      continue;
    }
    const known = pci_get_slot(bus, devfn);
    const dev = known !== null ? known : pci_setup_device(bus, devfn, id);
    if (fn == 0 && (dev.hdr_type & PCI_HEADER_TYPE_MFD) == 0) return;
  }
}

/** Bridges lie on bus 0, and a link has one device: nothing deeper exists on this platform. */
function pci_scan_bridges(): void {
  let next_bus: u32 = 1;
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (dev.bus != 0 || !pci_is_bridge(dev)) continue;
    dev.secondary = pci_read_config_byte(dev, PCI_SECONDARY_BUS);
    if (dev.secondary == 0 || dev.secondary < next_bus) pci_bridge_set_bus(dev, next_bus);
    next_bus = dev.secondary + 1;
    pr_info('pci %S: PCI bridge to [bus %02x]', dev.name, dev.secondary);
    pci_scan_slot(dev.secondary, 0);
  }
}

/** Takes out what answers no more on `bus`, and what has made room for something else. */
function pci_remove_absent(bus: u32): void {
  for (let entry = pci_devices().next; entry != pci_devices(); ) {
    const dev = changetype<PciDev>(entry);
    entry = entry.next;
    if (dev.bus == bus && !pci_device_is_present(dev)) pci_stop_and_remove_bus_device(dev);
  }
}

/**
 * Looks again at what is behind each bridge: what has gone is taken out, what has come is given an address and a driver.
 * Task context, with the hot-plug lock.
 */
export function pci_rescan(): void {
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const bridge = changetype<PciDev>(entry);
    if (bridge.bus != 0 || !pci_is_bridge(bridge)) continue;
    pci_remove_absent(bridge.secondary);
    pci_scan_slot(bridge.secondary, 0);
  }
  pci_assign_resources(pci_devices());
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    device_attach(changetype<PciDev>(entry));
  }
}

/** Whether anything was found on `bus`. */
export function pci_bus_has_devices(bus: u32): bool {
  return pci_get_slot(bus, 0) !== null;
}

/** Finds what is behind `bridge`, and gives it addresses and drivers; false if there is nothing, or was something already. */
export function pci_configure_bus(bridge: PciDev): bool {
  if (pci_bus_has_devices(bridge.secondary)) return false;
  pci_scan_slot(bridge.secondary, 0);
  const dev = pci_get_slot(bridge.secondary, 0);
  if (dev === null) return false;
  pci_assign_resources(pci_devices());
  device_attach(dev);
  return true;
}

/** Takes out what is behind `bridge`. Not `safe`: it is gone, whatever answers in its place by now. */
export function pci_unconfigure_bus(bridge: PciDev, safe: bool): void {
  for (let entry = pci_devices().next; entry != pci_devices(); ) {
    const dev = changetype<PciDev>(entry);
    entry = entry.next;
    if (dev.bus != bridge.secondary) continue;
    if (!safe) dev.error_state = pci_channel_io_perm_failure;
    pci_stop_and_remove_bus_device(dev);
  }
}

/** Boot CPU: finds all devices and gives each an address. Returns whether there is PCI at all. */
export function pci_subsys_init(): bool {
  pci_bus_init();
  if (boot_params().ecam_bytes == 0) return false;
  // The host bridge is always there where there is PCI.
  if (!pci_id_is_valid(readl(pci_ecam_map_bus(0, 0) + PCI_VENDOR_ID))) return false;
  pr_info(
    'PCI: ECAM [mem 0x%08x-0x%08x] (base 0x%08x) for domain 0000', boot_params().ecam_base,
    boot_params().ecam_base + boot_params().ecam_bytes - 1, boot_params().ecam_base,
  );
  for (let slot: u32 = 0; slot < DEVICES_PER_BUS; slot++) pci_scan_slot(0, slot);
  pci_scan_bridges();
  pci_assign_resources(pci_devices());
  return true;
}
