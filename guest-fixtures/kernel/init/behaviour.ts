// Guests that do not help, to see what becomes of a migration that meets one: `behaviour=` on the command line. Nobody else
// in this kernel knows of it: each behaviour puts something of its own in one of the kernel's tables, once those are filled.
import { param_flag, param_is, param_u64 } from '../kernel/params';
import { hotplug_lock } from '../kernel/hotplug';
import { IrqHandler, wrap_irq_handlers } from '../kernel/irq';
import { panic } from '../kernel/panic';
import { NR_CPUS } from '../kernel/percpu';
import { pr_info } from '../kernel/printk';
import { cpu_online } from '../kernel/smp';
import { NSEC_PER_MSEC, ktime_get } from '../kernel/time';
import { TimerList, mod_timer, timer_pending, timer_setup } from '../kernel/timer';
import { DelayedWork, INIT_DELAYED_WORK, INIT_WORK, WorkStruct, queue_work_on, schedule_delayed_work, schedule_work } from '../kernel/workqueue';
import { str } from '../lib/string';
import { alloc_contig_pages, nr_free_pages } from '../mm/page_alloc';
import { kmalloc } from '../mm/slab';
import { PAGE_SHIFT } from '../generated/abi';
import { pci_devices } from '../drivers/pci/bus';
import { BLINKINGOFF_STATE, Controller } from '../drivers/pci/hotplug/pciehp';
import { pciehp_request } from '../drivers/pci/hotplug/pciehp_hpc';
import { PciDev, pci_is_bridge } from '../drivers/pci/pci';
import { PCI_EXP_SLTSTA_ABP } from '../drivers/pci/pci_regs';
import { ferry_channel_replace } from '../drivers/pci/pcie/ferry_channel';
import { resume_device, suspend_device } from '../drivers/pci/pcie/ferry_pm';
import { pcie_port_service_data, pcie_port_service_find } from '../drivers/pci/pcie/portdrv';
import { start_periodic } from '../workloads/periodic';
import { pretend_disable, pretend_replaced, pretend_suspend } from './behaviour_lying';
import { behaviour_told_init } from './behaviour_told';

// ---------------------------------------------------------------------------------------------------------------------
// silent, late: interrupts of root ports and of ACPI, and with them all that the host asks, are never dealt with, or not at once

/** What the interrupt would have called. */
// @ts-ignore: decorator
@unmanaged class PortInterrupt {
  handler: IrqHandler;
  data: usize;
  /** Until it does. */
  timer: TimerList;
}

function wrap_port(handler: IrqHandler, data: usize): usize {
  const port = changetype<PortInterrupt>(kmalloc(offsetof<PortInterrupt>()));
  port.handler = handler;
  port.data = data;
  port.timer = changetype<TimerList>(kmalloc(offsetof<TimerList>()));
  timer_setup(port.timer, port_timer, changetype<usize>(port));
  return changetype<usize>(port);
}

/** What comes by a root port's interrupt or by ACPI's goes to `handler`. */
function wrap_host_events(handler: IrqHandler): void {
  wrap_irq_handlers(str('pcieport'), handler, wrap_port);
  wrap_irq_handlers(str('acpi'), handler, wrap_port);
}

function ignore_port(_data: usize): void {}

function defer_port(data: usize): void {
  const timer = changetype<PortInterrupt>(data).timer;
  if (!timer_pending(timer)) mod_timer(timer, ktime_get() + param_u64('late_ms', 500) * NSEC_PER_MSEC);
}

function port_timer(timer: TimerList): void {
  const port = changetype<PortInterrupt>(timer.data);
  port.handler(port.data);
}

// ---------------------------------------------------------------------------------------------------------------------
// dirtying: once it was asked anything, it writes to half of its free memory as fast as it can

/** Of the memory: its first page, how many, and which of them is next. */
const dirtied = memory.data(12, 4);
const dirty_work = changetype<WorkStruct>(memory.data(64, 16));
/** Pages after which others get their turn. */
const DIRTY_BATCH: u32 = 256;

/** A store in each of the next pages; it asks to be called again at once. */
function dirty_step(_context: usize): bool {
  const pages = load<u32>(dirtied, 4);
  let next = load<u32>(dirtied, 8);
  for (let i: u32 = 0; i < DIRTY_BATCH; i++) {
    const page = <usize>load<u32>(dirtied) + (<usize>next << PAGE_SHIFT);
    store<u64>(page, load<u64>(page) + 1);
    next = next + 1 == pages ? 0 : next + 1;
  }
  store<u32>(dirtied, next, 8);
  return true;
}

function begin_dirtying(_work: WorkStruct): void {
  if (load<u32>(dirtied) != 0) return;
  const pages = nr_free_pages() / 2;
  store<u32>(dirtied, pages, 4);
  store<u32>(dirtied, <u32>alloc_contig_pages(pages));
  if (load<u32>(dirtied) == 0) panic('behaviour=dirtying: no %u pages in one piece', pages);
  pr_info('behaviour: dirties %u pages from now on', pages);
  start_periodic(0, 0, NSEC_PER_MSEC, dirty_step, 0);
}

function answer_and_dirty(data: usize): void {
  const port = changetype<PortInterrupt>(data);
  port.handler(port.data);
  schedule_work(dirty_work);
}

// ---------------------------------------------------------------------------------------------------------------------
// starved: of each CPU something more important has 95 %

const STARVED_BUSY: u64 = 95 * NSEC_PER_MSEC;
const STARVED_FREE: u64 = 5 * NSEC_PER_MSEC;

/** A soft interrupt: above all work, and all other soft interrupts wait for it. */
function hog_cpu(timer: TimerList): void {
  const end = ktime_get() + STARVED_BUSY;
  while (ktime_get() < end) {}
  mod_timer(timer, end + STARVED_FREE);
}

function start_hog(work: WorkStruct): void {
  const timer = changetype<TimerList>(work.data);
  timer_setup(timer, hog_cpu, 0);
  mod_timer(timer, ktime_get() + STARVED_FREE);
}

function starve(): void {
  for (let cpu: u32 = 0; cpu < NR_CPUS; cpu++) {
    if (!cpu_online(cpu)) continue;
    const work = changetype<WorkStruct>(kmalloc(offsetof<WorkStruct>()));
    INIT_WORK(work, start_hog, kmalloc(offsetof<TimerList>()));
    queue_work_on(cpu, work);
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// cancelling: presses the attention button again while a slot that shall be turned off blinks

const CANCELLING_PERIOD: u64 = 500 * NSEC_PER_MSEC;

function press_again(_context: usize): bool {
  const service = pcie_port_service_find(str('pciehp'));
  if (service === null) return false;
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const port = changetype<PciDev>(entry);
    const ctrl = pci_is_bridge(port) && port.driver !== null ? pcie_port_service_data(port, service) : 0;
    if (ctrl != 0 && changetype<Controller>(ctrl).state == BLINKINGOFF_STATE) {
      pciehp_request(changetype<Controller>(ctrl), PCI_EXP_SLTSTA_ABP);
    }
  }
  return false;
}

// ---------------------------------------------------------------------------------------------------------------------
// toggling: takes its devices down and sets them up again, over and over

const TOGGLING_UP: u64 = 400 * NSEC_PER_MSEC;
const TOGGLING_DOWN: u64 = 20 * NSEC_PER_MSEC;

/** With the hot-plug lock: down if the last step was up, else up. */
function toggle_devices(work: WorkStruct): void {
  const down = work.data == 0;
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (dev.driver_name != str('ixgbevf') || dev.is_suspended == down) continue;
    if (down) suspend_device(dev);
    else resume_device(dev);
  }
  work.data = <usize>down;
  schedule_delayed_work(changetype<DelayedWork>(work), down ? TOGGLING_DOWN : TOGGLING_UP);
}

function toggle(): void {
  const work = changetype<DelayedWork>(kmalloc(offsetof<DelayedWork>()));
  INIT_DELAYED_WORK(work, changetype<TimerList>(kmalloc(offsetof<TimerList>())), toggle_devices, 0);
  work.lock = hotplug_lock();
  schedule_delayed_work(work, TOGGLING_UP);
}

// ---------------------------------------------------------------------------------------------------------------------

/** Boot CPU, when all drivers and services have registered what they have. */
export function behaviour_init(): void {
  if (!param_flag('behaviour')) return;
  if (param_is('behaviour', 'silent')) wrap_host_events(ignore_port);
  else if (param_is('behaviour', 'late')) wrap_host_events(defer_port);
  else if (param_is('behaviour', 'lying')) {
    ferry_channel_replace(str('susp'), pretend_suspend);
    ferry_channel_replace(str('off'), pretend_disable);
    ferry_channel_replace(str('rplc'), pretend_replaced);
  } else if (param_is('behaviour', 'dirtying')) {
    INIT_WORK(dirty_work, begin_dirtying, 0);
    wrap_host_events(answer_and_dirty);
  } else if (param_is('behaviour', 'starved')) starve();
  else if (param_is('behaviour', 'cancelling')) start_periodic(0, CANCELLING_PERIOD, CANCELLING_PERIOD, press_again, 0);
  else if (param_is('behaviour', 'toggling')) toggle();
  else if (param_is('behaviour', 'told')) behaviour_told_init();
  else panic('behaviour= must be silent, late, lying, dirtying, starved, cancelling, toggling or told');
}
