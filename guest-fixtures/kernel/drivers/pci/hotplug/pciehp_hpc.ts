// pciehp: the slot's registers and its interrupt (drivers/pci/hotplug/pciehp_hpc.c; PCI Express 6.7, 7.5.3.9 to 11).
import { readl } from '../../../asm/io';
import { pr_info } from '../../../kernel/printk';
import { msleep } from '../../../kernel/sched';
import { NSEC_PER_MSEC, NSEC_PER_SEC, ktime_get } from '../../../kernel/time';
import { schedule_work } from '../../../kernel/workqueue';
import {
  pci_ecam_map_bus,
  pci_id_is_valid,
  pci_read_config_word,
  pci_write_config_word,
} from '../pci';
import {
  PCI_EXP_LNKCTL,
  PCI_EXP_LNKCTL_LD,
  PCI_EXP_LNKSTA,
  PCI_EXP_LNKSTA_DLLLA,
  PCI_EXP_LNKSTA_LT,
  PCI_EXP_LNKSTA_NLW,
  PCI_EXP_SLTCAP_ABP,
  PCI_EXP_SLTCAP_AIP,
  PCI_EXP_SLTCAP_NCCS,
  PCI_EXP_SLTCAP_PCP,
  PCI_EXP_SLTCAP_PIP,
  PCI_EXP_SLTCTL,
  PCI_EXP_SLTCTL_ABPE,
  PCI_EXP_SLTCTL_AIC,
  PCI_EXP_SLTCTL_CCIE,
  PCI_EXP_SLTCTL_DLLSCE,
  PCI_EXP_SLTCTL_HPIE,
  PCI_EXP_SLTCTL_PCC,
  PCI_EXP_SLTCTL_PDCE,
  PCI_EXP_SLTCTL_PIC,
  PCI_EXP_SLTSTA,
  PCI_EXP_SLTSTA_CC,
  PCI_EXP_SLTSTA_EVENTS,
  PCI_EXP_SLTSTA_PDS,
  PCI_EXP_SLTSTA_PFD,
  PCI_VENDOR_ID,
} from '../pci_regs';
import { Controller, slot_name } from './pciehp';

/** Indicators: in Slot Control at their place. */
export const INDICATOR_ON: u32 = 1;
export const INDICATOR_BLINK: u32 = 2;
export const INDICATOR_OFF: u32 = 3;
/** This one is left as it is. */
export const INDICATOR_NOOP: u32 = 0;
const AIC_SHIFT: u32 = 6;
const PIC_SHIFT: u32 = 8;

const CMD_TIMEOUT: u64 = NSEC_PER_SEC;
/** What a link may take to come up after slot power, and what a device may take after that to be asked. */
const LINK_SETTLE_MS: u32 = 20;
const LINK_UP_MS: u32 = 1000;
const DEVICE_READY_MS: u32 = 100;
const DEVICE_ANSWERS_MS: u32 = 1000;

function slot_status(ctrl: Controller): u32 {
  return pci_read_config_word(ctrl.port, ctrl.port.pcie_cap + PCI_EXP_SLTSTA);
}

function write_slot_status(ctrl: Controller, events: u32): void {
  pci_write_config_word(ctrl.port, ctrl.port.pcie_cap + PCI_EXP_SLTSTA, events);
}

function link_status(ctrl: Controller): u32 {
  return pci_read_config_word(ctrl.port, ctrl.port.pcie_cap + PCI_EXP_LNKSTA);
}

/** Before the next command the last one must be completed, or its time be over. */
function pcie_wait_cmd(ctrl: Controller): void {
  if (ctrl.slot_cap & PCI_EXP_SLTCAP_NCCS) return;
  const deadline = ktime_get() + CMD_TIMEOUT;
  while (atomic.load<u32>(changetype<usize>(ctrl) + offsetof<Controller>('cmd_busy')) != 0) {
    if (ktime_get() >= deadline) {
      pr_info(
        'pcieport %S: pciehp: Timeout on hotplug command 0x%04x (issued 1000 msec ago)',
        ctrl.port.name, ctrl.slot_ctrl,
      );
      return;
    }
    msleep(10);
  }
}

/** Writes the bits of `mask` in Slot Control: a command, which the slot completes. Task context. */
export function pcie_write_cmd(ctrl: Controller, cmd: u32, mask: u32): void {
  pcie_wait_cmd(ctrl);
  const at = ctrl.port.pcie_cap + PCI_EXP_SLTCTL;
  ctrl.slot_ctrl = (pci_read_config_word(ctrl.port, at) & ~mask) | (cmd & mask);
  ctrl.cmd_busy = 1;
  pci_write_config_word(ctrl.port, at, ctrl.slot_ctrl);
  // Without the interrupt nobody else would see that it is completed.
  if ((ctrl.slot_ctrl & (PCI_EXP_SLTCTL_HPIE | PCI_EXP_SLTCTL_CCIE)) != (PCI_EXP_SLTCTL_HPIE | PCI_EXP_SLTCTL_CCIE)) {
    ctrl.cmd_busy = 0;
  }
}

/** The LEDs; INDICATOR_NOOP leaves one as it is. */
export function pciehp_set_indicators(ctrl: Controller, power: u32, attention: u32): void {
  let cmd: u32 = 0;
  let mask: u32 = 0;
  if ((ctrl.slot_cap & PCI_EXP_SLTCAP_PIP) != 0 && power != INDICATOR_NOOP) {
    cmd |= power << PIC_SHIFT;
    mask |= PCI_EXP_SLTCTL_PIC;
  }
  if ((ctrl.slot_cap & PCI_EXP_SLTCAP_AIP) != 0 && attention != INDICATOR_NOOP) {
    cmd |= attention << AIC_SHIFT;
    mask |= PCI_EXP_SLTCTL_AIC;
  }
  if (mask != 0) pcie_write_cmd(ctrl, cmd, mask);
}

/** Whether a device is in the slot. */
export function pciehp_card_present(ctrl: Controller): bool {
  return (slot_status(ctrl) & PCI_EXP_SLTSTA_PDS) != 0;
}

export function pciehp_check_link_active(ctrl: Controller): bool {
  return (link_status(ctrl) & PCI_EXP_LNKSTA_DLLLA) != 0;
}

export function pciehp_card_present_or_link_active(ctrl: Controller): bool {
  return pciehp_card_present(ctrl) || pciehp_check_link_active(ctrl);
}

/** Slot power on, if the slot controls it, and the link enabled. */
export function pciehp_power_on_slot(ctrl: Controller): void {
  write_slot_status(ctrl, PCI_EXP_SLTSTA_PFD);
  if (ctrl.slot_cap & PCI_EXP_SLTCAP_PCP) pcie_write_cmd(ctrl, 0, PCI_EXP_SLTCTL_PCC);
  const at = ctrl.port.pcie_cap + PCI_EXP_LNKCTL;
  pci_write_config_word(ctrl.port, at, pci_read_config_word(ctrl.port, at) & ~PCI_EXP_LNKCTL_LD);
}

export function pciehp_power_off_slot(ctrl: Controller): void {
  pcie_write_cmd(ctrl, PCI_EXP_SLTCTL_PCC, PCI_EXP_SLTCTL_PCC);
}

export function pciehp_has_power_controller(ctrl: Controller): bool {
  return (ctrl.slot_cap & PCI_EXP_SLTCAP_PCP) != 0;
}

/** Waits for the link, then for the device to answer (6.6.1, 6.7.3.3); false if either does not come. */
export function pciehp_check_link_status(ctrl: Controller): bool {
  msleep(LINK_SETTLE_MS);
  const linked = ktime_get() + <u64>LINK_UP_MS * NSEC_PER_MSEC;
  while (!pciehp_check_link_active(ctrl)) {
    if (ktime_get() >= linked) {
      pr_info('pcieport %S: pciehp: Slot(%u): No link', ctrl.port.name, slot_name(ctrl));
      return false;
    }
    msleep(1);
  }
  msleep(DEVICE_READY_MS);
  const answered = ktime_get() + <u64>DEVICE_ANSWERS_MS * NSEC_PER_MSEC;
  while (!pci_id_is_valid(readl(pci_ecam_map_bus(ctrl.port.secondary, 0) + PCI_VENDOR_ID))) {
    if (ktime_get() >= answered) {
      pr_info('pcieport %S: pciehp: Slot(%u): No device found', ctrl.port.name, slot_name(ctrl));
      return false;
    }
    msleep(20);
  }
  const status = link_status(ctrl);
  if ((status & PCI_EXP_LNKSTA_LT) != 0 || (status & PCI_EXP_LNKSTA_NLW) == 0) {
    pr_info(
      'pcieport %S: pciehp: Slot(%u): Cannot train link: status 0x%04x', ctrl.port.name, slot_name(ctrl), status,
    );
    return false;
  }
  return true;
}

/**
 * The hard interrupt handler: takes all events, whether or not they are enabled, and leaves none behind, since the slot
 * interrupts again only for the first of the next ones. Completed commands are told to who waits for them.
 */
export function pciehp_isr(ctrl: Controller): bool {
  let events: u32 = 0;
  for (;;) {
    const status = slot_status(ctrl);
    if (status == 0xffff) {
      pr_info('pcieport %S: pciehp: pciehp_isr: no response from device', ctrl.port.name);
      return false;
    }
    const taken = status & PCI_EXP_SLTSTA_EVENTS;
    if (taken == 0) break;
    write_slot_status(ctrl, taken);
    events |= taken;
  }
  if (events == 0) return false;
  if (events & PCI_EXP_SLTSTA_CC) atomic.store<u32>(changetype<usize>(ctrl) + offsetof<Controller>('cmd_busy'), 0);
  pciehp_request(ctrl, events & ~PCI_EXP_SLTSTA_CC);
  return true;
}

/** Something for the slot's work to deal with: bits of Slot Status, or DISABLE_SLOT. */
export function pciehp_request(ctrl: Controller, events: u32): void {
  if (events == 0) return;
  atomic.or<u32>(changetype<usize>(ctrl) + offsetof<Controller>('pending_events'), events);
  schedule_work(ctrl.ist);
}

/** Drops events that are of our own making. */
export function pciehp_drop_events(ctrl: Controller, events: u32): void {
  pciehp_isr(ctrl);
  atomic.and<u32>(changetype<usize>(ctrl) + offsetof<Controller>('pending_events'), ~events);
}

/** What the slot can do; stale events are dropped, and those that concern us interrupt from now on. */
export function pcie_init_slot(ctrl: Controller): void {
  ctrl.slot_ctrl = pci_read_config_word(ctrl.port, ctrl.port.pcie_cap + PCI_EXP_SLTCTL);
  write_slot_status(ctrl, PCI_EXP_SLTSTA_EVENTS);
}

export function pcie_enable_notification(ctrl: Controller): void {
  const announced = (ctrl.slot_cap & PCI_EXP_SLTCAP_ABP) != 0 ? PCI_EXP_SLTCTL_ABPE : PCI_EXP_SLTCTL_PDCE;
  const completed = (ctrl.slot_cap & PCI_EXP_SLTCAP_NCCS) != 0 ? 0 : PCI_EXP_SLTCTL_CCIE;
  const cmd = PCI_EXP_SLTCTL_DLLSCE | PCI_EXP_SLTCTL_HPIE | announced | completed;
  pcie_write_cmd(ctrl, cmd, cmd);
}
