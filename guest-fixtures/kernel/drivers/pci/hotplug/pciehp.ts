// pciehp: what is known of a hot-plug slot (drivers/pci/hotplug/pciehp.h).
import { DelayedWork, WorkStruct } from '../../../kernel/workqueue';
import { PciDev } from '../pci';

// States of a slot.
export const OFF_STATE: u32 = 0;
export const BLINKINGON_STATE: u32 = 1;
export const BLINKINGOFF_STATE: u32 = 2;
export const POWERON_STATE: u32 = 3;
export const POWEROFF_STATE: u32 = 4;
export const ON_STATE: u32 = 5;

/** Beside the bits of Slot Status: the slot is to be turned off. */
export const DISABLE_SLOT: u32 = 1 << 16;

// @ts-ignore: decorator
@unmanaged export class Controller {
  port: PciDev;
  /** Slot Capabilities, which never change. */
  slot_cap: u32;
  /** Slot Control as last written. */
  slot_ctrl: u32;
  /** A command was written and is not completed. */
  cmd_busy: u32;
  state: u32;
  /** Slot Status bits, and DISABLE_SLOT, that nobody has dealt with. */
  pending_events: u32;
  /** Deals with them, with the hot-plug lock. */
  ist: WorkStruct;
  /** The five seconds after the button. */
  button_work: DelayedWork;
}

/** Physical Slot Number. */
// @ts-ignore: decorator
@inline export function slot_name(ctrl: Controller): u32 { return ctrl.slot_cap >> 19; }
