// portdrv: root ports and the services they carry (drivers/pci/pcie/portdrv.c). A port has one interrupt message for all
// of its services, so each is asked whether it was its own.
import { param_is } from '../../../kernel/params';
import { BUG_ON } from '../../../kernel/panic';
import { pr_err } from '../../../kernel/printk';
import { ListHead, INIT_LIST_HEAD, list_add_tail } from '../../../lib/list';
import { str } from '../../../lib/string';
import { kmalloc } from '../../../mm/slab';
import { pci_register_driver } from '../bus';
import { pci_enable_msi } from '../msi';
import { PciDev, PciDriver, pci_read_config_word } from '../pci';
import { PCI_EXP_FLAGS, PCI_EXP_TYPE_ROOT_PORT } from '../pci_regs';

/** Services that a port can carry. */
const PCIE_PORT_SERVICES_MAX: u32 = 4;

/** A service that ports may have. */
// @ts-ignore: decorator
@unmanaged export class PciePortService extends ListHead {
  /** String literal. */
  name: usize;
  /** Its number among the services, in the order in which they are registered. */
  index: u32;
  /** Looks whether the port has the service, which is quiet yet; returns its own data, 0 if the port has it not. */
  probe: (port: PciDev) => usize;
  /** Lets the service interrupt, which finds its data from here on. */
  enable: (data: usize) => void;
  /** The port's interrupt, with interrupts disabled: whether it was the service's. `data` is what probe returned. */
  irq: (data: usize) => bool;
}

/** What a port carries. */
// @ts-ignore: decorator
@unmanaged class PciePort {
  /** Each service's own data, by its index (usize); 0 where the port has it not. */
  data: usize;
}

const services = changetype<ListHead>(memory.data(16, 16));
const service_count = memory.data(4, 4);
const driver = changetype<PciDriver>(memory.data(48, 16));

/** 5520/X58 I/O Hub PCI Express Root Port. Linux goes by class; this platform has one kind. */
const id_table = memory.data<u32>([0x3420_8086, 0]);

// @ts-ignore: decorator
@inline function data_of(port: PciePort, service: PciePortService): usize {
  return load<usize>(port.data + service.index * sizeof<usize>());
}

/** What the service's probe returned for the port `dev`, 0 if it has it not. */
export function pcie_port_service_data(dev: PciDev, service: PciePortService): usize {
  return data_of(changetype<PciePort>(dev.drvdata), service);
}

/** The service called so (a string literal's address), or null. */
export function pcie_port_service_find(name: usize): PciePortService | null {
  for (let entry = services.next; entry != services; entry = entry.next) {
    const service = changetype<PciePortService>(entry);
    if (service.name == name) return service;
  }
  return null;
}

function pcie_portdrv_irq(data: usize): void {
  const port = changetype<PciePort>(data);
  for (let entry = services.next; entry != services; entry = entry.next) {
    const service = changetype<PciePortService>(entry);
    const own = data_of(port, service);
    if (own != 0) service.irq(own);
  }
}

function pcie_portdrv_probe(dev: PciDev): bool {
  const type = dev.pcie_cap == 0 ? 0 : (pci_read_config_word(dev, dev.pcie_cap + PCI_EXP_FLAGS) >> 4) & 15;
  if (type != PCI_EXP_TYPE_ROOT_PORT) return false;
  const port = changetype<PciePort>(kmalloc(offsetof<PciePort>()));
  port.data = kmalloc(PCIE_PORT_SERVICES_MAX * sizeof<usize>());
  dev.drvdata = changetype<usize>(port);
  if (!pci_enable_msi(dev, 0, pcie_portdrv_irq, str('pcieport'), changetype<usize>(port))) {
    pr_err('pcieport %S: no interrupt for the services', dev.name);
    return false;
  }
  for (let entry = services.next; entry != services; entry = entry.next) {
    const service = changetype<PciePortService>(entry);
    const own = service.probe(dev);
    store<usize>(port.data + service.index * sizeof<usize>(), own);
    if (own != 0) service.enable(own);
  }
  return true;
}

/** Ports are part of the board: nothing takes them out. */
function pcie_portdrv_remove(_dev: PciDev): void {}

/** Boot CPU, before the services and the ports' driver. */
export function pcie_port_bus_init(): void {
  INIT_LIST_HEAD(services);
}

/** Boot CPU: a service that ports have from now on. */
export function pcie_port_service_register(service: PciePortService): void {
  service.index = load<u32>(service_count);
  BUG_ON(service.index == PCIE_PORT_SERVICES_MAX, 'pcieport: more services than a port has room for');
  store<u32>(service_count, service.index + 1);
  list_add_tail(service, services);
}

/** Boot CPU, when all services are registered. `pcie_ports=compat` leaves ports without any. */
export function pcie_portdrv_init(): void {
  if (param_is('pcie_ports', 'compat')) return;
  driver.name = str('pcieport');
  driver.id_table = id_table;
  driver.probe = pcie_portdrv_probe;
  driver.remove = pcie_portdrv_remove;
  pci_register_driver(driver);
}
