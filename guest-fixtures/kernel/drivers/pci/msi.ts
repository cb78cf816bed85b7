// MSI: one message of the device. MSI-X: a vector of the device is an entry of its table, which names the CPU and the interrupt vector (Intel SDM
// vol. 3, 11.11; PCI Express 7.7.2).
import { readl, writel } from '../../asm/io';
import { LAPIC_BASE } from '../../generated/abi';
import { IrqHandler, free_irq, irq_alloc_vector, request_irq } from '../../kernel/irq';
import { kfree, kmalloc } from '../../mm/slab';
import {
  PciDev,
  pci_find_capability,
  pci_iomap,
  pci_read_config_dword,
  pci_read_config_word,
  pci_write_config_dword,
  pci_write_config_word,
} from './pci';
import {
  PCI_CAP_ID_MSI,
  PCI_MSI_ADDRESS_HI,
  PCI_MSI_ADDRESS_LO,
  PCI_MSI_DATA_64,
  PCI_MSI_FLAGS,
  PCI_MSI_FLAGS_ENABLE,
  PCI_MSIX_ENTRY_CTRL_MASKBIT,
  PCI_MSIX_ENTRY_DATA,
  PCI_MSIX_ENTRY_LOWER_ADDR,
  PCI_MSIX_ENTRY_SIZE,
  PCI_MSIX_ENTRY_UPPER_ADDR,
  PCI_MSIX_ENTRY_VECTOR_CTRL,
  PCI_MSIX_FLAGS,
  PCI_MSIX_FLAGS_ENABLE,
  PCI_MSIX_FLAGS_MASKALL,
  PCI_MSIX_FLAGS_QSIZE,
  PCI_MSIX_TABLE,
  PCI_MSIX_TABLE_BIR,
} from './pci_regs';

const MSI_DESTINATION_SHIFT: u32 = 12;

/** Gives the device's one message a handler on `cpu`; false without MSI or a free interrupt vector. */
export function pci_enable_msi(dev: PciDev, cpu: u32, handler: IrqHandler, name: usize, data: usize): bool {
  const at = pci_find_capability(dev, PCI_CAP_ID_MSI);
  const vector = irq_alloc_vector();
  if (at == 0 || vector == 0 || !request_irq(vector, handler, name, data)) return false;
  pci_write_config_dword(dev, at + PCI_MSI_ADDRESS_LO, LAPIC_BASE | (cpu << MSI_DESTINATION_SHIFT));
  pci_write_config_dword(dev, at + PCI_MSI_ADDRESS_HI, 0);
  pci_write_config_word(dev, at + PCI_MSI_DATA_64, vector);
  dev.msi_vector = vector;
  const flags = pci_read_config_word(dev, at + PCI_MSI_FLAGS);
  pci_write_config_word(dev, at + PCI_MSI_FLAGS, flags | PCI_MSI_FLAGS_ENABLE);
  return true;
}

/** Takes the message's handler away, and keeps the device from sending it. */
export function pci_disable_msi(dev: PciDev): void {
  if (dev.msi_vector == 0) return;
  const flags = pci_find_capability(dev, PCI_CAP_ID_MSI) + PCI_MSI_FLAGS;
  pci_write_config_word(dev, flags, pci_read_config_word(dev, flags) & ~PCI_MSI_FLAGS_ENABLE);
  free_irq(dev.msi_vector);
  dev.msi_vector = 0;
}

// @ts-ignore: decorator
@inline function entry_at(dev: PciDev, nr: u32): usize { return dev.msix_table + nr * PCI_MSIX_ENTRY_SIZE; }

/** Enables MSI-X with `count` vectors, all masked; false if the device has fewer. */
export function pci_enable_msix(dev: PciDev, count: u32): bool {
  if (dev.msix_cap == 0) return false;
  const control = pci_read_config_word(dev, dev.msix_cap + PCI_MSIX_FLAGS);
  const table = pci_read_config_dword(dev, dev.msix_cap + PCI_MSIX_TABLE);
  const base = pci_iomap(dev, table & PCI_MSIX_TABLE_BIR);
  if ((control & PCI_MSIX_FLAGS_QSIZE) + 1 < count || base == 0) return false;
  dev.msix_table = base + (table & ~PCI_MSIX_TABLE_BIR);
  dev.msix_count = count;
  dev.msix_vectors = kmalloc(count << 2);
  // Entries are written while all are masked at once, so that none fires half-written.
  const masked = control | PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL;
  pci_write_config_word(dev, dev.msix_cap + PCI_MSIX_FLAGS, masked);
  for (let nr: u32 = 0; nr < count; nr++) {
    writel(PCI_MSIX_ENTRY_CTRL_MASKBIT, entry_at(dev, nr) + PCI_MSIX_ENTRY_VECTOR_CTRL);
  }
  pci_write_config_word(dev, dev.msix_cap + PCI_MSIX_FLAGS, masked & ~PCI_MSIX_FLAGS_MASKALL);
  return true;
}

/** Gives vector `nr` of the device a handler on `cpu` and unmasks it; false without a free interrupt vector. */
export function pci_request_irq(dev: PciDev, nr: u32, cpu: u32, handler: IrqHandler, name: usize, data: usize): bool {
  const vector = irq_alloc_vector();
  if (vector == 0 || !request_irq(vector, handler, name, data)) return false;
  store<u32>(dev.msix_vectors + (nr << 2), vector);
  const entry = entry_at(dev, nr);
  writel(LAPIC_BASE | (cpu << MSI_DESTINATION_SHIFT), entry + PCI_MSIX_ENTRY_LOWER_ADDR);
  writel(0, entry + PCI_MSIX_ENTRY_UPPER_ADDR);
  writel(vector, entry + PCI_MSIX_ENTRY_DATA);
  writel(0, entry + PCI_MSIX_ENTRY_VECTOR_CTRL);
  // Read back: the entry is in force when this returns.
  readl(entry + PCI_MSIX_ENTRY_VECTOR_CTRL);
  return true;
}

/** Masks vector `nr` and takes its handler away. */
export function pci_free_irq(dev: PciDev, nr: u32): void {
  const vector = dev.msix_count != 0 ? load<u32>(dev.msix_vectors + (nr << 2)) : 0;
  if (vector == 0) return;
  writel(PCI_MSIX_ENTRY_CTRL_MASKBIT, entry_at(dev, nr) + PCI_MSIX_ENTRY_VECTOR_CTRL);
  free_irq(vector);
  store<u32>(dev.msix_vectors + (nr << 2), 0);
}

/** All vectors must have been freed. */
export function pci_disable_msix(dev: PciDev): void {
  if (dev.msix_count == 0) return;
  const control = pci_read_config_word(dev, dev.msix_cap + PCI_MSIX_FLAGS);
  pci_write_config_word(dev, dev.msix_cap + PCI_MSIX_FLAGS, control & ~PCI_MSIX_FLAGS_ENABLE);
  kfree(dev.msix_vectors);
  dev.msix_count = 0;
}
