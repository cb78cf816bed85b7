// PCI devices as drivers see them: configuration space through ECAM, capabilities, resources.
import { readb, readl, readw, writeb, writel, writew } from '../../asm/io';
import { boot_params } from '../../asm/setup';
import { ListHead } from '../../lib/list';
import { Device } from '../base/device';
import {
  PCI_BASE_ADDRESS_0,
  PCI_CAPABILITY_LIST,
  PCI_COMMAND,
  PCI_COMMAND_MASTER,
  PCI_COMMAND_MEMORY,
  PCI_EXP_DEVCTL,
  PCI_EXP_DEVCTL_REPORTING,
  PCI_EXT_CAP_ID_ERR,
  PCI_HEADER_TYPE_BRIDGE,
  PCI_HEADER_TYPE_MASK,
  PCI_STATUS,
  PCI_STATUS_CAP_LIST,
  PCI_VENDOR_ID,
} from './pci_regs';

export const PCI_STD_NUM_BARS: u32 = 6;
const PCI_CFG_SPACE_SIZE: u32 = 0x100;
const PCI_FIND_EXT_CAP_TTL = 480;
/** Capabilities that fit into the 192 bytes behind the header: a list that is longer has a loop in it. */
const PCI_FIND_CAP_TTL = 48;

export const IORESOURCE_MEM: u32 = 0x200;
export const IORESOURCE_PREFETCH: u32 = 0x2000;
export const IORESOURCE_MEM_64: u32 = 0x10_0000;

// @ts-ignore: decorator
@unmanaged export class PciDev extends Device {
  bus: u32;
  devfn: u32;
  vendor: u32;
  device: u32;
  /** Class code, 24 bits. */
  class_code: u32;
  hdr_type: u32;
  pcie_cap: u32;
  msix_cap: u32;
  /** Of a bridge. */
  secondary: u32;
  /** pci_channel_*: whether the device can be reached. */
  error_state: u32;
  /** Its driver has taken it down, and not set it up again. */
  is_suspended: bool;
  driver: PciDriver | null;
  /** PCI_STD_NUM_BARS Resource records. */
  resource: usize;
  /** The driver's own. */
  drvdata: usize;
  /** MSI: the interrupt vector; 0 while there is none. */
  msi_vector: u32;
  /** MSI-X: where the table lies, how many vectors are set up, the interrupt vector of each (u32). */
  msix_table: usize;
  msix_count: u32;
  msix_vectors: usize;
}

// Whether a device can be reached: all is well; it is cut off for now, and will be reset; it is gone.
export const pci_channel_io_normal: u32 = 1;
export const pci_channel_io_frozen: u32 = 2;
export const pci_channel_io_perm_failure: u32 = 3;

// What a driver answers an error handler, and what comes of several drivers' answers.
export const PCI_ERS_RESULT_CAN_RECOVER: u32 = 2;
export const PCI_ERS_RESULT_NEED_RESET: u32 = 3;
export const PCI_ERS_RESULT_DISCONNECT: u32 = 4;
export const PCI_ERS_RESULT_RECOVERED: u32 = 5;
export const PCI_ERS_RESULT_NO_AER_DRIVER: u32 = 6;

/** A driver's part in recovery from errors: see err.ts. Each but the first may be missing. */
// @ts-ignore: decorator
@unmanaged export class PciErrorHandlers {
  /** Stop using the device, which is in `state` (pci_channel_*); what would be needed to go on? */
  error_detected: (dev: PciDev, state: u32) => u32;
  /** Registers can be read again, DMA is off: can it go on without a reset? */
  mmio_enabled: ((dev: PciDev) => u32) | null;
  /** The device was reset: set it up as after power-on. */
  slot_reset: ((dev: PciDev) => u32) | null;
  /** All is well again: traffic may go on. */
  resume: ((dev: PciDev) => void) | null;
}

/** On the list of drivers. */
// @ts-ignore: decorator
@unmanaged export class PciDriver extends ListHead {
  /** String literal. */
  name: usize;
  /** Words of (device << 16 | vendor), ended by 0. */
  id_table: usize;
  probe: (dev: PciDev) => bool;
  /** Undoes probe, also of a device that does not answer any more. Nothing of it may stay in use. */
  remove: (dev: PciDev) => void;
  err_handler: PciErrorHandlers | null;
  /** Takes the device down, so that it touches memory no more; what the driver offers to others stays. May be missing. */
  suspend: ((dev: PciDev) => bool) | null;
  /** Undoes suspend, of a device that is as after power-on but for its addresses. */
  resume: ((dev: PciDev) => bool) | null;
}

/** What a BAR asks for and has. */
// @ts-ignore: decorator
@unmanaged export class Resource {
  start: u32;
  /** 0: there is none. */
  size: u32;
  flags: u32;
}

// @ts-ignore: decorator
@inline export function pci_resource(dev: PciDev, bar: u32): Resource {
  return changetype<Resource>(dev.resource + bar * offsetof<Resource>());
}

// @ts-ignore: decorator
@inline export function PCI_SLOT(devfn: u32): u32 { return devfn >> 3; }
// @ts-ignore: decorator
@inline export function PCI_FUNC(devfn: u32): u32 { return devfn & 7; }

export function pci_is_bridge(dev: PciDev): bool {
  return (dev.hdr_type & PCI_HEADER_TYPE_MASK) == PCI_HEADER_TYPE_BRIDGE;
}

/** Where a function's configuration space lies. 7.2.2 */
// @ts-ignore: decorator
@inline export function pci_ecam_map_bus(bus: u32, devfn: u32): usize {
  return boot_params().ecam_base + (bus << 20) + (devfn << 12);
}

// @ts-ignore: decorator
@inline function config(dev: PciDev): usize { return pci_ecam_map_bus(dev.bus, dev.devfn); }

/** A device that is gone is not asked any more: reads give all ones, as they would, and writes go nowhere. */
// @ts-ignore: decorator
@inline function gone(dev: PciDev): bool { return dev.error_state == pci_channel_io_perm_failure; }

export function pci_read_config_byte(dev: PciDev, at: u32): u32 { return gone(dev) ? 0xff : readb(config(dev) + at); }
export function pci_read_config_word(dev: PciDev, at: u32): u32 {
  return gone(dev) ? 0xffff : readw(config(dev) + at);
}
export function pci_read_config_dword(dev: PciDev, at: u32): u32 {
  return gone(dev) ? 0xffff_ffff : readl(config(dev) + at);
}
export function pci_write_config_byte(dev: PciDev, at: u32, value: u32): void {
  if (!gone(dev)) writeb(<u8>value, config(dev) + at);
}
export function pci_write_config_word(dev: PciDev, at: u32, value: u32): void {
  if (!gone(dev)) writew(<u16>value, config(dev) + at);
}
export function pci_write_config_dword(dev: PciDev, at: u32, value: u32): void {
  if (!gone(dev)) writel(value, config(dev) + at);
}

/** Whether a vendor and device id names a device; what else there is to read where none answers. */
export function pci_id_is_valid(id: u32): bool {
  return id != 0xffff_ffff && id != 0 && id != 0x0000_ffff && id != 0xffff_0000;
}

/** Whether the device that was found still answers, and is still the same kind. */
export function pci_device_is_present(dev: PciDev): bool {
  return pci_read_config_dword(dev, PCI_VENDOR_ID) == ((dev.device << 16) | dev.vendor);
}

/** Whether the device is known to be gone. */
export function pci_dev_is_disconnected(dev: PciDev): bool { return gone(dev); }

/** Whether the device can't be reached, for now or for good: nothing is to be asked of it. */
export function pci_channel_offline(dev: PciDev): bool { return dev.error_state != pci_channel_io_normal; }

/** Offset of the capability `id`, or 0. */
export function pci_find_capability(dev: PciDev, id: u32): u32 {
  if ((pci_read_config_word(dev, PCI_STATUS) & PCI_STATUS_CAP_LIST) == 0) return 0;
  let at = pci_read_config_byte(dev, PCI_CAPABILITY_LIST) & ~3;
  for (let ttl = PCI_FIND_CAP_TTL; ttl > 0 && at >= 0x40; ttl--) {
    const header = pci_read_config_word(dev, at);
    if ((header & 0xff) == 0xff) return 0;
    if ((header & 0xff) == id) return at;
    at = (header >> 8) & ~3;
  }
  return 0;
}

/** Offset of the extended capability `id`, or 0. 7.6.3 */
export function pci_find_ext_capability(dev: PciDev, id: u32): u32 {
  let at: u32 = PCI_CFG_SPACE_SIZE;
  for (let ttl = PCI_FIND_EXT_CAP_TTL; ttl > 0 && at >= PCI_CFG_SPACE_SIZE; ttl--) {
    const header = pci_read_config_dword(dev, at);
    if (header == 0 || header == 0xffff_ffff) return 0;
    if ((header & 0xffff) == id) return at;
    at = (header >> 20) & ~3;
  }
  return 0;
}

/** Turns on the device's memory decode. */
export function pci_enable_device(dev: PciDev): void {
  pci_write_config_word(dev, PCI_COMMAND, pci_read_config_word(dev, PCI_COMMAND) | PCI_COMMAND_MEMORY);
}

/** Keeps the device from memory and interrupts. */
export function pci_disable_device(dev: PciDev): void {
  pci_write_config_word(dev, PCI_COMMAND, pci_read_config_word(dev, PCI_COMMAND) & ~PCI_COMMAND_MASTER);
}

/** After a reset: gives the device its addresses again. What its driver turns on, the driver turns on again. */
export function pci_restore_bars(dev: PciDev): void {
  for (let bar: u32 = 0; bar < PCI_STD_NUM_BARS; bar++) {
    const resource = pci_resource(dev, bar);
    if (resource.size == 0) continue;
    pci_write_config_dword(dev, PCI_BASE_ADDRESS_0 + (bar << 2), resource.start);
    if (resource.flags & IORESOURCE_MEM_64) pci_write_config_dword(dev, PCI_BASE_ADDRESS_0 + (bar << 2) + 4, 0);
  }
}

/** A device with Advanced Error Reporting is to report errors; after a reset it has to be told again. */
export function pci_aer_init(dev: PciDev): void {
  if (dev.pcie_cap == 0 || pci_find_ext_capability(dev, PCI_EXT_CAP_ID_ERR) == 0) return;
  const control = dev.pcie_cap + PCI_EXP_DEVCTL;
  pci_write_config_word(dev, control, pci_read_config_word(dev, control) | PCI_EXP_DEVCTL_REPORTING);
}

/** Lets the device reach memory and send interrupts. */
export function pci_set_master(dev: PciDev): void {
  pci_write_config_word(dev, PCI_COMMAND, pci_read_config_word(dev, PCI_COMMAND) | PCI_COMMAND_MASTER);
}

/** Where a memory BAR is reached; 0 if it has no address. */
export function pci_iomap(dev: PciDev, bar: u32): usize {
  const resource = pci_resource(dev, bar);
  return resource.size != 0 ? <usize>resource.start : 0;
}
