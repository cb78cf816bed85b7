// Devices that the host asks to be taken down, because their machine is about to move, and to be set up again: at the
// destination, as after power-on, or where they were if nothing came of it. Any driver that can suspend and resume takes part.
import { pr_err, pr_info } from '../../../kernel/printk';
import { str } from '../../../lib/string';
import { pci_devices } from '../bus';
import { PciDev, pci_restore_bars } from '../pci';
import { channel_word, ferry_channel_register } from './ferry_channel';

/** The answer of a port below which something did not follow. */
function refused(dev: PciDev, what: usize): u32 {
  pr_err('pci %S: ferry: can not %s', dev.name, what);
  return channel_word(str('no'));
}

/** Has its driver take the device down; false if there is none that can. Task context, with the hot-plug lock. */
export function suspend_device(dev: PciDev): bool {
  const driver = dev.driver;
  const suspend = driver !== null ? driver.suspend : null;
  if (suspend === null || !suspend(dev)) return false;
  dev.is_suspended = true;
  pr_info('pci %S: ferry: suspended', dev.name);
  return true;
}

/** Undoes suspend_device. */
export function resume_device(dev: PciDev): bool {
  const driver = dev.driver;
  const resume = driver !== null ? driver.resume : null;
  pci_restore_bars(dev);
  if (resume === null || !resume(dev)) return false;
  dev.is_suspended = false;
  pr_info('pci %S: ferry: resumed', dev.name);
  return true;
}

/** What is suspended already stays so. */
function ferry_pm_suspend(port: PciDev, _argument: u32): u32 {
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (dev.bus != port.secondary || dev.is_suspended) continue;
    if (!suspend_device(dev)) return refused(dev, str('suspend'));
  }
  return channel_word(str('susp'));
}

/** What is not suspended is left alone. */
function ferry_pm_resume(port: PciDev, _argument: u32): u32 {
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (dev.bus != port.secondary || !dev.is_suspended) continue;
    if (!resume_device(dev)) return refused(dev, str('resume'));
  }
  return channel_word(str('rsme'));
}

/** Boot CPU, before pcie_portdrv_init. */
export function ferry_pm_init(): void {
  ferry_channel_register(changetype<usize>('susp'), ferry_pm_suspend);
  ferry_channel_register(changetype<usize>('rsme'), ferry_pm_resume);
}
