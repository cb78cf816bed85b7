// acpiphp: hot-plug of slots that firmware handles (drivers/pci/hotplug/acpiphp_glue.c). There is no AML on this platform: what
// _E01 and _EJ0 would do with the registers is done here.
import { readl, writel } from '../../../asm/io';
import { smp_processor_id } from '../../../asm/processor';
import { ACPI_PCI_HOTPLUG_BASE } from '../../../generated/abi';
import { hotplug_lock } from '../../../kernel/hotplug';
import { irq_alloc_vector, request_irq } from '../../../kernel/irq';
import { pr_err, pr_info } from '../../../kernel/printk';
import { INIT_WORK, WorkStruct, schedule_work } from '../../../kernel/workqueue';
import { str } from '../../../lib/string';
import { pci_devices } from '../bus';
import { PCI_SLOT, PciDev, pci_is_bridge, pci_read_config_dword, pci_read_config_word } from '../pci';
import { PCI_EXP_FLAGS, PCI_EXP_FLAGS_SLOT, PCI_EXP_SLTCAP, PCI_EXP_SLTCAP_HPC } from '../pci_regs';
import { pci_bus_has_devices, pci_configure_bus, pci_unconfigure_bus } from '../probe';

// Registers, as QEMU's machines have them: up, down, eject and select are windows on one bus.
const PCIHP_UP: u32 = 0x00;
const PCIHP_DOWN: u32 = 0x04;
const PCIHP_EJ: u32 = 0x08;
const PCIHP_SEL: u32 = 0x10;
const PCIHP_OST_EVENT: u32 = 0x18;
const PCIHP_OST_STATUS: u32 = 0x1c;
const GPE0_STATUS: u32 = 0x20;
const GPE0_ENABLE: u32 = 0x24;
const SCI: u32 = 0x28;
/** Of general-purpose event block 0. */
const GPE_PCI_HOTPLUG: u32 = 1 << 1;
/** The bus behind a port has one slot. */
const SLOT_0: u32 = 1;

const ACPI_NOTIFY_DEVICE_CHECK: u32 = 1;
const ACPI_NOTIFY_EJECT_REQUEST: u32 = 3;
const ACPI_OST_SC_SUCCESS: u32 = 0;
const ACPI_OST_SC_NON_SPECIFIC_FAILURE: u32 = 1;

const hotplug_work = changetype<WorkStruct>(memory.data(64, 16));

// @ts-ignore: decorator
@inline function pcihp_read(register: u32): u32 { return readl(ACPI_PCI_HOTPLUG_BASE + register); }
// @ts-ignore: decorator
@inline function pcihp_write(value: u32, register: u32): void { writel(value, ACPI_PCI_HOTPLUG_BASE + register); }

/** Whether firmware handles the slot of the port: it has one, and says that it can't do hot-plug by itself. */
function acpiphp_owns(dev: PciDev): bool {
  if (dev.bus != 0 || !pci_is_bridge(dev) || dev.pcie_cap == 0) return false;
  if ((pci_read_config_word(dev, dev.pcie_cap + PCI_EXP_FLAGS) & PCI_EXP_FLAGS_SLOT) == 0) return false;
  return (pci_read_config_dword(dev, dev.pcie_cap + PCI_EXP_SLTCAP) & PCI_EXP_SLTCAP_HPC) == 0;
}

/** _OST: how it ended. */
function acpi_evaluate_ost(event: u32, done: bool): void {
  pcihp_write(event, PCIHP_OST_EVENT);
  pcihp_write(done ? ACPI_OST_SC_SUCCESS : ACPI_OST_SC_NON_SPECIFIC_FAILURE, PCIHP_OST_STATUS);
}

/** Drivers, devices, _EJ0. */
function acpiphp_disable_and_eject_slot(port: PciDev): void {
  pci_unconfigure_bus(port, true);
  pcihp_write(SLOT_0, PCIHP_EJ);
  acpi_evaluate_ost(ACPI_NOTIFY_EJECT_REQUEST, true);
}

/** Something was put in. What the slot had before, and that nobody ejected, is gone. */
function acpiphp_check_slot(port: PciDev): void {
  if (pci_bus_has_devices(port.secondary)) pci_unconfigure_bus(port, false);
  const found = pci_configure_bus(port);
  if (!found) pr_err('acpiphp: Slot [%u]: no device found', PCI_SLOT(port.devfn));
  acpi_evaluate_ost(ACPI_NOTIFY_DEVICE_CHECK, found);
}

/** Looks at every slot, with the hot-plug lock: what is to go before what has come. */
function acpiphp_hotplug_notify(_work: WorkStruct): void {
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const port = changetype<PciDev>(entry);
    if (!acpiphp_owns(port)) continue;
    pcihp_write(PCI_SLOT(port.devfn) - 1, PCIHP_SEL);
    const up = pcihp_read(PCIHP_UP);
    if (pcihp_read(PCIHP_DOWN) & SLOT_0) acpiphp_disable_and_eject_slot(port);
    if (up & SLOT_0) acpiphp_check_slot(port);
  }
}

/** The event is acknowledged first: what comes while the slots are looked at is looked at again. */
function acpi_sci_handler(_data: usize): void {
  pcihp_write(GPE_PCI_HOTPLUG, GPE0_STATUS);
  schedule_work(hotplug_work);
}

/** Boot CPU, when ports have been found. Without a slot that firmware handles nothing is touched. */
export function acpiphp_init(): void {
  let slots: u32 = 0;
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const port = changetype<PciDev>(entry);
    if (!acpiphp_owns(port)) continue;
    pr_info('acpiphp: Slot [%u] registered', PCI_SLOT(port.devfn));
    slots++;
  }
  if (slots == 0) return;
  INIT_WORK(hotplug_work, acpiphp_hotplug_notify, 0, hotplug_lock());
  const vector = irq_alloc_vector();
  if (vector == 0 || !request_irq(vector, acpi_sci_handler, str('acpi'), 0)) {
    pr_err('acpiphp: no vector for the SCI');
    return;
  }
  pcihp_write((smp_processor_id() << 16) | (vector << 8), SCI);
  pcihp_write(GPE_PCI_HOTPLUG, GPE0_ENABLE);
}
