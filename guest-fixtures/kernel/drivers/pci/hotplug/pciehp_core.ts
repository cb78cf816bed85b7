// pciehp: the hot-plug service of a root port (drivers/pci/hotplug/pciehp_core.c).
import { hotplug_lock } from '../../../kernel/hotplug';
import { pr_info } from '../../../kernel/printk';
import { TimerList } from '../../../kernel/timer';
import { DelayedWork, INIT_DELAYED_WORK, INIT_WORK, WorkStruct } from '../../../kernel/workqueue';
import { str } from '../../../lib/string';
import { scnprintf } from '../../../lib/vsprintf';
import { kmalloc } from '../../../mm/slab';
import { pci_register_slot_reset } from '../err';
import { channel_word, ferry_channel_register } from '../pcie/ferry_channel';
import { PciePortService, pcie_port_service_data, pcie_port_service_register } from '../pcie/portdrv';
import { PciDev, pci_read_config_dword, pci_read_config_word } from '../pci';
import {
  PCI_EXP_FLAGS,
  PCI_EXP_FLAGS_SLOT,
  PCI_EXP_SLTCAP,
  PCI_EXP_SLTCAP_ABP,
  PCI_EXP_SLTCAP_AIP,
  PCI_EXP_SLTCAP_EIP,
  PCI_EXP_SLTCAP_HPC,
  PCI_EXP_SLTCAP_HPS,
  PCI_EXP_SLTCAP_MRLSP,
  PCI_EXP_SLTCAP_NCCS,
  PCI_EXP_SLTCAP_PCP,
  PCI_EXP_SLTCAP_PIP,
  PCI_EXP_SLTSTA_ABP,
  PCI_EXP_SLTSTA_DLLSC,
  PCI_EXP_SLTSTA_PDC,
} from '../pci_regs';
import { pci_bus_has_devices } from '../probe';
import { Controller, DISABLE_SLOT, OFF_STATE, ON_STATE, slot_name } from './pciehp';
import {
  pciehp_handle_button_press,
  pciehp_handle_disable_request,
  pciehp_handle_presence_or_link_change,
  pciehp_queue_pushbutton_work,
} from './pciehp_ctrl';
import {
  pcie_enable_notification,
  pcie_init_slot,
  pciehp_card_present_or_link_active,
  pciehp_drop_events,
  pciehp_isr,
  pciehp_request,
} from './pciehp_hpc';

const TEXT_BYTES: u32 = 160;
const text = memory.data(160);
const service = changetype<PciePortService>(memory.data(32, 16));

/** Deals with what the interrupt brought, in this order: button, then off, then presence and link. */
function pciehp_ist(work: WorkStruct): void {
  const ctrl = changetype<Controller>(work.data);
  const events = atomic.xchg<u32>(changetype<usize>(ctrl) + offsetof<Controller>('pending_events'), 0);
  if (events & PCI_EXP_SLTSTA_ABP) pciehp_handle_button_press(ctrl);
  if (events & DISABLE_SLOT) pciehp_handle_disable_request(ctrl);
  else if (events & (PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_DLLSC)) pciehp_handle_presence_or_link_change(ctrl, events);
}

function pciehp_irq(data: usize): bool {
  return pciehp_isr(changetype<Controller>(data));
}

// @ts-ignore: decorator
@inline function mark(ctrl: Controller, bit: u32): usize {
  return (ctrl.slot_cap & bit) != 0 ? str('+') : str('-');
}

/** An occupied slot that is off is turned on, and an empty one that is on is turned off. */
function pciehp_check_presence(ctrl: Controller): void {
  if (pciehp_card_present_or_link_active(ctrl) != (ctrl.state == ON_STATE)) pciehp_request(ctrl, PCI_EXP_SLTSTA_PDC);
}

/** In one line, with what the slot has and has not. */
function pcie_describe_slot(ctrl: Controller): void {
  const first = scnprintf(
    text, TEXT_BYTES, 'Slot #%u AttnBtn%s PwrCtrl%s MRL%s AttnInd%s PwrInd%s', slot_name(ctrl),
    mark(ctrl, PCI_EXP_SLTCAP_ABP), mark(ctrl, PCI_EXP_SLTCAP_PCP), mark(ctrl, PCI_EXP_SLTCAP_MRLSP),
    mark(ctrl, PCI_EXP_SLTCAP_AIP), mark(ctrl, PCI_EXP_SLTCAP_PIP),
  );
  scnprintf(
    text + first, TEXT_BYTES - first, ' HotPlug%s Surprise%s Interlock%s NoCompl%s IbPresDis- LLActRep+',
    mark(ctrl, PCI_EXP_SLTCAP_HPC), mark(ctrl, PCI_EXP_SLTCAP_HPS), mark(ctrl, PCI_EXP_SLTCAP_EIP),
    mark(ctrl, PCI_EXP_SLTCAP_NCCS),
  );
  pr_info('pcieport %S: pciehp: %S', ctrl.port.name, text);
}

/** Slot Capabilities of a port with a slot that it handles itself; 0 of one without, or whose slot is firmware's. */
function native_slot_cap(port: PciDev): u32 {
  const slot = (pci_read_config_word(port, port.pcie_cap + PCI_EXP_FLAGS) & PCI_EXP_FLAGS_SLOT) != 0;
  const cap = slot ? pci_read_config_dword(port, port.pcie_cap + PCI_EXP_SLTCAP) : 0;
  return (cap & PCI_EXP_SLTCAP_HPC) != 0 ? cap : 0;
}

function pciehp_serves(port: PciDev): bool { return native_slot_cap(port) != 0; }

function pciehp_probe(port: PciDev): usize {
  const cap = native_slot_cap(port);
  if (cap == 0) return 0;
  const ctrl = changetype<Controller>(kmalloc(offsetof<Controller>()));
  ctrl.port = port;
  ctrl.slot_cap = cap;
  ctrl.state = pci_bus_has_devices(port.secondary) ? ON_STATE : OFF_STATE;
  ctrl.ist = changetype<WorkStruct>(kmalloc(offsetof<WorkStruct>()));
  INIT_WORK(ctrl.ist, pciehp_ist, changetype<usize>(ctrl), hotplug_lock());
  ctrl.button_work = changetype<DelayedWork>(kmalloc(offsetof<DelayedWork>()));
  const timer = changetype<TimerList>(kmalloc(offsetof<TimerList>()));
  INIT_DELAYED_WORK(ctrl.button_work, timer, pciehp_queue_pushbutton_work, changetype<usize>(ctrl));
  pcie_init_slot(ctrl);
  pcie_describe_slot(ctrl);
  return changetype<usize>(ctrl);
}

function pciehp_enable(data: usize): void {
  const ctrl = changetype<Controller>(data);
  pcie_enable_notification(ctrl);
  pciehp_check_presence(ctrl);
}

/**
 * The host wants the slot off, as a person does who writes 0 to its `power` in sysfs: without a button's five seconds. Answered
 * when that has begun; the power indicator says that it is done.
 */
function pciehp_channel_disable(port: PciDev, _argument: u32): u32 {
  const ctrl = changetype<Controller>(pcie_port_service_data(port, service));
  if (changetype<usize>(ctrl) == 0 || ctrl.state != ON_STATE) return channel_word(str('no'));
  pciehp_request(ctrl, DISABLE_SLOT);
  return channel_word(str('ok'));
}

/** A reset of the bus took the link down and up: no device has come or gone. */
function pciehp_reset_done(bridge: PciDev): void {
  const ctrl = pcie_port_service_data(bridge, service);
  if (ctrl != 0) pciehp_drop_events(changetype<Controller>(ctrl), PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_DLLSC);
}

/** Boot CPU. */
export function pcie_hp_init(): void {
  ferry_channel_register(str('off'), pciehp_channel_disable, null, pciehp_serves);
  pci_register_slot_reset(pciehp_reset_done);
  service.name = str('pciehp');
  service.probe = pciehp_probe;
  service.enable = pciehp_enable;
  service.irq = pciehp_irq;
  pcie_port_service_register(service);
}
