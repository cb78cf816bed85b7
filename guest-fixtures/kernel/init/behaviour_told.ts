// behaviour=told: by its agent's command `x-ferry-behave` the host has this kernel do to a migration what guests do of which nobody
// knows when: takes its devices down and sets them up again, gives them up and takes them back, answers requests without doing what
// they ask, each for so long as it is told; or it crashes.
import { NSEC_PER_USEC } from '../kernel/time';
import { hotplug_lock } from '../kernel/hotplug';
import { BUG_ON, panic } from '../kernel/panic';
import { param_is } from '../kernel/params';
import { pr_info } from '../kernel/printk';
import { TimerList } from '../kernel/timer';
import { DelayedWork, INIT_DELAYED_WORK, WorkStruct, schedule_delayed_work } from '../kernel/workqueue';
import { str } from '../lib/string';
import { kmalloc } from '../mm/slab';
import { device_attach, device_release_driver, pci_devices } from '../drivers/pci/bus';
import { PciDev, pci_is_bridge, pci_restore_bars } from '../drivers/pci/pci';
import { ferry_channel_replace } from '../drivers/pci/pcie/ferry_channel';
import { resume_device, suspend_device } from '../drivers/pci/pcie/ferry_pm';
import { Call, call_fail, call_number, call_string, call_text_is } from '../qga/command';
import { qga_command_register } from '../qga/dispatch';
import { reply_put } from '../qga/reply';
import { pretend_disable, pretend_replaced, pretend_suspend } from './behaviour_lying';

const TOGGLE: u32 = 1;
const UNLOAD: u32 = 2;
const LIE: u32 = 3;
/** Longest that it may be told, microseconds. */
const LONGEST: i64 = 10_000_000;

/** Who loads a driver again tries once more where one device was not taken. */
const LOADS: u32 = 10;
const BETWEEN_LOADS: u64 = 20_000 * NSEC_PER_USEC;

/** What it is at, 0 for nothing; how often it has tried to load the driver. */
const told = memory.data(8, 4);
/** What ends it. */
const end_work = memory.data(4, 4);

type Handler = (port: PciDev, argument: u32) => u32;

/** What answers the host's requests in a kernel that does what it says. */
// @ts-ignore: decorator
@unmanaged class Honest {
  suspend: Handler | null;
  off: Handler | null;
  replaced: Handler | null;
}

const honest = changetype<Honest>(memory.data(16, 4));

function is_ours(dev: PciDev): bool {
  return dev.driver_name == str('ixgbevf');
}

function take_down(): void {
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (is_ours(dev) && !dev.is_suspended) suspend_device(dev);
  }
}

function set_up(): void {
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (is_ours(dev) && dev.is_suspended) resume_device(dev);
  }
}

function unload(): void {
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (is_ours(dev)) device_release_driver(dev);
  }
}

/** False if a device has no driver then: it may have been taken away, or exchanged, while its driver looked at it. */
function load_driver(): bool {
  let all = true;
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (pci_is_bridge(dev) || dev.driver !== null) continue;
    // What was put in the place of a device that nobody drove was not set up.
    pci_restore_bars(dev);
    if (!device_attach(dev)) all = false;
  }
  return all;
}

function begin_lying(): void {
  honest.suspend = ferry_channel_replace(str('susp'), pretend_suspend);
  honest.off = ferry_channel_replace(str('off'), pretend_disable);
  honest.replaced = ferry_channel_replace(str('rplc'), pretend_replaced);
}

function end_lying(): void {
  const suspend = honest.suspend;
  const off = honest.off;
  const replaced = honest.replaced;
  if (suspend !== null) ferry_channel_replace(str('susp'), suspend);
  if (off !== null) ferry_channel_replace(str('off'), off);
  if (replaced !== null) ferry_channel_replace(str('rplc'), replaced);
}

/** With the hot-plug lock. */
function told_end(work: WorkStruct): void {
  const what = load<u32>(told);
  if (what == UNLOAD) {
    const tries = load<u32>(told, 4);
    store<u32>(told, tries + 1, 4);
    if (!load_driver() && tries < LOADS) return schedule_delayed_work(changetype<DelayedWork>(work), BETWEEN_LOADS);
  } else if (what == TOGGLE) set_up();
  else end_lying();
  store<u32>(told, 0);
  pr_info('behaviour: as before');
}

/** With the hot-plug lock, as all commands. */
function behave(call: Call): void {
  if (!call_string(call, 'what')) return;
  let what: u32 = 0;
  if (call_text_is(call, 'toggle')) what = TOGGLE;
  else if (call_text_is(call, 'unload')) what = UNLOAD;
  else if (call_text_is(call, 'lie')) what = LIE;
  if (call_text_is(call, 'crash')) panic('behaviour=told: it was told to');
  if (what == 0) return call_fail(call, "Parameter 'what' does not accept value '", call.text, call.text_length, "'");
  const us = call_number(call, 'us', LONGEST);
  if (us < 0) return;
  if (load<u32>(told) != 0) return call_fail(call, 'It is at something else');
  store<u32>(told, what);
  store<u32>(told, 0, 4);
  pr_info('behaviour: told to do %u for %u us', what, <u64>us);
  if (what == TOGGLE) take_down();
  else if (what == UNLOAD) unload();
  else begin_lying();
  schedule_delayed_work(changetype<DelayedWork>(load<usize>(end_work)), <u64>us * NSEC_PER_USEC);
  reply_put(call.reply, '{}');
}

/** Boot CPU, when the agent has its commands. */
export function behaviour_told_init(): void {
  BUG_ON(param_is('agent', 'off'), 'behaviour=told needs the agent');
  const work = changetype<DelayedWork>(kmalloc(offsetof<DelayedWork>()));
  INIT_DELAYED_WORK(work, changetype<TimerList>(kmalloc(offsetof<TimerList>())), told_end, 0);
  work.lock = hotplug_lock();
  store<usize>(end_work, changetype<usize>(work));
  qga_command_register(str('x-ferry-behave'), str(' what us '), behave);
}
