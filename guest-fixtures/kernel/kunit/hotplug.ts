// Devices that come and go, on a machine with a network: `kunit=hotplug`. The host does its part when it reads so on the
// console.
import { device_attach, device_release_driver, pci_devices } from '../drivers/pci/bus';
import { pci_bridge_secondary_bus_reset, pcie_do_recovery } from '../drivers/pci/err';
import { PciDev, pci_channel_io_frozen, pci_channel_io_normal, pci_device_is_present, pci_is_bridge } from '../drivers/pci/pci';
import { pci_rescan } from '../drivers/pci/probe';
import { hotplug_lock, lock_device_hotplug, unlock_device_hotplug } from '../kernel/hotplug';
import { irq_spurious } from '../kernel/irq';
import { tty_print } from '../kernel/printk';
import { msleep } from '../kernel/sched';
import { INIT_WORK, WorkStruct, schedule_work } from '../kernel/workqueue';
import { NetDevice, dev_get_by_index, have_netdev } from '../net/core/dev';
import { start_udp_echo } from '../workloads/net/udp_echo';
import { Resources, count_resources } from '../workloads/resources';
import { expect } from './test';

const CYCLES: u32 = 6;

/** What a device that is gone must not have left behind. */
const first = changetype<Resources>(memory.data(32, 16));
const last = changetype<Resources>(memory.data(32, 16));

/** The first device behind a bridge, or the first bridge; null if there is none. */
function find_device(bridge: bool): PciDev | null {
  for (let entry = pci_devices().next; entry != pci_devices(); entry = entry.next) {
    const dev = changetype<PciDev>(entry);
    if (bridge ? pci_is_bridge(dev) : dev.bus != 0) return dev;
  }
  return null;
}

function carrier(): bool {
  const dev: NetDevice | null = dev_get_by_index(0);
  return dev !== null && dev.carrier != 0;
}

/** At most 5 seconds. */
function wait_for_carrier(): bool {
  for (let i = 0; i < 500 && !carrier(); i++) msleep(10);
  return carrier();
}

/** Says `what` to the host, and lets it do it. */
function host(what: string): void {
  tty_print('host: %s', changetype<usize>(what));
  msleep(500);
}

function unbind(dev: PciDev): void {
  lock_device_hotplug();
  device_release_driver(dev);
  unlock_device_hotplug();
}

function bind(dev: PciDev): bool {
  lock_device_hotplug();
  const bound = device_attach(dev);
  unlock_device_hotplug();
  return bound;
}

function rescan(): void {
  lock_device_hotplug();
  pci_rescan();
  unlock_device_hotplug();
}

function expect_same_footprint(): void {
  expect(last.mappings == 0 && first.mappings == 0, 'hotplug: no DMA mapping is left');
  expect(last.vectors == first.vectors, 'hotplug: no interrupt vector is left');
  expect(last.timers == first.timers, 'hotplug: no timer is left');
  expect(last.objects == first.objects, 'hotplug: no object is left');
  expect(last.free_pages == first.free_pages, 'hotplug: no page is left');
}

/** The driver is taken away from its device and given back, under traffic. */
function test_rebind(dev: PciDev): void {
  let came_back = true;
  for (let cycle: u32 = 0; cycle < CYCLES; cycle++) {
    unbind(dev);
    if (have_netdev()) came_back = false;
    // What packets need for themselves has settled after two times.
    if (cycle == 1) count_resources(first);
    if (cycle == CYCLES - 1) count_resources(last);
    msleep(20);
    if (!bind(dev) || !wait_for_carrier()) came_back = false;
    msleep(300);
  }
  expect(came_back, 'hotplug: an interface goes with its driver and comes back with it');
  expect_same_footprint();
}

function test_rescan(): void {
  host('eject');
  const gone: PciDev | null = find_device(false);
  expect(gone !== null && !pci_device_is_present(gone), 'hotplug: a device that was pulled out does not answer');
  rescan();
  expect(find_device(false) === null && !have_netdev(), 'hotplug: a rescan takes out what is gone');
  count_resources(last);
  expect(last.mappings == 0 && last.vectors == first.vectors, 'hotplug: a device that is gone leaves nothing behind');
  rescan();
  expect(find_device(false) === null, 'hotplug: a rescan finds nothing where nothing is');
  host('populate');
  rescan();
  expect(find_device(false) !== null && wait_for_carrier(), 'hotplug: a device that appears later is found and bound');
}

function test_recovery(): void {
  const bridge: PciDev | null = find_device(true);
  if (bridge === null) return;
  lock_device_hotplug();
  const alive = pcie_do_recovery(bridge, pci_channel_io_normal, pci_bridge_secondary_bus_reset);
  unlock_device_hotplug();
  expect(alive && wait_for_carrier(), 'hotplug: a driver sets its device up anew after an error');
  lock_device_hotplug();
  const frozen = pcie_do_recovery(bridge, pci_channel_io_frozen, pci_bridge_secondary_bus_reset);
  unlock_device_hotplug();
  expect(frozen && wait_for_carrier(), 'hotplug: and after a reset of its bus');
  host('eject');
  lock_device_hotplug();
  const lost = pcie_do_recovery(bridge, pci_channel_io_frozen, pci_bridge_secondary_bus_reset);
  unlock_device_hotplug();
  expect(!lost, 'hotplug: a device that does not answer after its reset is given up');
  rescan();
  count_resources(last);
  expect(last.mappings == 0 && last.vectors == first.vectors, 'hotplug: and can be taken out nevertheless, with nothing left behind');
  host('populate');
  rescan();
  expect(wait_for_carrier(), 'hotplug: and its successor works');
}

/** Whether the driver of the device takes part in recovery. */
function handles_errors(): bool {
  const dev: PciDev | null = find_device(false);
  if (dev === null) return false;
  const driver = dev.driver;
  return driver !== null && driver.err_handler !== null;
}

// Two items that must not run on top of one another.
const sleeper = changetype<WorkStruct>(memory.data(64, 16));
const second = changetype<WorkStruct>(memory.data(64, 16));
const order = memory.data(16, 8);

function sleeper_fn(_work: WorkStruct): void {
  schedule_work(second);
  msleep(10);
  store<u32>(order, load<u32>(order) * 10 + 1);
}

function second_fn(_work: WorkStruct): void {
  store<u32>(order, load<u32>(order) * 10 + 2);
}

function test_lock(): void {
  INIT_WORK(sleeper, sleeper_fn, 0, hotplug_lock());
  INIT_WORK(second, second_fn, 0, hotplug_lock());
  schedule_work(sleeper);
  msleep(50);
  expect(load<u32>(order) == 12, 'hotplug: work with the lock waits for work that sleeps with it');
}

/** Leaves the network as it is: ends with two seconds for traffic. */
export function test_hotplug(): void {
  start_udp_echo();
  expect(wait_for_carrier(), 'hotplug: the network is there');
  test_lock();
  host('traffic');
  const dev: PciDev | null = find_device(false);
  if (dev === null) return;
  test_rebind(dev);
  test_rescan();
  if (handles_errors()) test_recovery();
  expect(irq_spurious() == 0, 'hotplug: no interrupt came to nobody');
  host('count');
  msleep(2000);
}
