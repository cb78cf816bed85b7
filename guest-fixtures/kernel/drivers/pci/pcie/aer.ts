// AER: the service of a root port that hears of errors below it and has them recovered from (drivers/pci/pcie/aer.c;
// PCI Express 6.2, 7.8.4).
import { hotplug_lock } from '../../../kernel/hotplug';
import { pr_err, pr_info } from '../../../kernel/printk';
import { INIT_WORK, WorkStruct, schedule_work } from '../../../kernel/workqueue';
import { str } from '../../../lib/string';
import { kmalloc } from '../../../mm/slab';
import { pci_devices } from '../bus';
import { pci_bridge_secondary_bus_reset, pcie_do_recovery } from '../err';
import {
  PCI_FUNC,
  PCI_SLOT,
  PciDev,
  pci_channel_io_frozen,
  pci_channel_io_normal,
  pci_find_ext_capability,
  pci_read_config_dword,
  pci_read_config_word,
  pci_write_config_dword,
  pci_write_config_word,
} from '../pci';
import {
  PCI_ERR_CAP,
  PCI_ERR_COR_STATUS,
  PCI_ERR_ROOT_CMD_ALL,
  PCI_ERR_ROOT_COMMAND,
  PCI_ERR_ROOT_COR_RCV,
  PCI_ERR_ROOT_ERR_SRC,
  PCI_ERR_ROOT_FATAL_RCV,
  PCI_ERR_ROOT_MULTI_COR_RCV,
  PCI_ERR_ROOT_MULTI_UNCOR_RCV,
  PCI_ERR_ROOT_STATUS,
  PCI_ERR_ROOT_UNCOR_RCV,
  PCI_ERR_UNCOR_MASK,
  PCI_ERR_UNCOR_STATUS,
  PCI_EXP_DEVCTL,
  PCI_EXP_DEVCTL_REPORTING,
  PCI_EXP_DEVSTA,
  PCI_EXT_CAP_ID_ERR,
} from '../pci_regs';
import { PciePortService, pcie_port_service_register } from './portdrv';

/** Messages that wait to be dealt with; more are dropped. A power of two. */
const FIFO_ENTRIES: u32 = 128;
const FIFO_ENTRY_BYTES: u32 = 8;

// @ts-ignore: decorator
@unmanaged class RootPortErrors {
  port: PciDev;
  /** Of the capability. */
  at: u32;
  work: WorkStruct;
  /** Pairs of Root Error Status and Error Source. */
  fifo: usize;
  /** Entries ever put in, and ever taken out. */
  put: u32;
  taken: u32;
}

const service = changetype<PciePortService>(memory.data(32, 16));

/** An uncorrectable error by its bit in the status register (7.8.4.2), in Linux's words. */
function error_name(bit: u32): usize {
  switch (bit) {
    case 4: return str('DLP');
    case 5: return str('SDES');
    case 12: return str('TLP');
    case 13: return str('FCP');
    case 14: return str('CmpltTO');
    case 15: return str('CmpltAbrt');
    case 16: return str('UnxCmplt');
    case 17: return str('RxOF');
    case 18: return str('MalfTLP');
    case 19: return str('ECRC');
    case 20: return str('UnsupReq');
    case 21: return str('ACSViol');
    case 22: return str('UncorrIntErr');
    default: return str('Unknown Error Bit');
  }
}

function driver_name(dev: PciDev): usize {
  return dev.driver_name != 0 ? dev.driver_name : str('pci');
}

/** Clears what the port and everything below it had latched, and lets errors interrupt. */
function aer_enable_rootport(rpc: RootPortErrors): void {
  const port = rpc.port;
  pci_write_config_word(port, port.pcie_cap + PCI_EXP_DEVSTA, pci_read_config_word(port, port.pcie_cap + PCI_EXP_DEVSTA));
  clear_register(port, rpc.at + PCI_ERR_ROOT_STATUS);
  clear_register(port, rpc.at + PCI_ERR_COR_STATUS);
  clear_register(port, rpc.at + PCI_ERR_UNCOR_STATUS);
  const control = port.pcie_cap + PCI_EXP_DEVCTL;
  pci_write_config_word(port, control, pci_read_config_word(port, control) | PCI_EXP_DEVCTL_REPORTING);
  pci_write_config_dword(port, rpc.at + PCI_ERR_ROOT_COMMAND, PCI_ERR_ROOT_CMD_ALL);
}

/** Writes back what it holds, of a register whose bits are cleared so. */
function clear_register(dev: PciDev, at: u32): void {
  pci_write_config_dword(dev, at, pci_read_config_dword(dev, at));
}

function aer_irq(data: usize): bool {
  const rpc = changetype<RootPortErrors>(data);
  const status = pci_read_config_dword(rpc.port, rpc.at + PCI_ERR_ROOT_STATUS);
  if ((status & (PCI_ERR_ROOT_UNCOR_RCV | PCI_ERR_ROOT_COR_RCV)) == 0) return false;
  const source = pci_read_config_dword(rpc.port, rpc.at + PCI_ERR_ROOT_ERR_SRC);
  pci_write_config_dword(rpc.port, rpc.at + PCI_ERR_ROOT_STATUS, status);
  if (rpc.put - rpc.taken < FIFO_ENTRIES) {
    const entry = rpc.fifo + (rpc.put & (FIFO_ENTRIES - 1)) * FIFO_ENTRY_BYTES;
    store<u32>(entry, status);
    store<u32>(entry, source, 4);
    rpc.put++;
    schedule_work(rpc.work);
  }
  return true;
}

function print_received(rpc: RootPortErrors, multiple: bool, severity: usize, source: u32): void {
  pr_info(
    'pcieport %S: AER: %s%s error message received from 0000:%02x:%02x.%u', rpc.port.name,
    multiple ? str('Multiple ') : str(''), severity, source >> 8, PCI_SLOT(source & 0xff), PCI_FUNC(source & 0xff),
  );
}

/** The port or the device below it that `source` names; null if nothing is known of it. */
function find_source_device(rpc: RootPortErrors, source: u32): PciDev | null {
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (dev.bus != rpc.port.secondary && dev != rpc.port) continue;
    if (((dev.bus << 8) | dev.devfn) == source) return dev;
  }
  pr_info(
    'pcieport %S: AER: found no error details for 0000:%02x:%02x.%u', rpc.port.name, source >> 8,
    PCI_SLOT(source & 0xff), PCI_FUNC(source & 0xff),
  );
  return null;
}

/** What the device has latched, unmasked, in words; false if that is nothing. */
function print_details(dev: PciDev, at: u32): bool {
  const mask = pci_read_config_dword(dev, at + PCI_ERR_UNCOR_MASK);
  const status = pci_read_config_dword(dev, at + PCI_ERR_UNCOR_STATUS);
  if ((status & ~mask) == 0) return false;
  const first = pci_read_config_dword(dev, at + PCI_ERR_CAP) & 0x1f;
  pr_err(
    '%s %S: PCIe Bus Error: severity=Uncorrectable (Non-Fatal), type=Transaction Layer, (%s ID)', driver_name(dev),
    dev.name, first == 14 ? str('Requester') : str('Receiver'),
  );
  pr_err('%s %S:   device [%04x:%04x] error status/mask=%08x/%08x', driver_name(dev), dev.name, dev.vendor, dev.device, status, mask);
  for (let bit: u32 = 0; bit < 32; bit++) {
    if (((status & ~mask) & (1 << bit)) == 0) continue;
    pr_err('%s %S:    [%2u] %s%s', driver_name(dev), dev.name, bit, error_name(bit), bit == first ? str(' (First)') : str(''));
  }
  return true;
}

/** Registers of a device that is cut off say nothing: it is reset, whatever it was. */
function recover_fatal(rpc: RootPortErrors, dev: PciDev): void {
  if (dev != rpc.port) {
    pr_err(
      '%s %S: AER: PCIe Bus Error: severity=Uncorrectable (Fatal), type=Inaccessible, (Unregistered Agent ID)',
      driver_name(dev), dev.name,
    );
  }
  pci_write_config_dword(rpc.port, rpc.at + PCI_ERR_ROOT_COMMAND, 0);
  pcie_do_recovery(rpc.port, pci_channel_io_frozen, pci_bridge_secondary_bus_reset);
  // What was reported meanwhile was of the recovery's own making.
  clear_register(rpc.port, rpc.at + PCI_ERR_ROOT_STATUS);
  pci_write_config_dword(rpc.port, rpc.at + PCI_ERR_ROOT_COMMAND, PCI_ERR_ROOT_CMD_ALL);
}

function recover_nonfatal(rpc: RootPortErrors, dev: PciDev): void {
  const at = pci_find_ext_capability(dev, PCI_EXT_CAP_ID_ERR);
  if (at == 0 || !print_details(dev, at)) return;
  pcie_do_recovery(rpc.port, pci_channel_io_normal, pci_bridge_secondary_bus_reset);
  clear_register(dev, at + PCI_ERR_UNCOR_STATUS);
  pci_write_config_word(dev, dev.pcie_cap + PCI_EXP_DEVSTA, pci_read_config_word(dev, dev.pcie_cap + PCI_EXP_DEVSTA));
}

function aer_isr_one_error(rpc: RootPortErrors, status: u32, source: u32): void {
  if (status & PCI_ERR_ROOT_COR_RCV) {
    const id = source & 0xffff;
    print_received(rpc, (status & PCI_ERR_ROOT_MULTI_COR_RCV) != 0, str('Correctable'), id);
    const dev = find_source_device(rpc, id);
    const at = dev !== null ? pci_find_ext_capability(dev, PCI_EXT_CAP_ID_ERR) : 0;
    if (dev !== null && at != 0) clear_register(dev, at + PCI_ERR_COR_STATUS);
  }
  if ((status & PCI_ERR_ROOT_UNCOR_RCV) == 0) return;
  const id = source >> 16;
  const fatal = (status & PCI_ERR_ROOT_FATAL_RCV) != 0;
  const severity = fatal ? str('Uncorrectable (Fatal)') : str('Uncorrectable (Non-Fatal)');
  print_received(rpc, (status & PCI_ERR_ROOT_MULTI_UNCOR_RCV) != 0, severity, id);
  const dev = find_source_device(rpc, id);
  if (dev === null) return;
  if (fatal) recover_fatal(rpc, dev);
  else recover_nonfatal(rpc, dev);
}

/** With the hot-plug lock: recovery takes drivers and devices apart. */
function aer_isr(work: WorkStruct): void {
  const rpc = changetype<RootPortErrors>(work.data);
  while (rpc.taken != rpc.put) {
    const entry = rpc.fifo + (rpc.taken & (FIFO_ENTRIES - 1)) * FIFO_ENTRY_BYTES;
    const status = load<u32>(entry);
    const source = load<u32>(entry, 4);
    rpc.taken++;
    aer_isr_one_error(rpc, status, source);
  }
}

function aer_probe(port: PciDev): usize {
  const at = pci_find_ext_capability(port, PCI_EXT_CAP_ID_ERR);
  if (at == 0) return 0;
  const rpc = changetype<RootPortErrors>(kmalloc(offsetof<RootPortErrors>()));
  rpc.port = port;
  rpc.at = at;
  rpc.fifo = kmalloc(FIFO_ENTRIES * FIFO_ENTRY_BYTES);
  rpc.work = changetype<WorkStruct>(kmalloc(offsetof<WorkStruct>()));
  INIT_WORK(rpc.work, aer_isr, changetype<usize>(rpc), hotplug_lock());
  return changetype<usize>(rpc);
}

function aer_enable(data: usize): void {
  const rpc = changetype<RootPortErrors>(data);
  aer_enable_rootport(rpc);
  pr_info('pcieport %S: AER: enabled', rpc.port.name);
}

/** Boot CPU. */
export function pcie_aer_init(): void {
  service.name = str('aer');
  service.probe = aer_probe;
  service.enable = aer_enable;
  service.irq = aer_irq;
  pcie_port_service_register(service);
}
