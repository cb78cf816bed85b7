// Boot, from the machine's entry to the workload.
import { e820_print_table } from '../arch/e820';
import { local_irq_enable } from '../asm/irqflags';
import { copy_boot_params } from '../asm/setup';
import { setup_arch } from '../arch/setup';
import { setup_per_cpu_area } from '../kernel/percpu';
import { native_smp_prepare_cpus, smp_init } from '../kernel/cpu';
import { set_cpu_online } from '../kernel/smp';
import { CONSOLE_LOGLEVEL_DEFAULT, CONSOLE_LOGLEVEL_QUIET, console_set_loglevel, pr_info } from '../kernel/printk';
import { param_flag, param_u64, warn_unknown_params } from '../kernel/params';
import { cpu_startup_entry } from '../kernel/sched';
import { init_timers } from '../kernel/timer';
import { behaviour_init } from './behaviour';
import { devices_init } from './devices';
import { mem_init } from '../mm/page_alloc';
import { kmem_cache_init } from '../mm/slab';
import { ferry_console_init } from '../drivers/console/ferry_console';
import { acpi_button_init } from '../drivers/power/button';
import { power_init } from '../drivers/power/power';
import { qga_init } from '../qga/main';
import { run_init_workload } from '../workloads/workload';

/** Everything up to the point where the CPUs can work. Entered with interrupts disabled, left with them enabled. */
export function kernel_init(page: u32): void {
  copy_boot_params(page);
  setup_per_cpu_area(0);
  const quiet = param_flag('quiet');
  console_set_loglevel(quiet ? CONSOLE_LOGLEVEL_QUIET : CONSOLE_LOGLEVEL_DEFAULT);
  ferry_console_init();
  power_init();
  console_set_loglevel(<u32>param_u64('loglevel', quiet ? CONSOLE_LOGLEVEL_QUIET : CONSOLE_LOGLEVEL_DEFAULT));
  pr_info('Ferry version 0.1.0 (AssemblyScript, wasm32) SMP');
  setup_arch(page);
  e820_print_table();
  mem_init();
  kmem_cache_init();
  init_timers();
  native_smp_prepare_cpus();
  set_cpu_online(0);
  local_irq_enable();
  smp_init();
}

/** Entry of vCPU 0, with interrupts disabled. */
export function start_kernel(page: u32): void {
  kernel_init(page);
  devices_init();
  qga_init();
  acpi_button_init();
  behaviour_init();
  warn_unknown_params();
  run_init_workload();
  cpu_startup_entry();
}
