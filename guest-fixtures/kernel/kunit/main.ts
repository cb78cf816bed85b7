// A kernel whose workload is its own test. `kunit=NAME` picks a test that ends the machine instead.
import { machine_power_off } from '../drivers/power/power';
import { devices_init } from '../init/devices';
import { kernel_init } from '../init/main';
import { param_is } from '../kernel/params';
import { console_lock, console_unlock, pr_info } from '../kernel/printk';
import { test_hotplug } from './hotplug';
import { test_lib } from './lib';
import { free_twice, kfree_foreign, test_mm, test_mm_exhaustion } from './mm';
import { test_net } from './net';
import { expect, summary } from './test';
import { sleep_in_softirq, test_time } from './time';

export { secondary_start } from '../arch/smpboot';
export { irq_entry } from '../arch/entry';

function flood(): void {
  console_lock();
  for (let i = 0; i < 1000; i++) pr_info('flood %u', i);
  console_unlock();
}

export function start_kernel(page: u32): void {
  kernel_init(page);
  if (param_is('kunit', 'free_twice')) free_twice();
  if (param_is('kunit', 'kfree_foreign')) kfree_foreign();
  if (param_is('kunit', 'flood')) flood();
  if (param_is('kunit', 'sleep_in_softirq')) sleep_in_softirq();
  if (param_is('kunit', 'failing')) expect(false, 'kunit: this one has to fail');
  if (param_is('kunit', 'hotplug')) {
    devices_init();
    test_hotplug();
    summary();
    machine_power_off();
  }
  test_lib();
  test_time();
  test_mm();
  test_net();
  test_mm_exhaustion();
  summary();
  machine_power_off();
}
