// PCI devices as drivers see them: configuration space through ECAM, capabilities, resources.
import { readb, readl, readw, writeb, writel, writew } from '../../asm/io';
import { boot_params } from '../../asm/setup';
import { Device } from '../base/device';
import {
  PCI_CAPABILITY_LIST,
  PCI_COMMAND,
  PCI_COMMAND_MASTER,
  PCI_COMMAND_MEMORY,
  PCI_HEADER_TYPE_BRIDGE,
  PCI_HEADER_TYPE_MASK,
  PCI_STATUS,
  PCI_STATUS_CAP_LIST,
} from './pci_regs';

export const PCI_STD_NUM_BARS: u32 = 6;
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
  /** PCI_STD_NUM_BARS Resource records. */
  resource: usize;
  /** The driver's own. */
  drvdata: usize;
  /** MSI-X: where the table lies, how many vectors are set up, the interrupt vector of each (u32). */
  msix_table: usize;
  msix_count: u32;
  msix_vectors: usize;
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

export function pci_read_config_byte(dev: PciDev, at: u32): u32 { return readb(config(dev) + at); }
export function pci_read_config_word(dev: PciDev, at: u32): u32 { return readw(config(dev) + at); }
export function pci_read_config_dword(dev: PciDev, at: u32): u32 { return readl(config(dev) + at); }
export function pci_write_config_byte(dev: PciDev, at: u32, value: u32): void { writeb(<u8>value, config(dev) + at); }
export function pci_write_config_word(dev: PciDev, at: u32, value: u32): void { writew(<u16>value, config(dev) + at); }
export function pci_write_config_dword(dev: PciDev, at: u32, value: u32): void { writel(value, config(dev) + at); }

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

/** Turns on the device's memory decode. */
export function pci_enable_device(dev: PciDev): void {
  pci_write_config_word(dev, PCI_COMMAND, pci_read_config_word(dev, PCI_COMMAND) | PCI_COMMAND_MEMORY);
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
