// Bus numbers and addresses for what firmware left without. What lies behind one bridge is kept as a whole or placed
// anew as a whole, in the bridge's prefetchable window.
import { BAR_WINDOW_BASE, BAR_WINDOW_BYTES } from '../../generated/abi';
import { pr_err, pr_info } from '../../kernel/printk';
import { ListHead } from '../../lib/list';
import {
  IORESOURCE_MEM_64,
  PCI_STD_NUM_BARS,
  PciDev,
  pci_enable_device,
  pci_is_bridge,
  pci_read_config_dword,
  pci_read_config_word,
  pci_resource,
  pci_set_master,
  pci_write_config_byte,
  pci_write_config_dword,
  pci_write_config_word,
} from './pci';
import {
  PCI_BASE_ADDRESS_0,
  PCI_COMMAND,
  PCI_COMMAND_MEMORY,
  PCI_MEMORY_BASE,
  PCI_PREF_BASE_UPPER32,
  PCI_PREF_LIMIT_UPPER32,
  PCI_PREF_MEMORY_BASE,
  PCI_PRIMARY_BUS,
  PCI_SECONDARY_BUS,
  PCI_SUBORDINATE_BUS,
} from './pci_regs';

/** Bridge windows come in units of a megabyte. */
const WINDOW_ALIGN: u32 = 0x10_0000;
/** Base above limit closes a window: base field 0xfff0, limit field 0. */
const WINDOW_CLOSED: u32 = 0x0000_fff0;

/** Gives the bridge bus `number`, and nothing else, behind it. */
export function pci_bridge_set_bus(bridge: PciDev, number: u32): void {
  pci_write_config_byte(bridge, PCI_PRIMARY_BUS, 0);
  pci_write_config_byte(bridge, PCI_SECONDARY_BUS, number);
  pci_write_config_byte(bridge, PCI_SUBORDINATE_BUS, number);
  bridge.secondary = number;
}

/** Whether [start, start + size) is within a window that the bridge has open now. */
function within_window(bridge: PciDev, start: u32, size: u32): bool {
  const pref = pci_read_config_dword(bridge, PCI_PREF_MEMORY_BASE);
  if (pci_read_config_dword(bridge, PCI_PREF_BASE_UPPER32) == 0 && in_fields(pref, start, size)) return true;
  return in_fields(pci_read_config_dword(bridge, PCI_MEMORY_BASE), start, size);
}

/** `fields`: a window's base in the low half, its limit in the high one, both in megabytes from bit 4 on. */
function in_fields(fields: u32, start: u32, size: u32): bool {
  const base = (fields & 0xfff0) << 16;
  const limit = (fields & 0xfff0_0000) | 0xf_ffff;
  return base <= limit && start >= base && start + size - 1 <= limit;
}

/** Whether all BARs on `bus` have addresses that reach them. */
function is_placed(devices: ListHead, bus: u32, bridge: PciDev | null): bool {
  for (let entry = devices.next; entry != devices; entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (dev.bus != bus) continue;
    for (let bar: u32 = 0; bar < PCI_STD_NUM_BARS; bar++) {
      const resource = pci_resource(dev, bar);
      if (resource.size == 0) continue;
      if (resource.start == 0 || (bridge !== null && !within_window(bridge, resource.start, resource.size))) return false;
    }
  }
  return true;
}

/** First address above everything that firmware placed. */
function end_of_placed(devices: ListHead): u32 {
  let end = BAR_WINDOW_BASE;
  for (let entry = devices.next; entry != devices; entry = entry.next) {
    for (let bar: u32 = 0; bar < PCI_STD_NUM_BARS; bar++) {
      const resource = pci_resource(changetype<PciDev>(entry), bar);
      if (resource.size != 0 && resource.start >= BAR_WINDOW_BASE) end = max<u32>(end, resource.start + resource.size);
    }
  }
  return end;
}

function align_up(address: u32, alignment: u32): u32 {
  return (address + alignment - 1) & ~(alignment - 1);
}

/** Places the BARs on `bus` from `from` on; returns the first address behind them. */
function place_bus(devices: ListHead, bus: u32, from: u32): u32 {
  let next = from;
  for (let entry = devices.next; entry != devices; entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (dev.bus != bus) continue;
    pci_write_config_word(dev, PCI_COMMAND, pci_read_config_word(dev, PCI_COMMAND) & ~PCI_COMMAND_MEMORY);
    for (let bar: u32 = 0; bar < PCI_STD_NUM_BARS; bar++) {
      const resource = pci_resource(dev, bar);
      if (resource.size == 0) continue;
      const start = align_up(next, resource.size);
      if (<u64>start + resource.size > <u64>BAR_WINDOW_BASE + BAR_WINDOW_BYTES) {
        pr_err('pci %S: BAR %u [mem size 0x%08x]: failed to assign', dev.name, bar, resource.size);
        resource.size = 0;
        continue;
      }
      resource.start = start;
      next = start + resource.size;
      pci_write_config_dword(dev, PCI_BASE_ADDRESS_0 + (bar << 2), start);
      if (resource.flags & IORESOURCE_MEM_64) pci_write_config_dword(dev, PCI_BASE_ADDRESS_0 + (bar << 2) + 4, 0);
      pr_info('pci %S: BAR %u [mem 0x%08x-0x%08x]: assigned', dev.name, bar, start, next - 1);
    }
  }
  return next;
}

/** Opens the prefetchable window on [base, end), whole megabytes, and closes the other. */
function pci_setup_bridge(bridge: PciDev, base: u32, end: u32): void {
  const fields = base < end ? (base >> 16) | ((end - WINDOW_ALIGN) & 0xfff0_0000) : WINDOW_CLOSED;
  pci_write_config_dword(bridge, PCI_MEMORY_BASE, WINDOW_CLOSED);
  pci_write_config_dword(bridge, PCI_PREF_MEMORY_BASE, fields);
  pci_write_config_dword(bridge, PCI_PREF_BASE_UPPER32, 0);
  pci_write_config_dword(bridge, PCI_PREF_LIMIT_UPPER32, 0);
  if (base < end) pr_info('pci %S:   bridge window [mem 0x%08x-0x%08x 64bit pref]', bridge.name, base, end - 1);
}

/** Gives addresses to what has none, and lets bridges forward in both directions. */
export function pci_assign_resources(devices: ListHead): void {
  let next = align_up(end_of_placed(devices), WINDOW_ALIGN);
  if (!is_placed(devices, 0, null)) next = align_up(place_bus(devices, 0, next), WINDOW_ALIGN);
  for (let entry = devices.next; entry != devices; entry = entry.next) {
    const bridge = changetype<PciDev>(entry);
    if (!pci_is_bridge(bridge)) continue;
    if (!is_placed(devices, bridge.secondary, bridge)) {
      const end = align_up(place_bus(devices, bridge.secondary, next), WINDOW_ALIGN);
      pci_setup_bridge(bridge, next, end);
      next = end;
    }
    pci_enable_device(bridge);
    pci_set_master(bridge);
  }
}
