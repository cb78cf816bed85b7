// pciehp: what becomes of a slot's events (drivers/pci/hotplug/pciehp_ctrl.c). All of it with the hot-plug lock.
import { pr_err, pr_info } from '../../../kernel/printk';
import { msleep } from '../../../kernel/sched';
import { NSEC_PER_SEC } from '../../../kernel/time';
import { WorkStruct, cancel_delayed_work, schedule_delayed_work } from '../../../kernel/workqueue';
import { PCI_EXP_SLTSTA_DLLSC, PCI_EXP_SLTSTA_PDC } from '../pci_regs';
import { pci_configure_bus, pci_unconfigure_bus } from '../probe';
import {
  BLINKINGOFF_STATE,
  BLINKINGON_STATE,
  Controller,
  DISABLE_SLOT,
  OFF_STATE,
  ON_STATE,
  POWEROFF_STATE,
  POWERON_STATE,
  slot_name,
} from './pciehp';
import {
  INDICATOR_BLINK,
  INDICATOR_NOOP,
  INDICATOR_OFF,
  INDICATOR_ON,
  pciehp_card_present,
  pciehp_card_present_or_link_active,
  pciehp_check_link_active,
  pciehp_check_link_status,
  pciehp_drop_events,
  pciehp_has_power_controller,
  pciehp_power_off_slot,
  pciehp_power_on_slot,
  pciehp_request,
  pciehp_set_indicators,
} from './pciehp_hpc';

/** The time in which the button may be pressed again. 6.7.1.5 */
const BUTTON_DELAY: u64 = 5 * NSEC_PER_SEC;
/** After power was switched off, before anybody touches the slot. */
const POWER_OFF_MS: u32 = 1000;

function set_slot_off(ctrl: Controller): void {
  if (pciehp_has_power_controller(ctrl)) {
    pciehp_power_off_slot(ctrl);
    msleep(POWER_OFF_MS);
    // That the link went down was our own doing.
    pciehp_drop_events(ctrl, PCI_EXP_SLTSTA_DLLSC | PCI_EXP_SLTSTA_PDC);
  }
}

/** Power, link, devices, drivers. */
function board_added(ctrl: Controller): bool {
  pciehp_power_on_slot(ctrl);
  pciehp_set_indicators(ctrl, INDICATOR_BLINK, INDICATOR_NOOP);
  const answers = pciehp_check_link_status(ctrl);
  // That the link came up is what we waited for.
  if (answers) pciehp_drop_events(ctrl, PCI_EXP_SLTSTA_DLLSC | PCI_EXP_SLTSTA_PDC);
  if (answers && pci_configure_bus(ctrl.port)) {
    pciehp_set_indicators(ctrl, INDICATOR_ON, INDICATOR_OFF);
    return true;
  }
  pr_err('pcieport %S: pciehp: Cannot add device at 0000:%02x:00', ctrl.port.name, ctrl.port.secondary);
  set_slot_off(ctrl);
  pciehp_set_indicators(ctrl, INDICATOR_OFF, INDICATOR_ON);
  return false;
}

/** Drivers, devices, power. `safe`: the device still answers, and is let go in good order. */
function remove_board(ctrl: Controller, safe: bool): void {
  pci_unconfigure_bus(ctrl.port, safe);
  set_slot_off(ctrl);
  pciehp_set_indicators(ctrl, INDICATOR_OFF, INDICATOR_NOOP);
}

/** Its five seconds are over. */
export function pciehp_queue_pushbutton_work(work: WorkStruct): void {
  const ctrl = changetype<Controller>(work.data);
  if (ctrl.state == BLINKINGOFF_STATE) pciehp_request(ctrl, DISABLE_SLOT);
  else if (ctrl.state == BLINKINGON_STATE) pciehp_request(ctrl, PCI_EXP_SLTSTA_PDC);
}

export function pciehp_handle_button_press(ctrl: Controller): void {
  const name = slot_name(ctrl);
  if (ctrl.state == ON_STATE || ctrl.state == OFF_STATE) {
    if (ctrl.state == ON_STATE) {
      ctrl.state = BLINKINGOFF_STATE;
      pr_info('pcieport %S: pciehp: Slot(%u): Button press: will power off in 5 sec', ctrl.port.name, name);
    } else {
      ctrl.state = BLINKINGON_STATE;
      pr_info('pcieport %S: pciehp: Slot(%u): Button press: will power on in 5 sec', ctrl.port.name, name);
    }
    pciehp_set_indicators(ctrl, INDICATOR_BLINK, INDICATOR_OFF);
    schedule_delayed_work(ctrl.button_work, BUTTON_DELAY);
    return;
  }
  if (ctrl.state == BLINKINGOFF_STATE || ctrl.state == BLINKINGON_STATE) {
    cancel_delayed_work(ctrl.button_work);
    if (ctrl.state == BLINKINGOFF_STATE) {
      ctrl.state = ON_STATE;
      pciehp_set_indicators(ctrl, INDICATOR_ON, INDICATOR_OFF);
      pr_info('pcieport %S: pciehp: Slot(%u): Button press: canceling request to power off', ctrl.port.name, name);
    } else {
      ctrl.state = OFF_STATE;
      pciehp_set_indicators(ctrl, INDICATOR_OFF, INDICATOR_OFF);
      pr_info('pcieport %S: pciehp: Slot(%u): Button press: canceling request to power on', ctrl.port.name, name);
    }
    return;
  }
  pr_err('pcieport %S: pciehp: Slot(%u): Button press: ignoring invalid state 0x%x', ctrl.port.name, name, ctrl.state);
}

/** The slot is turned off in good order. */
export function pciehp_handle_disable_request(ctrl: Controller): void {
  cancel_delayed_work(ctrl.button_work);
  ctrl.state = POWEROFF_STATE;
  remove_board(ctrl, true);
  ctrl.state = OFF_STATE;
}

/** Any link or presence event of a slot that is on means that its device was replaced: the old one is gone. */
export function pciehp_handle_presence_or_link_change(ctrl: Controller, events: u32): void {
  const name = slot_name(ctrl);
  if (ctrl.state == ON_STATE || ctrl.state == BLINKINGOFF_STATE) {
    cancel_delayed_work(ctrl.button_work);
    ctrl.state = POWEROFF_STATE;
    if (events & PCI_EXP_SLTSTA_DLLSC) pr_info('pcieport %S: pciehp: Slot(%u): Link Down', ctrl.port.name, name);
    if (events & PCI_EXP_SLTSTA_PDC) pr_info('pcieport %S: pciehp: Slot(%u): Card not present', ctrl.port.name, name);
    remove_board(ctrl, false);
    ctrl.state = OFF_STATE;
  }
  if (!pciehp_card_present_or_link_active(ctrl)) {
    if (ctrl.state == BLINKINGON_STATE) {
      cancel_delayed_work(ctrl.button_work);
      ctrl.state = OFF_STATE;
      pciehp_set_indicators(ctrl, INDICATOR_OFF, INDICATOR_NOOP);
      pr_info('pcieport %S: pciehp: Slot(%u): Card not present', ctrl.port.name, name);
    }
    return;
  }
  if (ctrl.state != OFF_STATE && ctrl.state != BLINKINGON_STATE) return;
  cancel_delayed_work(ctrl.button_work);
  ctrl.state = POWERON_STATE;
  if (pciehp_card_present(ctrl)) pr_info('pcieport %S: pciehp: Slot(%u): Card present', ctrl.port.name, name);
  if (pciehp_check_link_active(ctrl)) pr_info('pcieport %S: pciehp: Slot(%u): Link Up', ctrl.port.name, name);
  ctrl.state = board_added(ctrl) ? ON_STATE : OFF_STATE;
}
